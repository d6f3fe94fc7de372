"""What does a run lose when it is killed, stopped, started twice, or when the disk is full?

    python -m benchmarks.soak_runs [--kills=100] [--signals=50] [--twice=50] [--disks=8] [--fill=5]

Small whole runs (`small_run`) are interrupted at random moments and started again with the same
command until they end; what they end with is compared, bit for bit, with a run that was left alone.
Disks are small file systems that are mounted for the purpose, which takes the rights of root.
"""

import collections
import contextlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time

from benchmarks import common, small_run

LONGEST = 10.0  # seconds until an interruption, at most
STAGES = ('data', 'judge', 'generator', 'synthetic', 'classifiers/original/seed_0',
          'classifiers/augmented/seed_0', 'report')
NOTES = (
    'survived: the run went on and ended bit for bit like one that was left alone (checkpoints, '
    'images, predictions, logs, report), or was refused with one line where that is right',
    'worst: the most that was lost or waited for, in the unit named',
)


def kill(folder, expected, count, rng):
    """Kills (-9) at random moments of whole runs."""
    tried, broken, lost, run, where = 0, 0, 0.0, 0, collections.Counter()
    while tried < count:
        workdir, run = folder / f'killed_{run}', run + 1
        while tried < count and _interrupted(workdir, signal.SIGKILL, rng.uniform(0.3, LONGEST)):
            tried += 1
            where[_stage(workdir)] += 1
            lost = max(lost, small_run.aside(small_run.unsaved, workdir))
        broken += not _ends_like(workdir, expected)
    row = _row('kill -9 at a random moment', tried, broken, f'{lost:.2f} save intervals lost')
    return row | {'where': ', '.join(f'{name} {n}' for name, n in where.most_common())}


def stop(folder, expected, count, rng):
    """SIGTERM and SIGINT at random moments of whole runs."""
    tried, broken, slowest, run = 0, 0, 0.0, 0
    while tried < count:
        workdir, run = folder / f'stopped_{run}', run + 1
        while tried < count:
            number = rng.choice((signal.SIGTERM, signal.SIGINT))
            found = _interrupted(workdir, number, rng.uniform(0.3, LONGEST))
            if not found:
                break
            status, seconds = found
            tried, slowest = tried + 1, max(slowest, seconds)
            broken += status != 75
        broken += not _ends_like(workdir, expected)
    return _row('SIGTERM or SIGINT', tried, broken, f'{slowest:.1f} s until it had stopped')


def twice(folder, count, rng):
    """A second run in the folder of one that works."""
    broken, slowest, first = 0, 0.0, None
    for i in range(count):
        if first is None or small_run.wait(first, 0.01) is not None:
            workdir = folder / f'shared_{i}'
            first = small_run.start(small_run.arguments(workdir), folder / 'first.txt')
            while not (workdir / 'run.lock').exists():
                time.sleep(0.01)
            time.sleep(0.2)
        time.sleep(rng.uniform(0, 0.3))
        start = time.monotonic()
        status = small_run.wait(
            small_run.start(small_run.arguments(workdir), folder / 'second.txt')
        )
        seconds, said = time.monotonic() - start, (folder / 'second.txt').read_text('utf-8')
        if f'in use by process {first}' in said and status == 2:
            slowest = max(slowest, seconds)
        elif small_run.wait(first, 0.01) is None:  # else the first had just ended
            broken += 1
        else:
            first = None
    if first is not None:
        small_run.wait(first)
    return _row('a second run in the folder', count, broken, f'{slowest:.1f} s until refused')


def full(folder, expected, count):
    """Disks from too small for the first stage to just too small for the last."""
    whole = _size(folder / 'whole')
    refused, broken = 0, 0
    for i in range(count):
        with _disk(folder / 'disk', int(whole * (i + 0.5) / count)) as disk:
            status = _run(disk / 'run', folder / 'full.txt')
            if status:
                refused += 1
                broken += status != 2 or not _says_it_is_full(folder / 'full.txt')
            _resize(disk, 4 * whole + 2**22)
            broken += not _ends_like(disk / 'run', expected)
    return _row('a full disk', count, broken, f'{refused} runs stopped with one line')


