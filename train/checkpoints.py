"""Save, verify, restore, fall back: the only file that imports orbax.

A checkpoint is a folder `step_00001000` that appears under its name only when it is whole. Its
SHA256SUMS, in the format of `sha256sum`, lists every file in it: a file changed, lost or added
since makes the checkpoint damaged. It is then named, set aside, and the one before it is used.
"""

import errno
import logging
import os
import pathlib
import re
import shutil
import time

import flax.traverse_util
import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from data import folders
from train import disk, parallel, processes, stages

_NAME = re.compile(r'step_(\d{8})')
_MANIFEST = 'SHA256SUMS'
_KEPT = 2  # checkpoints of a training: the newest ones
_DAMAGE = errno.EIO, errno.ENOENT, errno.ENOTDIR  # others, as of rights or a server, may pass
_TRIES_AGAIN = (
    'the same command tries again; if it never can, delete that folder and give the command that '
    'made the run, which trains again from the checkpoint before'
)


def require_readable(path, flag):
    """ValueError, that names the `flag`, if checkpoints below `path` could not be read."""
    if any(sign in str(path) for sign in '*?[\\'):  # orbax lists its files by a pattern
        raise ValueError(
            f'{flag}={path} has *, ?, [ or \\ in it, which would be read as a pattern; use another'
        )
    require_utf8(path, flag)


def require_utf8(path, flag):
    """ValueError, that names the `flag`, if `path` is not UTF-8, as orbax and a report are."""
    if not folders.is_utf8(str(path)):
        raise ValueError(f'{flag}={str(path)!r} is not UTF-8; use another')


def save(folder, state):
    """Writes `state` as folder/step_<step> and deletes all but the newest `_KEPT`.

    All processes must call it: orbax has them meet.

    Raises:
        FloatingPointError: an array of the state has a NaN or infinity; nothing is written.
        OSError: it could not be written; no checkpoint was touched.
    """
    folder = pathlib.Path(folder).resolve()
    final = _path(folder, int(state.step))
    unfinished = folder / f'unfinished_{final.name}'
    arrays = jax.device_get(_named(state))  # all at once
    if not processes.on_main(lambda: _make_way(final, arrays)):
        return
    try:
        ocp.save(str(unfinished), arrays)
    except ValueError as error:  # what tensorstore makes of a full disk
        for left in folder.glob(f'{unfinished.name}*'):
            shutil.rmtree(left, ignore_errors=True)
        number = re.search(r"os_error_code='(\d+)'", str(error))
        if not number:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(final)) from error
    processes.on_main(lambda: _put_in_place(unfinished, final))


def _make_way(final, arrays):
    """Whether `arrays` have yet to be written to `final`; what a kill or a fault left is gone."""
    _refuse_not_finite(arrays, final)
    if final.exists():
        damage = _damage(final)
        if damage is None:
            return False
        _set_aside(final, damage)
    final.parent.mkdir(parents=True, exist_ok=True)
    for left in final.parent.glob('unfinished_step_*'):
        shutil.rmtree(left, ignore_errors=True)
    return True


def _put_in_place(unfinished, final):
    if not (unfinished / 'state' / 'manifest.ocdbt').exists():  # where orbax lists the arrays
        raise OSError(errno.EIO, 'orbax has written no arrays; try another folder', str(final))
    (unfinished / _MANIFEST).write_text(_manifest(unfinished), 'utf-8')
    unfinished.rename(final)
    for old in steps(final.parent)[:-_KEPT]:
        doomed = final.with_name(f'unfinished_{_path(final.parent, old).name}')
        _path(final.parent, old).rename(doomed)  # a half-deleted checkpoint has no good name
        shutil.rmtree(doomed)


def require_space(folder, state):
    """Raises OSError unless the checkpoints that `save` will add to `folder` fit on the disk.

    Args:
        state: arrays, or their shapes and types.
    """
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) + 2**16  # orbax's files
    missing = _KEPT + 1 - len(steps(folder))  # the newest is written before the oldest goes
    folder.mkdir(parents=True, exist_ok=True)
    disk.require_space(folder, max(1, missing) * size)


def restore(folder, template):
    """The newest undamaged checkpoint in the form of `template`, or None if there is none.

    Args:
        template: arrays, or their shapes and types.

    Raises:
        OSError: it cannot be read for now, though it may be as it was written.
        stages.Changed: the newest checkpoint belongs to another network or optimizer.
    """
    newest = _newest(folder)
    return newest and _rebuild(template, *newest)


