"""Measuring in child processes: a fresh start, other devices, or a peak of memory of one's own."""

import concurrent.futures
import json
import os
import pathlib
import resource
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def ask(module, request, env=()):
    """Runs `python -m module` and returns what it answers.

    Args:
        module: one that calls `request` and `answer` when run.
        request: JSON data for it.
        env: environment variables ({name: value}, None to unset) that differ from this process's.
    Raises:
        RuntimeError: the child failed; with the end of what it said, or the signal.
    """
    variables = os.environ | dict(env)
    done = subprocess.run(
        [sys.executable, '-m', module, json.dumps(request), repr(time.time())],
        cwd=ROOT, capture_output=True, text=True,
        env={name: value for name, value in variables.items() if value is not None},
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-5:]
        raise RuntimeError('\n'.join([f'{module} ended with status {done.returncode}', *said]))
    return json.loads(done.stdout.splitlines()[-1])


def ask_all(module, requests, env=()):
    """The answers to several requests at once, each from a child of its own; see `ask`."""
    with concurrent.futures.ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(lambda request: ask(module, request, env), requests))


def request():
    """In the child: (the request, time.time() at which the parent started this process)."""
    return json.loads(sys.argv[1]), float(sys.argv[2])


def answer(result):
    """In the child: hands the parent JSON data, as the last line of its output."""
    print(json.dumps(result), flush=True)


def peak_mb():
    """The most memory that this process ever held, MB; on Linux since its peak was last reset.

    ru_maxrss of a child on Linux starts at its parent's: a parent larger than the child hides the
    child's own peak, so there it is read elsewhere.
    """
    status = pathlib.Path('/proc/self/status')
    if status.exists():
        fields = dict(line.split(':', 1) for line in status.read_text().splitlines())
        if 'VmHWM' in fields:
            return int(fields['VmHWM'].split()[0]) / 1024
    unit = 2**20 if sys.platform == 'darwin' else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
