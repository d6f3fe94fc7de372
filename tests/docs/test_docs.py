"""README.md, CONTRIBUTING.md, docs/*.md: main.py knows their commands, and their links lead on."""

import itertools
import pathlib
import re
import shlex

import forked
import pytest

from train.arms import ARMS

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]
FENCED = re.compile(r'^```(\w*)\n(.*?)^```', re.MULTILINE | re.DOTALL)
# Values that name what lies on a user's disk, or is installed there: the field is kept.
ELSEWHERE = re.compile(r'^(--config\.(?:\w+\.)?(?:init_from|trackers))=.*')


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
        return words, 2, r'error: no such directory or file: (path/to/images|\w+/train\.zip)\n'
    if any(word.startswith('--mode') for word in words):
        return [*words, '--checkpoint=/no/such'], 2, 'error: /no/such is no run: .*\n'
    if any(word.startswith('--sweep') for word in words):
        return [*words, '--sweep_list'], 0, ''
    known = f"(?:'(?:{'|'.join(ARMS)})', )*"  # flags that set arms add up
    return [*words, '--config.arms=nope'], 2, rf"error: config\.arms=\({known}'nope',?\) must .*\n"


CASES = {shlex.join(words): words for page in PAGES for words in commands(page.read_text('utf-8'))}


@pytest.mark.parametrize('page', ['README.md', 'docs/method.md'])
def test_a_table_of_arms_has_them_all(page):
    text = (ROOT / page).read_text('utf-8')
    rows = re.findall(r'^\| `(\w+)` \|', text, re.MULTILINE)
    assert [name for name in rows if name in ARMS] == [*ARMS]
    assert page != 'README.md' or any(
        set(word.partition('--config.arms=')[2].split(',')) == {*ARMS}
        for words in commands(text) for word in words
    )


@pytest.fixture(scope='module')
def outcomes(once, tmp_path_factory, clean_env):
    """{command: (status, errors)}."""
    workdir = tmp_path_factory.mktemp('commands') / 'run'

    def placed(words):
        finished = any(word.startswith('--checkpoint') for word in words)
        return words if finished else [*words, f'--workdir={workdir}']

    changed = [placed(without_a_run(words)[0]) for words in CASES.values()]
    ended = once('commands', lambda: forked.main(changed, clean_env, ROOT, at_once=2))
    assert not workdir.exists()
    return {name: (status, errors) for name, (status, _, errors, _) in zip(CASES, ended)}


@pytest.mark.parametrize('page', [*PAGES, ROOT / 'benchmarks' / 'README.md'], ids=lambda p: p.name)
def test_no_comment_stands_behind_a_command(page):
    """On a Mac, zsh would take its words for arguments."""
    blocks = [block for kind, block in FENCED.findall(page.read_text('utf-8')) if kind == 'bash']
    assert not re.findall(r'^.*\S\s+#.*', '\n'.join(blocks), re.MULTILINE)


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
    ]
    assert not missing