def fill(folder, expected, count, rng):
    """Disks that are full from a moment on, `count` moments of each stage, early or late in it."""
    plenty = 4 * _size(folder / 'whole') + 2**22
    tried, broken, where = 0, 0, collections.Counter()
    for stage in STAGES:
        for _ in range(count):
            with _disk(folder / 'disk', plenty) as disk:
                pid = small_run.start(small_run.arguments(disk / 'run'), folder / 'full.txt')
                while not (disk / 'run' / f'{stage}.unfinished').exists():
                    time.sleep(0.001)
                time.sleep(rng.choice((0.0, rng.uniform(0, 0.3), rng.uniform(0, 2))))
                os.kill(pid, signal.SIGSTOP)  # or it takes what is measured to be left
                where[_stage(disk / 'run')] += 1
                _resize(disk, shutil.disk_usage(disk).used)
                os.kill(pid, signal.SIGCONT)
                status = small_run.wait(pid)
                if status:  # else what was left to write fitted into blocks that it had
                    tried += 1
                    broken += status != 2 or not _says_it_is_full(folder / 'full.txt')
                _resize(disk, plenty)
                broken += not _ends_like(disk / 'run', expected)
    row = _row('a disk that fills up', tried, broken, f'{tried} runs stopped with one line')
    return row | {'where': ', '.join(f'{name} {n}' for name, n in where.most_common())}


@contextlib.contextmanager
def _disk(folder, size):
    """A file system of so many bytes, mounted at `folder`."""
    folder.mkdir(exist_ok=True)
    subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(['umount', str(folder)], check=True)


def _says_it_is_full(output):
    last = output.read_text('utf-8').splitlines()[-1]
    return last.startswith('error: ') and ('No space left' in last or 'MB more' in last)


def _interrupted(workdir, number, after):
    """(status, seconds) of a run that got the signal `after` seconds; None: it had ended before."""
    pid = small_run.start(small_run.arguments(workdir), workdir.with_suffix('.txt'))
    status = small_run.wait(pid, after)
    if status is not None:
        if status:
            raise RuntimeError(f'status {status}: {workdir.with_suffix(".txt").read_text()}')
        return None
    start = time.monotonic()
    os.kill(pid, number)
    status = small_run.wait(pid)
    return status, time.monotonic() - start


def _stage(workdir):
    """The stage that a killed run was in."""
    for path in workdir.rglob('*.unfinished'):
        if path.is_dir():
            return path.relative_to(workdir).parts[0].removesuffix('.unfinished')
    return 'between stages'


def _ends_like(workdir, expected):
    if _run(workdir, workdir.with_suffix('.txt')):
        return False
    return small_run.aside(small_run.outcome, workdir) == expected


def _run(workdir, output):
    return small_run.wait(small_run.start(small_run.arguments(workdir), output))


def _size(folder):
    """Bytes that a folder takes, in blocks of 4 KiB, as tmpfs counts."""
    files = [path for path in folder.rglob('*') if path.is_file()]
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in files)


def _resize(disk, size):
    subprocess.run(['mount', '-o', f'remount,size={size}', str(disk)], check=True)


def _row(fault, tried, broken, worst):
    return {'fault': fault, 'tried': tried, 'survived': tried - broken, 'worst': worst}


def main():
    options = common.arguments(
        'Whole runs killed, stopped, started twice, on full disks.',
        kills=100, signals=50, twice=50, disks=8, fill=5, seed=0,
    )
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(made)
        if _run(folder / 'whole', folder / 'whole.txt'):
            raise RuntimeError((folder / 'whole.txt').read_text('utf-8'))
        expected = small_run.aside(small_run.outcome, folder / 'whole')
        interrupted, refused = [], []
        if options.kills:
            interrupted.append(kill(folder, expected, options.kills, rng))
        if options.signals:
            interrupted.append(stop(folder, expected, options.signals, rng))
        if options.twice:
            refused.append(twice(folder, options.twice, rng))
        if options.disks and os.geteuid() == 0:
            refused.append(full(folder, expected, options.disks))
        if options.fill and os.geteuid() == 0:
            refused.append(fill(folder, expected, options.fill, rng))
    notes = *NOTES, f'Seed {options.seed}.'
    title = 'Small whole runs'
    for name, rows in (('soak_runs', interrupted), ('soak_folders', refused)):
        if rows:
            common.report(name, rows, out=options.out, notes=notes, title=title)


if __name__ == '__main__':
    main()
