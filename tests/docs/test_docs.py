"""README.md, CONTRIBUTING.md, docs/*.md: main.py knows their commands, and their links lead on."""

import itertools
import json
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from train.arms import ARMS

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]
FENCED = re.compile(r'^```(\w*)\n(.*?)^```', re.MULTILINE | re.DOTALL)
# Values that name what lies on a user's disk, or is installed there: the field is kept.
ELSEWHERE = re.compile(r'^(--config\.(?:\w+\.)?(?:init_from|trackers))=.*')
# Each command is a fork of a process that has imported the program, two at a time.
FORK = """
import json, os, sys
from absl import app
import main
folder, commands = sys.argv[1], json.loads(sys.argv[2])
running, status = {}, {}
def wait():
    child, code = os.wait()
    status[running.pop(child)] = os.waitstatus_to_exitcode(code)
for i, words in enumerate(commands):
    if len(running) == 2:
        wait()
    child = os.fork()
    if not child:
        os.dup2(os.open(f'{folder}/{i}.out', os.O_WRONLY | os.O_CREAT), 1)
        os.dup2(os.open(f'{folder}/{i}.err', os.O_WRONLY | os.O_CREAT), 2)
        finished = any(word.startswith('--checkpoint') for word in words)
        place = [] if finished else [f'--workdir={folder}/run']
        sys.argv = ['main.py', *words, *place]
        app.run(main.main, flags_parser=main.parse)
    running[child] = i
while running:
    wait()
print(json.dumps([status[i] for i in range(len(commands))]))
"""


def commands(text):
    """The arguments of main.py in bash blocks, and in `python main.py ...` within a line."""
    blocks = [block for kind, block in FENCED.findall(text) if kind == 'bash']
    lines = '\n'.join(blocks).replace('\\\n', ' ').splitlines()
    lines += re.findall(r'`((?:\S*/)?python main\.py [^`\n]+)`', FENCED.sub('', text))
    for line in lines:
        words = shlex.split(line, comments=True)
        if 'main.py' in words and '...' not in line:
            end = lambda word: word not in (';', '&&', '||', '|', '>')  # noqa: E731
            yield list(itertools.takewhile(end, words[words.index('main.py') + 1 :]))


def without_a_run(words):
    """(the words, changed so that nothing is run; status, and pattern of the one line said)."""
    words = [ELSEWHERE.sub(r'\1=', word) for word in words]
    if '--mode=doctor' in words or any(word.endswith(':auto') for word in words):  # look first
        return words, 2, 'error: no such directory or zip: path/to/images\n'
    if any(word.startswith('--mode') for word in words):
        return [*words, '--checkpoint=/no/such'], 2, 'error: /no/such is no run: .*\n'
    if any(word.startswith('--sweep') for word in words):
        return [*words, '--sweep_list'], 0, ''
    known = f"(?:'(?:{'|'.join(ARMS)})', )*"  # flags that set arms add up
    return [*words, '--config.arms=nope'], 2, rf"error: config\.arms=\({known}'nope',?\) must .*\n"


CASES = {shlex.join(words): words for page in PAGES for words in commands(page.read_text('utf-8'))}


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory, clean_env):
    """{command: (status, errors)}."""
    folder = tmp_path_factory.mktemp('commands')
    changed = json.dumps([without_a_run(words)[0] for words in CASES.values()])
    done = subprocess.run(
        [sys.executable, '-c', FORK, str(folder), changed],
        cwd=ROOT, env=clean_env, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    errors = [(folder / f'{i}.err').read_text() for i in range(len(CASES))]
    assert not (folder / 'run').exists()
    return dict(zip(CASES, zip(json.loads(done.stdout), errors)))


def test_commands_are_found_however_they_are_written():
    text = """
`main.py` or `python main.py --a`, not `python main.py ...`
```bash
X=1 .venv/bin/python main.py --b \\
    --c='d e' && echo  # main.py
```
```text
python main.py --no
```
"""
    assert list(commands(text)) == [['--b', '--c=d e'], ['--a']]
    assert any('configs/augmented.py:folder' in command for command in CASES)


@pytest.mark.parametrize('command', CASES)
def test_a_command_is_one_that_main_knows(outcomes, command):
    status, errors = outcomes[command]
    _, expected, said = without_a_run(CASES[command])
    assert status == expected, errors
    assert re.fullmatch(said, errors), errors


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page):
    prose = re.sub(r'`[^`\n]*`', '', FENCED.sub('', page.read_text('utf-8')))
    links = re.findall(r'\]\(([^)\s]+)\)', prose)
    missing = [
        link for link in links
        if '://' not in link and not (page.parent / link.partition('#')[0]).exists()
    ]  # fmt: skip
    assert not missing
