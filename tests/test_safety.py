"""What may not stand in the source: ways in which a file that someone sent could run code."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = sorted(
    path for path in ROOT.rglob('*.py')
    if not any(part.startswith('.') or part in ('tests', 'runs') for part in
               path.relative_to(ROOT).parts)
)
MODULES = {'pickle', 'cPickle', 'dill', 'cloudpickle', 'joblib', 'marshal', 'shelve', 'yaml',
           'tarfile'}
NAMES = {'eval', 'exec', 'compile', '__import__'}
ATTRIBUTES = {'unpack_archive', 'extractall', 'system', 'unsafe_load', 'to_yaml'}


def findings(source):
    """What of the above the source uses, as (line, text)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or '']
            yield from ((node.lineno, a.name) for a in node.names if a.name in ATTRIBUTES)
        else:
            modules = []
        yield from (
            (node.lineno, name) for name in modules if name.split('.')[0] in MODULES
        )
        if isinstance(node, ast.Name) and node.id in NAMES:
            yield node.lineno, node.id
        if isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
            yield node.lineno, node.attr
        if isinstance(node, ast.keyword):
            true = isinstance(node.value, ast.Constant) and node.value.value is True
            if node.arg in ('allow_pickle', 'shell') and true:
                yield node.value.lineno, node.arg


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_runs_what_it_reads(path):
    assert not list(findings(path.read_text('utf-8')))


def test_the_whole_tree_is_read():
    names = {path.relative_to(ROOT).parts[0] for path in FILES}
    assert names >= {'main.py', 'configs', 'models', 'data', 'generation', 'train', 'eval'}


@pytest.mark.parametrize(
    'bad',
    ['import pickle', 'from yaml import load', 'import numpy.x, tarfile', 'eval("1")',
     'np.load(f, allow_pickle=True)', 'shutil.unpack_archive(f)', 'subprocess.run(c, shell=True)',
     'from os import system'],
)
def test_it_would_be_found(bad):
    assert len(list(findings(bad))) == 1
    assert not list(findings('np.load(f, allow_pickle=False)\nmodel.evaluate(x)\nre.compile("x")'))
