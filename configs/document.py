"""docs/config.md, made from configs/default.py: every field, its default and what it means.

    python -m configs.document [--write]

Prints the page; with --write it goes to docs/config.md.
"""

import ast
import io
import pathlib
import sys
import tokenize

from configs import default

PAGE = pathlib.Path(__file__).resolve().parent.parent / 'docs' / 'config.md'
HEAD = """# Every field of the config

Made by `python -m configs.document --write` from the comments and values of
`configs/default.py`; change them there. A field is set on the command line as
`--config.FIELD=VALUE`. Fractions are shown to four digits. What a variant sets otherwise stands
in `configs/augmented.py`.
"""


def meanings(source):
    """{field: its comment} of the source of a `get_config`, in its order; '' without a comment.

    A field's comment ends its line or stands alone on the line above; that of a line which sets
    several fields is the comment of each.
    """
    comments = {}  # {line of the code that it belongs to: comment}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            alone = token.line.lstrip().startswith('#')
            comments[token.start[0] + alone] = token.string.lstrip('# ')
    aliases, found = {}, {}
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    body = next(function.body for function in functions if function.name == 'get_config')
    for node in (node for node in body if isinstance(node, ast.Assign)):
        targets = [ast.unparse(target) for target in node.targets]
        if ast.unparse(node.value).endswith('ConfigDict()'):  # c.generator = g = ConfigDict()
            part = targets[0].partition('.')[2]
            aliases |= {name: f'{part}.' if part else '' for name in targets}
            continue
        meaning = comments.get(node.end_lineno or node.lineno) or comments.get(node.lineno, '')
        for name in targets[0].strip('()').split(', '):
            alias, _, field = name.rpartition('.')
            found[aliases[alias] + field] = meaning
    return found


def page():
    """The text of docs/config.md."""
    values, lines, section = default.flat(default.get_config()), [HEAD.strip()], None
    for field, meaning in meanings(pathlib.Path(default.__file__).read_text('utf-8')).items():
        if field not in values:  # a whole section, copied from another
            field += '.*'
        if field.rpartition('.')[0] != section:
            section = field.rpartition('.')[0]
            lines += [f'\n## {section or "The whole"}\n', '| field | default | meaning |',
                      '|---|---|---|']
        meaning = meaning.replace('|', '\\|').replace('<', '\\<')
        value = f' `{_shown(values[field])}`' if field in values else ''
        lines.append(f'| `{field}` |{value} | {meaning} |')
    return '\n'.join(lines) + '\n'


def _shown(value):
    return repr(float(f'{value:.4g}') if isinstance(value, float) else value)


if __name__ == '__main__':
    if sys.argv[1:] == ['--write']:
        PAGE.write_text(page(), 'utf-8')
    else:
        print(page(), end='')
