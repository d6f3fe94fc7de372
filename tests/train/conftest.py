import shutil

import pytest

from benchmarks import small_run
from train import runs


@pytest.fixture(scope='session')
def folder(once, tmp_path_factory, again):
    """A finished run of two classifiers an arm, a copy a worker: change copies of that."""

    def make():
        workdir = tmp_path_factory.mktemp('reuse') / 'run'
        done = again(small_run.arguments(workdir, classifier__seeds=2))
        assert done.returncode == 0, done.stderr
        return str(workdir)

    return shutil.copytree(once('reuse', make), tmp_path_factory.mktemp('whole') / 'run')


@pytest.fixture(scope='session')
def run(folder):
    return runs.open_run(folder)
