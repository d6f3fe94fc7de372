"""Is a checkpoint ever lost, or restored wrong without a word?

    python -m benchmarks.soak_checkpoints [--writing=100] [--deleting=20] [--flips=200]

A process that saves one checkpoint after another is killed (-9) while it writes one, and while it
deletes an old one; what is then restored must be one of its states, bit for bit, and at most one
save old. Then every file of a checkpoint is emptied, halved, changed by one bit and deleted, and
single bits are flipped anywhere: none of it may be restored.
"""

import logging
import os
import pathlib
import random
import shutil
import signal
import tempfile
import time

import numpy as np

from benchmarks import common, small_run

SIDE = 400  # a kernel of 640 kB, with Adam's moments and the average: 2.6 MB a checkpoint
NOTES = (
    'survived: restored bit for bit a state that was saved, at most one save old; for damage: the '
    'damaged checkpoint was named and the one before it restored',
)


def state(step):
    """A `TrainState` with random numbers of this step's own."""
    import jax.numpy as jnp
    import optax

    from train import state as state_lib

    kernel = np.random.default_rng(step).standard_normal((SIDE, SIDE)).astype('f4')
    created = state_lib.create(
        {'params': {'kernel': jnp.asarray(kernel)}}, optax.adam(1e-3), seed=step, ema=True
    )
    return created.replace(step=jnp.int32(step))


def save_for_ever(folder):
    """Saves steps 1, 2, ...; `saved` in the folder names the last that is whole."""
    from train import checkpoints

    remove = os.unlink

    def slowly(*args, **options):  # or no kill would ever meet a deletion
        time.sleep(0.002)
        remove(*args, **options)

    os.unlink = slowly
    step = max(checkpoints.steps(folder), default=0)
    while True:
        step += 1
        checkpoints.save(folder, state(step))
        (folder / 'saved').write_text(str(step))


def restored(folder):
    """{'step', 'right'}: what is restored, and whether it is what was saved as that step."""
    from train import checkpoints

    logging.disable(logging.CRITICAL)
    try:
        found = checkpoints.restore(folder, state(0))
    finally:
        logging.disable(logging.NOTSET)
    if found is None:
        return {'step': 0, 'right': True}
    step = int(found.step)
    expected = state(step)
    right = all(
        np.asarray(getattr(found, part)['kernel']).tobytes()
        == np.asarray(getattr(expected, part)['kernel']).tobytes()
        for part in ('params', 'ema')
    )
    return {'step': step, 'right': right}


def kill(folder, count, rng, *, deleting):
    """Kills while a checkpoint is written, or while an old one is deleted."""
    folder.mkdir()
    broken = 0
    for _ in range(count):
        pid = os.fork()
        if not pid:
            try:
                save_for_ever(folder)
            finally:
                os._exit(1)
        _wait_for(folder, deleting)
        time.sleep(rng.uniform(0, 0.01 if deleting else 0.08))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        saved = folder / 'saved'
        whole = int(saved.read_text() or 0) if saved.exists() else 0
        found = small_run.aside(restored, folder)
        broken += not found['right'] or found['step'] < whole - 1
    return broken


def _wait_for(folder, deleting):
    """Returns as soon as a new checkpoint is being written there, or an old one deleted."""
    deadline = time.monotonic() + 60
    left = {path.name for path in folder.glob('unfinished_*')}
    while time.monotonic() < deadline:
        names = {path.name for path in folder.iterdir()}
        whole = [name for name in names if name.startswith('step_')]
        for name in names - left:
            step = name.removeprefix('unfinished_').split('.')[0]
            old = bool(whole) and step < max(whole)
            if name.startswith('unfinished_') and old == deleting:
                return
    raise RuntimeError('no checkpoint was written')


def damage(folder, flips, rng):
    """{kind: (tried, restored in silence)} of damages to the newer of two checkpoints."""
    results = {}
    small_run.aside(_save_two, folder / 'whole')
    files = sorted(p for p in (folder / 'whole' / 'step_00000002').rglob('*') if p.is_file())
    files = [path.relative_to(folder / 'whole') for path in files if path.stat().st_size]
    cases = [(kind, path) for kind in ('emptied', 'halved', 'deleted', 'flipped') for path in files]
    cases += [('flipped', rng.choice(files)) for _ in range(flips)]
    for kind, path in cases:
        copy = folder / 'copy'
        shutil.copytree(folder / 'whole', copy)
        _damage(copy / path, kind, rng)
        found = small_run.aside(restored, copy)
        tried, silent = results.get(kind, (0, 0))
        results[kind] = tried + 1, silent + (found != {'step': 1, 'right': True})
        shutil.rmtree(copy)
    return results


def _save_two(folder):
    from train import checkpoints

    for step in (1, 2):
        checkpoints.save(folder, state(step))
    return True


def _damage(path, kind, rng):
    data = bytearray(path.read_bytes())
    if kind == 'deleted':
        path.unlink()
        return
    if kind == 'flipped':
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes({'emptied': b'', 'halved': data[: len(data) // 2]}.get(kind, data))


def main():
    options = common.arguments(
        'Checkpoints: killed while written and deleted, damaged in four ways.',
        writing=100, deleting=20, flips=200, seed=0,
    )
    rng, rows = random.Random(options.seed), []
    from train import checkpoints  # noqa: F401 once, for all forks

    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(made)
        for name, count in (('writing', options.writing), ('deleting', options.deleting)):
            if count:
                broken = kill(folder / name, count, rng, deleting=name == 'deleting')
                fault = f'kill -9 while {name} a checkpoint'
                rows.append({'fault': fault, 'tried': count, 'survived': count - broken})
        damages = damage(folder, options.flips, rng) if options.flips else {}
        for kind, (tried, silent) in damages.items():
            fault = {'flipped': 'one bit of a file flipped'}.get(kind, f'a file {kind}')
            rows.append({'fault': fault, 'tried': tried, 'survived': tried - silent})
    common.report(
        'soak_checkpoints', rows, out=options.out, notes=(*NOTES, f'Seed {options.seed}.'),
        title='Checkpoints, killed and damaged',
    )


if __name__ == '__main__':
    main()
