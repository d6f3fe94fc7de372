"""main.py with many command lines, for the imports of one: most of what a refusal takes."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main(commands, env, cwd, at_once=1):
    """[(status, output, errors, seconds of processor time)] of main.py with each of `commands`.

    Each is a fork of one process that has imported the program; so many run at a time.
    """
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, __file__, folder, str(at_once)], input=json.dumps(commands),
            env=env, cwd=cwd, capture_output=True, text=True, timeout=600,
        )
        assert done.returncode == 0, done.stderr
        said = [
            [(pathlib.Path(folder) / f'{i}.{name}').read_text('utf-8') for name in ('out', 'err')]
            for i in range(len(commands))
        ]
    ended = json.loads(done.stdout)
    return [
        (status, *texts, seconds) for (status, seconds), texts in zip(ended, said, strict=True)
    ]


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
            for stream, name in ((1, 'out'), (2, 'err')):
                os.dup2(os.open(f'{folder}/{i}.{name}', os.O_WRONLY | os.O_CREAT), stream)
            sys.argv = ['main.py', *words]
            app.run(program.main, flags_parser=program.parse)
        running[child] = i
    while running:
        wait()
    return [ended[i] for i in range(len(commands))]


if __name__ == '__main__':
    sys.path[0] = str(ROOT)  # this folder has a `main` of its own, and packages' names
    print(json.dumps(_run_all(sys.argv[1], int(sys.argv[2]), json.load(sys.stdin))))
