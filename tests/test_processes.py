"""Two processes on this machine as one run: what they make, and how they end."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from benchmarks import small_run
from train import lock

LIMIT = 240
GENERATOR = 'generator.unfinished/metrics.jsonl'
BEST = {  # what was best so far becomes part of the state, between two steps
    'generator__select': 'best_validation', 'generator__sample_every': 50,
    'generator__sample_size': 8, 'classifier__select': 'best_validation_loss',
}
# What the collectives' library prints in each process, piece by piece: its threads write at once,
# so that lines may be torn between the pieces.
GLOO = re.compile(
    r'\[Gloo] Rank | is connected to | peer ranks\. |Expected number of connected peer ranks is : |'
    r'[\d\s]'
)


def flags(workdir, count=2, joined=True, last=(), **changes):
    """The flags of so many processes, of two devices each if nothing else is said.

    Args:
        last: flags that the last of them alone is given.
    """
    fields = {'cpu_devices': 2, **BEST, **changes}
    arguments = small_run.arguments(workdir, **fields)
    if joined:
        arguments += [f'--coordinator_address={small_run.free_address()}',
                      f'--num_processes={count}']
    return [
        [*arguments, *([f'--process_id={i}'] if joined else []),
         *(last if i == count - 1 else ())]
        for i in range(count)
    ]


@pytest.fixture(scope='module')
def processes(forks):
    """(workdir, as for `flags`) -> (status, output, errors) of each process."""
    return lambda workdir, **rest: [
        end[:3] for end in forks(flags(workdir, **rest), at_once=rest.get('count', 2))
    ]


def start(workdir, env):
    """Starts main.py as two processes."""
    return [
        subprocess.Popen(
            [sys.executable, str(small_run.ROOT / 'main.py'), *arguments], env=env,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for arguments in flags(workdir)
    ]


def ends(processes):
    """(exit status, output, errors) of each; none may outlast the others."""
    try:
        done = [(*p.communicate(timeout=LIMIT), p.returncode) for p in processes]
    finally:
        for process in processes:
            process.kill()
    return [(status, out, errors) for out, errors, status in done]


def interrupt(workdir, env, path, lines, number):
    """Sends the signal to process 1 once `path` has so many lines; how both end."""
    processes, deadline = start(workdir, env), time.monotonic() + LIMIT
    path = workdir / path
    while not (path.exists() and path.read_text().count('\n') >= lines):
        assert time.monotonic() < deadline and all(p.poll() is None for p in processes)
        time.sleep(0.01)
    os.kill(processes[1].pid, number)
    began = time.monotonic()
    ended = ends(processes)
    assert time.monotonic() - began < 30
    return ended


def test_two_processes_make_what_one_makes_whatever_happens_to_them(env, processes, tmp_path):
    """Bit for bit: one process of four devices, and two of two that were killed and stopped."""
    workdir = tmp_path / 'two'
    first, killed = interrupt(workdir, env, GENERATOR, 50, signal.SIGKILL)
    assert killed[0] == -signal.SIGKILL and first[0] in (75, -signal.SIGABRT), first
    if first[0] == 75:  # JAX itself aborts a process that it tells of the loss before we do
        assert first[2].splitlines()[-1].startswith('error: the processes have lost each other')
        assert 'Traceback' not in first[2]
    stopped = interrupt(workdir, env, GENERATOR, 90, signal.SIGTERM)
    assert [status for status, _, _ in stopped] == [75, 75]
    assert 'the same command goes on' in stopped[0][1]
    whole = processes(workdir)
    assert [status for status, _, _ in whole] == [0, 0], whole
    assert 'going on where it was interrupted' in whole[0][1]
    assert not GLOO.sub('', whole[1][1])  # only process 0 speaks

    one = tmp_path / 'one'
    assert processes(one, count=1, cpu_devices=4)[0][0] == 0
    assert small_run.outcome(workdir) == small_run.outcome(one)

    # from the same generator, a process that stands alone, with one device, draws the same images
    alone = tmp_path / 'alone'
    for stage in ('data', 'judge', 'generator'):
        shutil.copytree(workdir / stage, alone / stage)
    assert processes(alone, count=1, joined=False, cpu_devices=1)[0][0] == 0
    images, found = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*.png')}
        for folder in (workdir / 'synthetic' / 'images', alone / 'synthetic' / 'images')
    )
    assert images and images == found
    log = 'classifiers/augmented/seed_0/metrics.jsonl'
    steps = [[json.loads(line) for line in (folder / log).read_text().splitlines()]
             for folder in (workdir, alone)]
    for row, other in zip(*steps, strict=True):
        assert row == pytest.approx(other, abs=1e-5)


def test_what_one_process_refuses_ends_all(processes, tmp_path):
    workdir = tmp_path / 'held'
    with lock.held(workdir):
        ended = processes(workdir)
    assert [status for status, _, _ in ended] == [2, 2]
    assert 'in use by process' in ended[0][2] and 'Traceback' not in ended[0][2] + ended[1][2]
    ended = processes(workdir, classifier__batch_size=6)
    assert [status for status, _, _ in ended] == [2, 2]
    assert 'cannot be divided over 4 devices' in ended[0][2]
    other = ['--config.judge.learning_rate=0.1', '--config.classifier.save_every=3']
    ended = processes(workdir, last=other)
    assert [status for status, _, _ in ended] == [2, 2]  # the second's words may be cut off
    assert ('the processes have other settings or versions than each other: '
            'config.classifier.save_every, config.judge.learning_rate;') in ended[0][2]
    ended = processes(workdir, last=['--config.cpu_devices=1'])
    assert [status for status, _, _ in ended] == [2, 2]
    assert 'must have equally many devices, and they have 2, 1' in ended[0][2]


def test_settings_are_chosen_by_the_process_that_has_the_images(processes, tmp_path, config):
    """The one that is refused here, after they are chosen, is a setting given by hand."""
    ended = processes(tmp_path / 'run', auto=True, data__source='folder',
                   data__train=config.data.train, classifier__batch_size=6,
                   last=['--config.data.train=/no/such'])
    assert [status for status, _, _ in ended] == [2, 2]
    assert 'cannot be divided over 4 devices' in ended[0][2] and 'auto: ' in ended[0][1]
    assert '/no/such' not in ended[1][2]


def test_half_an_address_is_refused(again, tmp_path):
    done = again([*small_run.arguments(tmp_path / 'run'), '--num_processes=2'])
    assert done.returncode == 2 and done.stderr.startswith('error: --coordinator_address')
    assert done.stderr.count('\n') == 1 and not (tmp_path / 'run').exists()
