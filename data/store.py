"""Where decoded images lie: one array a source, on disk, of which a split is some rows.

Each image is decoded once, straight to the disk. From there batches are gathered by memory map, so
that a set may be larger than memory; what the system has to spare keeps it in memory all the same.
"""

import pathlib

import numpy as np


class Rows:
    """Some rows of an array, which is left where it is: what is asked for is copied, no more."""

    def __init__(self, array, rows):
        self.array, self.rows = array, np.asarray(rows, np.int64)
        self.shape, self.dtype = (len(self.rows), *array.shape[1:]), array.dtype
        self.ndim = len(self.shape)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, key):
        return self.array[self.rows[key]]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype)


def pick(images, rows):
    """`images` at `rows` (indices or a slice), as lazily as they are."""
    return Rows(images.array, images.rows[rows]) if isinstance(images, Rows) else images[rows]


def concatenate(parts):
    """Several arrays of images as one; rows of one array stay that."""
    arrays = {id(part.array) for part in parts if isinstance(part, Rows)}
    if len(arrays) == 1 and all(isinstance(part, Rows) for part in parts):
        return Rows(parts[0].array, np.concatenate([part.rows for part in parts]))
    return np.concatenate([np.asarray(part) for part in parts])


class Writer:
    """Takes images uint8 [H, W, C] of one shape, one by one, `count` at most.

    Args:
        path: of the .npy file to write; None: they stay in memory.
    """

    def __init__(self, path, count):
        self._path, self._count, self._done = path and pathlib.Path(path), count, 0

    def add(self, image):
        """The next image; OSError if the disk is full (a memory map would end the process)."""
        if not self._done and self._path:
            self._file = self._path.open('wb')
            self._header(self._count, image.shape)
        elif not self._done:
            self._array = np.empty((self._count, *image.shape), np.uint8)
        if self._path:
            self._file.write(np.ascontiguousarray(image, np.uint8))
        else:
            self._array[self._done] = image
        self._done += 1
        self._shape = image.shape

    def _header(self, count, shape):
        header = {'descr': '|u1', 'fortran_order': False, 'shape': (count, *shape)}
        np.lib.format.write_array_header_1_0(self._file, header)  # as long for any count

    def finish(self):
        """The array of all images, memory-mapped if there is a path."""
        if not self._done:
            return np.zeros((0, 0, 0, 3), np.uint8)
        if not self._path:
            return self._array[: self._done]
        self._file.seek(0)
        self._header(self._done, self._shape)
        self._file.close()
        return np.load(self._path, mmap_mode='r', allow_pickle=False)


def save(folder, name, images):
    """Keeps images in `folder`; what `load` needs to find them there, JSON data.

    Rows of a file that lies there already are noted; others are written to <name>_images.npy.
    """
    at = getattr(images, 'array', None)
    file = isinstance(at, np.memmap) and at.filename and pathlib.Path(at.filename)
    if file and file.parent == folder.resolve():
        return {'file': file.name, 'rows': images.rows.tolist()}
    np.save(folder / f'{name}_images.npy', np.asarray(images), allow_pickle=False)
    return {'file': f'{name}_images.npy', 'rows': None}


def load(folder, place):
    """The images that `save` kept, memory-mapped; ValueError if they are not all there."""
    array = np.load(folder / place['file'], mmap_mode='r', allow_pickle=False)
    if place['rows'] is None:
        return array
    rows = np.asarray(place['rows'], np.int64)
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(array):
        raise ValueError(f'{place["file"]} has {len(array)} images, fewer than are listed')
    return Rows(array, rows)