def load(folder, step=None):
    """A checkpoint of a finished training as nested dicts of NumPy arrays: {'params': {...}, ...}.

    Args:
        step: the last of the training; None: the newest there is.

    Raises:
        stages.Lost: it is gone, or not as it was written; no other is used in its place.
        OSError: it cannot be read for now, though it may be as it was written.
    """
    folder = pathlib.Path(folder).resolve()
    if step is None:
        step = processes.on_main(lambda: max(steps(folder), default=0))
    path = _path(folder, step)
    if damage := processes.on_main(lambda: _damage(path)):
        raise stages.Lost(
            folder.parent, f'{path} cannot be used ({damage}); the command that made the run, '
            'given again, trains again, from the checkpoint before if there is one'
        )
    return flax.traverse_util.unflatten_dict(_read(path), sep='/')


def _newest(folder):
    """(arrays by name, path) of the newest good checkpoint, or None.

    All processes read the same one.
    """
    folder = pathlib.Path(folder).resolve()
    while (step := processes.on_main(lambda: max(steps(folder), default=None))) is not None:
        path = _path(folder, step)
        damage = processes.on_main(lambda: _damage(path))  # noqa: B023
        if not damage:
            return _read(path), path
        # so that this step can be saved again
        processes.on_main(lambda: _set_aside(path, damage))  # noqa: B023
    return None


def _read(path):
    """Arrays by name of a checkpoint that is as it was written; all processes must ask.

    Raises:
        OSError: one of them cannot read it, for want of memory, of the file system, or of an orbax
            that knows it: not for its files, so no older one takes its place.
    """
    saved, failure = {}, ''
    try:
        saved = {name: np.asarray(x) for name, x in ocp.load(str(path)).items()}
    except Exception as error:  # orbax raises many kinds
        failure = (str(error).splitlines() or [type(error).__name__])[0]
    if parallel.any_process(bool(failure)):
        raise OSError(
            f'{path} is as it was written but cannot be read ({failure or "by another process"}); '
            f'{_TRIES_AGAIN}'
        )
    return saved


def _set_aside(path, damage):
    aside = path.with_name(f'damaged_{path.name}_{time.time_ns()}')
    logging.warning('%s is damaged (%s); set aside as %s', path, damage, aside.name)
    path.rename(aside)


def _damage(path):
    """What is wrong with the files of the checkpoint at `path`, in words; None: nothing."""
    try:
        recorded = (path / _MANIFEST).read_bytes()
        found = _manifest(path).encode()
    except OSError as error:
        if error.errno not in _DAMAGE:
            raise OSError(f'{path} cannot be read ({error}); {_TRIES_AGAIN}') from error
        return f'{pathlib.Path(error.filename or path).name}: {error.strerror}'
    if recorded == found:
        return None
    lines = [set(text.decode(errors='replace').splitlines()) for text in (recorded, found)]
    names = sorted({line[66:] or _MANIFEST for line in lines[0] ^ lines[1]}) or [_MANIFEST]
    return f'{names[0]} is not as it was written'


def _manifest(path):
    """The SHA-256 of every file below `path`, as `sha256sum` prints them.

    But of what a system leaves behind, where somebody looked at the folder (.DS_Store).
    """
    files = (file for file in path.rglob('*') if file.is_file() and file.name != _MANIFEST)
    names = sorted(file.relative_to(path).as_posix() for file in files)
    return ''.join(f'{disk.digest(path / name)}  {name}\n'
                   for name in names if not folders.is_hidden(name))


def _refuse_not_finite(arrays, path):
    for name, array in arrays.items():
        # a scalar may be infinite: the loss of the best weights before there are any
        if array.ndim and array.dtype.kind == 'f' and not np.isfinite(array).all():
            raise FloatingPointError(
                f'{path} is not saved: {name} has a NaN or infinity; lower the learning_rate'
            )


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


def _rebuild(template, saved, path):
    expected = _named(template)
    found, wanted = ({name: np.shape(x) for name, x in own.items()} for own in (saved, expected))
    wrong = sorted({name for name, _ in found.items() ^ wanted.items()})
    if wrong:
        raise stages.Changed(
            f'{path} was written by another network or optimizer ({len(wrong)} arrays differ, '
            f'first {wrong[0]}); use another --workdir or delete it'
        )
    leaves = [saved[name] for name in expected]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)
