"""Tab completion in bash of main.py's flags, its variants and every field of a config.

    eval "$(.venv/bin/python -m configs.completion)"

and then `python main.py --config=configs/aug<Tab>`.
"""

import pathlib
import re
import shlex

from configs import augmented, default

ROOT = pathlib.Path(__file__).resolve().parent.parent
FLAG = re.compile(r"DEFINE_(\w+)\(\s*'(\w+)'")
# Bash takes what follows the last = or : of a word for the word: `head` is what it leaves alone.
SCRIPT = """_main_py() {{
  [[ ${{COMP_WORDS[1]}} == *main.py ]] || return
  local typed=${{COMP_LINE:0:COMP_POINT}}; typed=${{typed##* }}
  local head=${{typed%"${{typed##*[=:]}}"}}
  COMPREPLY=($(compgen -W {words} -- "$typed"))
  COMPREPLY=("${{COMPREPLY[@]#"$head"}}")
}}
complete -o default -o nospace -F _main_py python python3"""


def words():
    """What may be typed after `python main.py`, a field or a flag of a value up to its =."""
    kinds = FLAG.findall((ROOT / 'main.py').read_text('utf-8'))
    found = [f'--{name}' + ('' if kind == 'bool' else '=') for kind, name in kinds]
    files = [f'configs/augmented.py{":" * bool(v)}{v}' for v in augmented.VARIANTS]
    files += [name.replace('augmented', 'original') for name in files]
    found += [f'--config={name}' for name in files]
    return found + [f'--config.{name}=' for name in default.flat(default.get_config())]


if __name__ == '__main__':
    print(SCRIPT.format(words=shlex.quote(' '.join(words()))))
