"""What do two processes that act as one run lose when one of them is killed, or either is stopped?

    python -m benchmarks.soak_processes [--kills=50] [--signals=50]

As `soak_runs`, with every small run as two processes of two devices over gloo. A signal goes to one
of them, or to both as schedulers send it, at a random moment after they have joined.
"""

import json
import os
import pathlib
import random
import signal
import tempfile
import time

from benchmarks import common, small_run

LONGEST = 10.0  # seconds from joining until an interruption, at most
NOTES = (
    'survived: both processes ended within 60 s, and the same command went on to what two '
    'undisturbed processes end with, bit for bit',
)


def start(workdir):
    """The PIDs of two processes that are one run."""
    address = small_run.free_address()
    flags = [*small_run.arguments(workdir), f'--coordinator_address={address}', '--num_processes=2']
    return [
        small_run.start([*flags, f'--process_id={i}'], f'{workdir}.{i}.txt') for i in range(2)
    ]


def ends(pids, seconds):
    """The exit status of each process within so many seconds; None: it still ran and was killed."""
    deadline = time.monotonic() + seconds
    found = [small_run.wait(pid, max(deadline - time.monotonic(), 0.01)) for pid in pids]
    for pid, status in zip(pids, found, strict=True):
        if status is None:
            os.kill(pid, signal.SIGKILL)
            small_run.wait(pid)
    return found


def joined(workdir, pids):
    """Whether the processes work together by now; False: one has ended."""
    while True:
        try:
            if json.loads((workdir / 'run.lock').read_text())['pid'] == pids[0]:
                return True
        except (OSError, ValueError):
            pass
        if any(map(_ended, pids)):
            return False
        time.sleep(0.01)


def _ended(pid):
    """Whether a process has ended; it is left to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def interrupt(folder, name, expected, count, rng, send):
    """One row: `count` runs' processes got what send(pids) sends, until each run was whole."""
    tried, broken, slowest, run = 0, 0, 0.0, 0
    statuses = {}
    while tried < count:
        workdir, run = folder / f'{name.split()[0]}_{run}', run + 1
        whole = False
        while tried < count and not whole:
            pids = start(workdir)
            if joined(workdir, pids):
                time.sleep(rng.uniform(0.3, LONGEST))
            whole = all(map(_ended, pids))
            if not whole:
                send(pids)
                tried += 1
            began = time.monotonic()
            found = ends(pids, 60)
            if not whole:
                slowest = max(slowest, time.monotonic() - began)
                broken += None in found
                key = ' '.join(map(str, sorted(map(str, found))))
                statuses[key] = statuses.get(key, 0) + 1
        broken += ends(start(workdir), 300) != [0, 0]
        broken += small_run.aside(small_run.outcome, workdir) != expected
    return {
        'fault': name, 'tried': tried, 'survived': tried - broken,
        'worst': f'{slowest:.1f} s until both had ended',
        'statuses': ', '.join(f'{key}: {n}' for key, n in sorted(statuses.items())),
    }


def main():
    options = common.arguments(
        'Runs of two processes, killed and stopped.', kills=50, signals=50, seed=0
    )
    rng = random.Random(options.seed)

    def kill(pids):
        os.kill(rng.choice(pids), signal.SIGKILL)

    def stop(pids):
        number = rng.choice((signal.SIGTERM, signal.SIGINT))
        for pid in rng.choice((pids, pids[:1], pids[1:])):
            os.kill(pid, number)

    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(made)
        if ends(start(folder / 'whole'), 300) != [0, 0]:
            raise RuntimeError((folder / 'whole.0.txt').read_text('utf-8'))
        expected = small_run.aside(small_run.outcome, folder / 'whole')
        rows = []
        if options.signals:
            name = 'SIGTERM or SIGINT to one or both'
            rows.append(interrupt(folder, name, expected, options.signals, rng, stop))
        if options.kills:
            rows.append(interrupt(folder, 'kill -9 of one', expected, options.kills, rng, kill))
    common.report('soak_processes', rows, out=options.out, notes=(*NOTES, f'Seed {options.seed}.'),
                  title='Small whole runs as two processes')


if __name__ == '__main__':
    main()
