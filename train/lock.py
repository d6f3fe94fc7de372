"""One run at a time in a run's folder, and one at a time at what the runs of a sweep share."""

import contextlib
import fcntl
import json
import os
import socket

FILE = 'run.lock'


class Held(ValueError):
    """Another process works in the folder."""


@contextlib.contextmanager
def held(folder):
    """Holds the lock of a run's folder, which is made if it is missing.

    The kernel holds it, not the file: it is free as soon as its holder is dead, however it died.
    The file says who that is or was, as {"host", "pid"}.

    Raises:
        Held: another process holds it, here or, on a shared file system that knows locks, on
            another host.
        OSError: the folder cannot be made or written, or its file system knows no locks.
    """

    def refuse(holder):
        remedy = 'wait for it, stop it, or use another --workdir'
        raise Held(f'{folder} is in use by {holder}; {remedy}')

    with turn(folder / FILE, refuse):
        yield


@contextlib.contextmanager
def turn(path, wait):
    """Holds the lock `path` as soon as it is free; if it is not, first calls wait(the holder)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('a+', encoding='utf-8') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait(_holder(path))
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise OSError(
                f'{path}: this file system knows no locks (flock: {error.strerror}); use another '
                'for --workdir'
            ) from error
        file.truncate(0)
        file.write(json.dumps({'host': socket.gethostname(), 'pid': os.getpid()}))
        file.flush()
        os.fsync(file.fileno())  # other hosts see what is on the server
        yield


def _holder(path):
    try:
        holder = json.loads(path.read_text('utf-8'))
        return f'process {holder["pid"]} on {holder["host"]}'
    except (OSError, ValueError, KeyError, TypeError):  # it has just begun
        return 'another process'
