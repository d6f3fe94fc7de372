"""Where labelled images come from: glyphs, digits, class folders, zips or tables, TFDS."""

import dataclasses
import itertools
import time
import warnings
from concurrent import futures
from typing import Protocol

import numpy as np
from loky import cpu_count
from PIL import Image

from data import folders, glyphs, tables, tfds
from data.decode import BadImage

SOURCES = ('glyphs', 'digits', 'folder', 'tfds:<name>')
_SLOW = 1e-3  # seconds for an image from which on threads are quicker
_THREADS = 8  # at most: each holds the bytes of an image
_WINDOW = 64  # images decoded before the first of them is handed on


class Source(Protocol):
    """Labelled images, decoded on access.

    `labels` is int32 [N] and costs no decoding; an item is {'image': uint8 [S, S, 3],
    'label': int, 'index': int, 'name': str} and may raise `BadImage`. It may have `groups`: the str
    that all images of one person, object or day have in common, '' of none.
    """

    class_names: tuple[str, ...]
    labels: np.ndarray

    def __len__(self) -> int: ...

    def __getitem__(self, i) -> dict: ...


def read(source, rows):
    """The item of each row, in order, or the `BadImage` that it raises.

    Large photographs are decoded several at a time. Of small ones most of the work holds Python's
    lock, and threads would only wait for each other.
    """

    def attempt(i):
        try:
            return source[int(i)]
        except BadImage as error:
            return error

    # the first one loads Pillow, the next few tell how long one takes
    starts = [0, 1, *range(5, len(rows), _WINDOW), len(rows)]
    with futures.ThreadPoolExecutor(min(cpu_count(), _THREADS)) as pool:
        slow = False
        for start, end in itertools.pairwise(starts):
            began = time.perf_counter()
            with warnings.catch_warnings():  # not in `decode`: threads share the filters
                warnings.simplefilter('ignore')
                items = list((pool.map if slow else map)(attempt, rows[start:end]))
            slow |= start > 0 and time.perf_counter() - began > _SLOW * (end - start)
            yield from items


def open_source(name, *, image_size, train='', test='', seed=0):
    """Open a source by name: (training pool, test source or None when the caller cuts it).

    Args:
        name: 'glyphs', 'digits', 'folder' or 'tfds:<name>'.
        image_size: side S of the square images in pixels.
        train: for 'folder' a directory or zip with one sub-folder per class, or a CSV of files and
            classes; for TFDS the data directory or one prepared set (empty: TFDS's own default).
        test: for 'folder' an optional second one of the same kinds.
        seed: which glyphs are drawn; other sources ignore it.

    Raises:
        ValueError, FileNotFoundError: one line that says what is wrong and what to do.
    """
    if image_size < 1:
        raise ValueError(f'image_size must be at least 1 pixel, not {image_size}')
    if test and name != 'folder':
        raise ValueError(f"a test path needs the source 'folder', not {name!r}")
    if train and name in ('glyphs', 'digits'):
        raise ValueError(f"{name!r} reads no files; use the source 'folder' for {train!r}")
    if name == 'glyphs':
        return tuple(
            glyphs.Glyphs(split=split, image_size=image_size, seed=seed)
            for split in ('train', 'test')
        )
    if name == 'digits':
        return _digits(image_size), None
    if name == 'folder':
        return _open_folders(train, test, image_size)
    if name.startswith('tfds:') and name != 'tfds:':
        return tfds.open_set(name.removeprefix('tfds:'), train, image_size)
    raise ValueError(f'unknown data source {name!r}; known: {", ".join(SOURCES)}')


def paths(name, *, train='', test=''):
    """The files and folders that `open_source` reads, as it is given them.

    Raises:
        FileNotFoundError, ValueError: there is no prepared TFDS set of that name.
    """
    if name.startswith('tfds:'):
        return [tfds.path(name.removeprefix('tfds:'), train)]
    return [path for path in (train, test) if path]


@dataclasses.dataclass(frozen=True, eq=False)
class ArraySource:
    """A source that is already in memory: images uint8 [N, S, S, 3], labels int32 [N]."""

    class_names: tuple[str, ...]
    labels: np.ndarray
    names: tuple[str, ...]
    images: np.ndarray

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        label, name = int(self.labels[i]), self.names[i]
        return {'image': self.images[i], 'label': label, 'index': int(i), 'name': name}


def _digits(image_size):
    """scikit-learn's 1,797 handwritten digits, 8x8 grey in 0..16, as uint8 RGB."""
    from sklearn.datasets import load_digits  # a second to import, and few runs need it

    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    size = (image_size, image_size)
    images = [Image.fromarray(g).resize(size, Image.Resampling.BILINEAR) for g in grey]
    return ArraySource(
        class_names=tuple(str(name) for name in bunch.target_names),
        labels=bunch.target.astype(np.int32),
        names=tuple(f'digits/{i:04d}' for i in range(len(grey))),
        images=np.stack([np.asarray(image.convert('RGB')) for image in images]),
    )


def _open_folders(train, test, image_size):
    if not train:
        raise ValueError(
            "config.data.train='' must be a directory, a zip or a CSV: the source 'folder' reads it"
        )
    pool = open_labelled(train, image_size)
    return pool, open_labelled(test, image_size, pool.class_names) if test else None


def open_labelled(path, image_size, class_names=None):
    """The images of class folders, of a zip of them, or those that a CSV names.

    See `folders.open_folder` and `tables.open_table`.
    """
    open_as = tables.open_table if tables.is_table(path) else folders.open_folder
    return open_as(path, image_size, class_names)
