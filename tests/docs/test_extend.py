"""The programs of docs/extend.md, as they stand there."""

import pathlib
import pkgutil
import re

import pytest

from configs import default
from train import classifier

PAGE = pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'extend.md'
SECTIONS = PAGE.read_text('utf-8').split('\n## ')[1:]
PACKAGES = 'configs|data|eval|generation|models|train'
NAMES = re.findall(rf'`((?:{PACKAGES})(?:\.\w+)+)`', PAGE.read_text('utf-8'))
PROGRAMS = {
    section.splitlines()[0]: program
    for section in SECTIONS for program in re.findall(r'```python\n(.*?)```', section, re.DOTALL)
}


def test_there_is_one_for_each_thing_to_add():
    assert list(PROGRAMS) == ['A data source', 'A network', 'A quality filter']
    assert all(len(program.splitlines()) < 40 for program in PROGRAMS.values())


def run(name):
    """What a program has defined, by name."""
    found = {'__name__': 'example'}
    exec(compile(PROGRAMS[name], f'docs/extend.md, {name}', 'exec'), found)
    return found


@pytest.mark.parametrize('name', PROGRAMS)
def test_a_program_runs(name, monkeypatch):
    defined = run(name)
    if name == 'A network':
        monkeypatch.setitem(classifier.NETWORKS, 'perceptron', (defined['Perceptron'], ()))
        settings = default.get_config().classifier
        settings.update(network='perceptron', dtype='bfloat16')
        assert classifier.make_model(settings, 10).num_classes == 10


@pytest.mark.parametrize('name', sorted(set(NAMES)))
def test_a_name_stands_in_the_code(name):
    pkgutil.resolve_name(name)
