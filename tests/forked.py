"""main.py with many command lines, for the imports of one: most of what a refusal takes."""

import contextlib
import importlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

LIMIT = 240  # seconds that a command may take
ROOT = pathlib.Path(__file__).resolve().parent.parent


def main(commands, env, cwd, at_once=1):
    """[(status, output, errors, seconds of processor time)] of main.py with each of `commands`.

    Each is a fork of one process that has imported the program; so many run at a time.
    """
    with program(env, cwd) as run:
        return run(commands, at_once)


@contextlib.contextmanager
def program(env, cwd, *modules):
    """(commands, at_once=1) -> what `main` returns, to be called again and again.

    Args:
        modules: what a run imports only when it comes to it, imported once.
    """
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(
        [sys.executable, __file__, folder, *modules], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, env=env, cwd=cwd, text=True,
    ) as process:

        def run(commands, at_once=1):
            print(json.dumps([at_once, commands]), file=process.stdin, flush=True)
            ended = json.loads(process.stdout.readline())
            said = [
                [(pathlib.Path(folder) / f'{i}.{name}').read_text('utf-8')
                 for name in ('out', 'err')]
                for i in range(len(commands))
            ]
            return [
                (status, *texts, seconds)
                for (status, seconds), texts in zip(ended, said, strict=True)
            ]

        yield run


def _run_all(folder, at_once, commands):
    """[status, seconds of processor time] of each command; what they say goes into `folder`."""
    from absl import app

    import main as program

    running, ended = {}, {}

    def wait():
        child, status, used = os.wait4(-1, 0)
        seconds = used.ru_utime + used.ru_stime
        ended[running.pop(child)] = os.waitstatus_to_exitcode(status), seconds

    for i, words in enumerate(commands):
        if len(running) == at_once:
            wait()
        child = os.fork()
        if not child:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            for stream, name in ((1, 'out'), (2, 'err')):
                os.dup2(os.open(f'{folder}/{i}.{name}', flags), stream)
            signal.alarm(LIMIT)
            sys.argv = ['main.py', *words]
            app.run(program.main, flags_parser=program.parse)
        running[child] = i
    while running:
        wait()
    return [ended[i] for i in range(len(commands))]


if __name__ == '__main__':
    sys.path[0] = str(ROOT)  # this folder has a `main` of its own, and packages' names
    for module in sys.argv[2:]:
        importlib.import_module(module)
    for line in sys.stdin:
        print(json.dumps(_run_all(sys.argv[1], *json.loads(line))), flush=True)
