import pathlib

import pytest

from benchmarks import small_run
from train import runs


@pytest.fixture(scope='module')
def env(clean_env):
    return clean_env | {'XLA_FLAGS': '--xla_backend_optimization_level=0'}


@pytest.fixture(scope='session')
def folder(once, tmp_path_factory, again):
    """A finished run of two classifiers an arm, to read: change copies of it."""

    def make():
        workdir = tmp_path_factory.mktemp('reuse') / 'run'
        done = again(small_run.arguments(workdir, classifier__seeds=2))
        assert done.returncode == 0, done.stderr
        return str(workdir)

    return pathlib.Path(once('reuse', make))


@pytest.fixture(scope='session')
def run(folder):
    return runs.open_run(folder)
