"""Save, verify, restore, fall back: the only file that imports orbax.

A checkpoint is a folder `step_00001000` that appears under its name only when it is whole.
"""

import logging
import pathlib
import re
import shutil
import time

import flax.traverse_util
import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from train import parallel

_NAME = re.compile(r'step_(\d{8})')


def save(folder, state, *, keep=2):
    """Writes `state` as folder/step_<step> and deletes all but the newest `keep`."""
    folder = pathlib.Path(folder).resolve()
    final = folder / f'step_{int(state.step):08d}'
    if final.exists():
        return
    unfinished = folder / f'unfinished_{final.name}'
    if parallel.is_main():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)
    ocp.save(str(unfinished), {name: np.asarray(x) for name, x in _named(state).items()})
    if parallel.is_main():
        unfinished.rename(final)
        for old in steps(folder)[:-keep]:
            doomed = folder / f'unfinished_{_path(folder, old).name}'
            _path(folder, old).rename(doomed)  # a half-deleted checkpoint has no good name
            shutil.rmtree(doomed)


def restore(folder, template):
    """The newest readable checkpoint in the form of `template`, or None if there is none.

    Raises:
        ValueError: the newest checkpoint belongs to another network or optimizer.
    """
    newest = _newest(folder)
    return newest and _rebuild(*newest, template)


def load(folder):
    """The newest readable checkpoint as nested dicts of NumPy arrays: {'params': {...}, ...}.

    Raises:
        FileNotFoundError: there is none.
    """
    newest = _newest(folder)
    if newest is None:
        raise FileNotFoundError(f'{folder} holds no readable checkpoint')
    return flax.traverse_util.unflatten_dict(newest[0], sep='/')


def _newest(folder):
    """(arrays by name, path) of the newest readable checkpoint, or None."""
    folder = pathlib.Path(folder).resolve()
    for step in reversed(steps(folder)):
        path = _path(folder, step)
        try:
            saved = ocp.load(str(path))
        except Exception as error:  # orbax raises many kinds; each means "not this one"
            aside = path.with_name(f'damaged_{path.name}_{time.time_ns()}')
            logging.warning('%s cannot be read (%s); set aside as %s', path, error, aside.name)
            if parallel.is_main():
                path.rename(aside)  # so that this step can be saved again
            continue
        return {name: np.asarray(x) for name, x in saved.items()}, path
    return None


def steps(folder):
    """The steps of the checkpoints in `folder`, ascending."""
    if not pathlib.Path(folder).is_dir():
        return []
    matches = (_NAME.fullmatch(path.name) for path in pathlib.Path(folder).iterdir())
    return sorted(int(match[1]) for match in matches if match)


def _path(folder, step):
    return pathlib.Path(folder) / f'step_{step:08d}'


def _named(tree):
    """Leaves by path, {'params/Conv_0/kernel': array}."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator='/'): leaf for path, leaf in leaves}


def _rebuild(saved, path, template):
    expected = _named(template)
    wrong = [
        name
        for name in sorted(expected.keys() | saved.keys())
        if name not in saved or name not in expected
        or np.shape(saved[name]) != np.shape(expected[name])
    ]  # fmt: skip
    if wrong:
        raise ValueError(
            f'{path} was written by another network or optimizer ({len(wrong)} arrays differ, '
            f'first {wrong[0]}); use another --workdir or delete it'
        )
    leaves = [saved[name] for name in expected]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)
