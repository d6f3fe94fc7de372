import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from train import lock

ROOT = pathlib.Path(lock.__file__).parent.parent
HOLD = """
import pathlib, sys, time
from train import lock
with lock.held(pathlib.Path(sys.argv[1])):
    print('held', flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, '-c', HOLD, str(tmp_path)], cwd=ROOT,
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == 'held\n'
    yield process
    process.kill()
    process.wait()


def test_the_second_is_refused_and_told_who_is_first(tmp_path, holder):
    start = time.monotonic()
    with pytest.raises(lock.Held) as refused, lock.held(tmp_path):
        raise AssertionError('two at once')
    assert time.monotonic() - start < 1
    message = str(refused.value)
    assert f'process {holder.pid} on {os.uname().nodename}' in message and '\n' not in message
    assert str(tmp_path) in message and '--workdir' in message


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_holder_holds_nothing(tmp_path, holder, number):
    holder.send_signal(number)
    holder.wait()
    with lock.held(tmp_path):
        written = json.loads((tmp_path / 'run.lock').read_text())
        assert written == {'host': os.uname().nodename, 'pid': os.getpid()}


def test_one_after_the_other(tmp_path):
    for _ in range(2):
        with lock.held(tmp_path / 'new' / 'folder'):
            pass
    with pytest.raises(KeyError), lock.held(tmp_path):
        raise KeyError
    with lock.held(tmp_path):
        pass


@pytest.mark.parametrize('content', ['', 'nonsense', '[]', '{"pid": 3}'])
def test_a_holder_that_cannot_be_named(tmp_path, holder, content):
    (tmp_path / 'run.lock').write_text(content)
    with pytest.raises(lock.Held, match='in use by another process'), lock.held(tmp_path):
        pass


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='file'), lock.held(tmp_path / 'file' / 'run'):
        pass


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    def flock(file, kind):
        raise OSError(errno.ENOSYS, 'Function not implemented')  # as Lustre without its option

    monkeypatch.setattr(lock.fcntl, 'flock', flock)
    with pytest.raises(OSError, match='run.lock: this file system knows no locks .*--workdir'), \
            lock.held(tmp_path):
        pass
