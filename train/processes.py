"""How several processes act as one: they join, follow what process 0 decides, and end together.

All of them run the same program. What they compute on devices keeps them in step; whatever only
process 0 does, such as writing the run's folder, is an `on_main`, and the others wait for it by
JAX's coordination service, where a wait may take hours, and not on a device, where it may not.
"""

import contextlib
import itertools
import json
import os
import pathlib
import sys
import threading
import time
import traceback

import jax
from jax._src import distributed  # its client is the only key-value store that JAX has

from train import parallel
from train.progress import be_quiet, leave, say

_FOREVER = 10 * 365 * 24 * 3600 * 1000  # ms
_ENDED = 'ended'
_AGAIN = os.EX_TEMPFAIL  # 75, the exit status that says: run the same command again
_OWN = ('INVALID_ARGUMENT', 'UNIMPLEMENTED')  # of which no lost process is the cause
_turn = itertools.count()


def announced(environment):
    """How many processes a launcher says it has started, by its environment variables.

    Of SLURM's `srun` and Open MPI's `mpirun`. Not of a Kubernetes job or a Cloud TPU, where many
    processes need not belong together: there `--distributed` says so.
    """
    for count, place in (
        ('SLURM_STEP_NUM_TASKS', 'SLURM_PROCID'),
        ('OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_RANK'),
    ):
        if count in environment and place in environment:
            return int(environment[count])
    return 1


def join(*, detect=None, coordinator_address=None, num_processes=None, process_id=None):
    """Joins the processes of a run: from now on JAX sees the devices of all.

    Must come before JAX is used. A process that stands alone does nothing.

    Args:
        detect: whether to join what JAX detects (SLURM, Open MPI, Kubernetes, Cloud TPU);
            None: where `announced` finds several.
        coordinator_address, num_processes, process_id: 'host:port' of process 0, how many there
            are, and which this is, where nothing is to be detected.

    Raises:
        ValueError: they cannot be joined, or have not equally many devices.
    """
    by_hand = (coordinator_address, num_processes, process_id)
    given = [x is not None for x in by_hand]
    if not any(given) and not (announced(os.environ) > 1 if detect is None else detect):
        return
    if any(given) and not all(given):
        raise ValueError(
            '--coordinator_address, --num_processes and --process_id belong together; give all '
            'three, or none where JAX finds them (SLURM, Open MPI, Kubernetes, Cloud TPU)'
        )
    try:
        jax.distributed.initialize(*by_hand, heartbeat_timeout_seconds=30)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(f'the processes cannot be joined: {error}') from error
    if not parallel.is_main():
        be_quiet()
    parallel.require_equal_counts()
    if not _all_see(jax.config.jax_compilation_cache_dir):
        say('  The processes do not share a compilation cache (JAX_COMPILATION_CACHE_DIR, by '
            'default .jax_cache beside main.py), so none is used: every start compiles.')
        jax.config.update('jax_enable_compilation_cache', False)


def _all_see(folder):
    """Whether a file that process 0 makes in `folder` is there for all processes.

    Of GPUs those that compile a program choose its kernels together. One that found it in a cache
    of its own would not take part, and the others would wait for it.
    """
    if '://' in folder:  # a bucket, which is one for all
        return True
    folder = pathlib.Path(folder)

    def make_mark():
        mark = folder / f'seen_by_all_{time.time_ns()}'
        with contextlib.suppress(OSError):  # then nobody sees it
            folder.mkdir(parents=True, exist_ok=True)
            mark.touch()
        return mark.name

    mark = folder / on_main(make_mark)
    seen = all(_of_all('sees', os.path.exists(mark)))
    if parallel.is_main():
        with contextlib.suppress(OSError):
            mark.unlink()
    return seen


def require_same(facts):
    """ValueError that names those of `facts`, {name: JSON data}, which processes have otherwise."""
    if parallel.alone():
        return
    ours, *others = _of_all('facts', facts)
    if differing := sorted({name for one in others for name in ours | one
                            if one.get(name) != ours.get(name)}):
        raise ValueError(
            f'the processes have other settings or versions than each other: '
            f'{", ".join(differing)}; give all the same command and packages'
        )


def _of_all(key, value):
    """[`value`, JSON data, of each process]. A key serves once."""
    index, count = parallel.process()
    _client().key_value_set(f'{key}/{index}', json.dumps(value))
    return [json.loads(_client().blocking_key_value_get(f'{key}/{i}', _FOREVER))
            for i in range(count)]


@contextlib.contextmanager
def ending_together():
    """How one of the processes ends, so do all: its exit status becomes theirs."""
    if parallel.alone():
        yield
        return
    watcher = threading.Thread(target=_follow, daemon=True)
    watcher.start()
    try:
        yield
    except SystemExit as asked:
        end(asked.code or 0)
    except jax.errors.JaxRuntimeError as error:  # most likely another one has died
        reason = str(error).strip().splitlines()[0]
        if reason.startswith(_OWN):
            traceback.print_exc()
            end(1)
        print(f'error: the processes have lost each other, the same command goes on: {reason}',
              file=sys.stderr)
        end(_AGAIN)
    except BaseException:
        traceback.print_exc()
        end(1)
    on_main(lambda: _tell(None))  # all are here: nobody waits for anybody any more
    watcher.join()
    jax.distributed.shutdown()  # meets the others: process 0 must not take the store away before


def _tell(status, key=_ENDED):
    try:
        _client().key_value_set(key, json.dumps(status))
    except jax.errors.JaxRuntimeError:  # another one has ended, too, or process 0 is gone
        pass


def _part(seconds=5.0):
    """Process 0 hosts the key-value store, so it waits until the others have read the status."""
    index, count = parallel.process()
    if index:
        _tell(None, f'left/{index}')
        return
    deadline = time.monotonic() + seconds
    for other in range(1, count):
        left = max(1, round(1000 * (deadline - time.monotonic())))
        try:
            _client().blocking_key_value_get(f'left/{other}', left)
        except jax.errors.JaxRuntimeError:
            continue
    time.sleep(0.5)  # for the answer to what they said last


def end(status, message=None):
    """Ends this process at once, and the others with it; see `progress.leave`."""
    if not parallel.alone():
        if not parallel.is_main():
            time.sleep(0.5)  # process 0 may end for the same reason, and is the one to say why
        _tell(status)
        _part()
    leave(status, message)


def _follow():
    """Ends this process as soon as another one has ended."""
    try:
        status = json.loads(_client().blocking_key_value_get(_ENDED, _FOREVER))
    except jax.errors.JaxRuntimeError:
        status = _AGAIN  # process 0 died
    if status is not None:
        _part()
        leave(status)


def _client():
    return distributed.global_state.client


def on_main(work):
    """What work() returns in process 0, JSON data, in every process; the others wait for it.

    Raises:
        What work() raises, in process 0; the others end with exit status 2.
    """
    if parallel.alone():
        return work()
    key = f'turn/{next(_turn)}'
    if not parallel.is_main():
        answer = json.loads(_client().blocking_key_value_get(key, _FOREVER))
        if not answer:
            time.sleep(30)  # process 0 says why, and then ends all
            raise SystemExit(2)
        return answer[0]
    try:
        result = work()
    except BaseException:
        _client().key_value_set(key, '[]')
        raise
    _client().key_value_set(key, json.dumps([result]))
    return result
