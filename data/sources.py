"""Where labelled images come from: glyphs, digits, class folders or zips, TFDS."""

import contextlib
import dataclasses
import functools
import itertools
import os
import pathlib
import threading
import time
import unicodedata
import warnings
import zipfile
from collections.abc import Callable
from concurrent import futures
from typing import Protocol

import numpy as np
from PIL import Image

from data import glyphs
from data.decode import BadImage, decode

SOURCES = ('glyphs', 'digits', 'folder', 'tfds:<name>')
SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp')
LEFT_BEHIND = ('Thumbs.db', 'desktop.ini')
MAX_FILE_BYTES = 2**28
_SLOW = 1e-3  # seconds for an image from which on threads are quicker
_THREADS = 8  # at most: each holds the bytes of an image
_WINDOW = 64  # images decoded before the first of them is handed on


class Source(Protocol):
    """Labelled images, decoded on access.

    `labels` is int32 [N] and costs no decoding; an item is {'image': uint8 [S, S, 3],
    'label': int, 'index': int, 'name': str} and may raise `BadImage`.
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
    with futures.ThreadPoolExecutor(min(os.cpu_count() or 1, _THREADS)) as pool:
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
        train: for 'folder' a directory or zip with one sub-folder per class; for TFDS the data
            directory or one prepared set (empty: TFDS's own default).
        test: for 'folder' an optional second tree of the same kind.
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
        return _open_tfds(name.removeprefix('tfds:'), train, image_size)
    raise ValueError(f'unknown data source {name!r}; known: {", ".join(SOURCES)}')


def paths(name, *, train='', test=''):
    """The files and folders that `open_source` reads, as it is given them.

    Raises:
        FileNotFoundError, ValueError: there is no prepared TFDS set of that name.
    """
    if name.startswith('tfds:'):
        return [_tfds_builder(name.removeprefix('tfds:'), train).data_path]
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


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedSource:
    """A source of encoded images; `read(i)` fetches the bytes of image i.

    `ignored` names the files that are not hidden and yet no part of the set: of other formats, or
    nested deeper.
    """

    class_names: tuple[str, ...]
    labels: np.ndarray
    names: tuple[str, ...]
    image_size: int
    read: Callable[[int], bytes]
    ignored: tuple[str, ...] = ()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        label, name = int(self.labels[i]), self.names[i]
        image = decode(self.read(i), name, self.image_size)
        return {'image': image, 'label': label, 'index': int(i), 'name': name}


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
        raise ValueError("the source 'folder' needs a train path: a directory or a zip")
    pool = open_folder(train, image_size)
    return pool, open_folder(test, image_size, pool.class_names) if test else None


def open_folder(root, image_size, class_names=None):
    """A directory or zip with one sub-folder per class, read in place.

    Wrapper folders above the classes are skipped; symbolic links that lead back are not followed.

    Args:
        root: path of the directory or zip.
        image_size: side S of the square images in pixels.
        class_names: the classes to number by; None takes the folder names in sorted order.

    Raises:
        FileNotFoundError: no such path.
        ValueError: no class folders, an empty one, or one that `class_names` lacks.
    """
    root = pathlib.Path(root).expanduser()
    if not root.exists():
        raise FileNotFoundError(f'no such directory or zip: {root}')
    classes, ignored = _class_files(root)
    if not any(classes.values()):
        deeper = [path for path in ignored if _is_image(path) and '/' in path]
        hint = f'; {deeper[0]} lies deeper: name the folder above the classes' if deeper else ''
        raise ValueError(
            f'{root}: no <class>/<file> images found; needed are one folder per class with '
            f'{" ".join(SUFFIXES)} files{hint}'
        )
    if class_names is None:
        class_names = tuple(sorted(classes))
        empty = [name for name in class_names if not classes[name]]
        if empty:
            raise ValueError(
                f'{root}: no images in the class folders {empty[:5]}; add some or remove them'
            )
    unknown = sorted(name for name in classes if classes[name] and name not in class_names)
    if unknown:
        raise ValueError(f'{root}: has classes that the training set lacks: {unknown[:5]}')
    rows = [(k, path) for k, name in enumerate(class_names) for path in classes.get(name, ())]
    labels, paths = zip(*rows, strict=True)
    read = functools.partial(_read_member, root, _version(root), paths)
    return EncodedSource(
        class_names, np.array(labels, np.int32), paths, image_size, read, ignored
    )


def open_images(root, image_size):
    """Every image below a directory or in a zip, or the one that `root` is, of class 0: to be
    classified, not to learn from.

    Raises:
        FileNotFoundError: no such path.
        ValueError: no image in it.
    """
    root = pathlib.Path(root).expanduser()
    if not root.exists():
        raise FileNotFoundError(f'no such directory or zip: {root}')
    if root.is_file() and _is_image(root.name):
        root, found = root.parent, [root.name]
    else:
        found = [p for p in members(root) if _is_image(p) and not is_hidden(p)]
    paths = tuple(sorted(found))
    if not paths:
        raise ValueError(f'{root}: no {" ".join(SUFFIXES)} files found')
    read = functools.partial(_read_member, root, _version(root), paths)
    return EncodedSource(('',), np.zeros(len(paths), np.int32), paths, image_size, read)


def _class_files(root):
    """({class: sorted image paths}, ignored paths); paths are relative to `root`, with '/'."""
    files, folders, ignored = set(), set(), []
    for path in members(root):
        parts = tuple(path.rstrip('/').split('/'))
        # No part may be empty (an absolute path) or '..': class names become folder names.
        if any(part in ('', '..') for part in parts):
            ignored.append(path)
        elif is_hidden(path) or '.' in parts:
            continue
        elif path.endswith('/'):
            folders.add(parts)
        elif _is_image(path):
            files.add(parts)
        else:
            ignored.append(path)
    folders |= {parts[:n] for parts in files for n in range(1, len(parts))}
    level, wrapped = 1, True
    while wrapped:  # one folder with more folders of images inside only wraps the classes
        inside = {parts for parts in folders if len(parts) == level}
        wrapped = len(inside) == 1 and any(len(parts) > level + 1 for parts in files)
        level += wrapped
    classes = {unicodedata.normalize('NFC', parts[-1]): [] for parts in inside}
    for parts in sorted(files):
        path = '/'.join(parts)
        if parts[:-1] in inside:  # macOS decomposes accents, other systems do not: compare as NFC
            classes[unicodedata.normalize('NFC', parts[-2])].append(path)
        else:
            ignored.append(path)
    return classes, tuple(ignored)


def _is_image(path):
    return path.lower().endswith(SUFFIXES)


def is_hidden(path):
    """Whether a relative path is one of those that systems leave behind, and no user means."""
    parts = path.split('/')
    return parts[-1] in LEFT_BEHIND or any(
        part.startswith('.') and part not in ('.', '..') or part == '__MACOSX' for part in parts
    )


def members(root):
    """Every file below a directory or in a zip as a relative path; directories end in '/'.

    Raises:
        ValueError: no directory and no zip, or a name that is not UTF-8.
    """
    if root.is_dir():
        seen = {os.path.realpath(root)}
        for base, folders, names in os.walk(root, followlinks=True):
            prefix = pathlib.Path(base).relative_to(root).as_posix()
            prefix = '' if prefix == '.' else prefix + '/'
            real = {name: os.path.realpath(os.path.join(base, name)) for name in folders}
            folders[:] = sorted(name for name in folders if real[name] not in seen)  # no loops
            seen.update(real.values())
            yield from (prefix + name + '/' for name in folders)
            for name in (*folders, *names):
                if not _is_utf8(name):
                    raise ValueError(f'{base}: the name {name!a} is not UTF-8; rename it')
            # A pipe would block the reader for ever, so regular files only.
            yield from (prefix + n for n in names if os.path.isfile(os.path.join(base, n)))
    elif zipfile.is_zipfile(root):
        yield from _archive(root, os.getpid(), _version(root))[0].namelist()
    else:
        raise ValueError(f'{root} is neither a directory nor a readable zip file')


def _is_utf8(name):
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _version(path):
    """What differs once a file is another."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


@functools.lru_cache(maxsize=8)
def _archive(path, process, version):
    """(an open zip, the lock under which its threads read); processes would mix up its position."""
    try:
        return zipfile.ZipFile(path), threading.Lock()
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f'{path} is a damaged zip file ({error}); make it again') from error


def _read_member(root, version, paths, i):
    """The bytes of file `paths[i]` inside the directory or zip `root`."""
    path = paths[i]
    try:
        turn = contextlib.nullcontext()
        if root.is_dir():
            size, read = (root / path).stat().st_size, (root / path).read_bytes
        else:
            archive, turn = _archive(root, os.getpid(), version)
            size, read = archive.getinfo(path).file_size, functools.partial(archive.read, path)
        if size <= MAX_FILE_BYTES:
            with turn:
                return read()
    except Exception as error:  # zipfile raises RuntimeError for a password, zlib.error, ...
        raise BadImage(path, f'cannot be read ({error})') from error
    raise BadImage(path, f'{size} bytes is over the limit of {MAX_FILE_BYTES}')


def _open_tfds(name, data_dir, image_size):
    """A prepared TFDS set in array_record format, read without TensorFlow."""
    builder = _tfds_builder(name, data_dir)
    splits = [split for split in ('test', 'validation') if split in builder.info.splits]
    if 'train' not in builder.info.splits:
        raise ValueError(f'TFDS set {name!r} has no train split, only {list(builder.info.splits)}')
    test = _tfds_split(builder, splits[0], image_size) if splits else None
    return _tfds_split(builder, 'train', image_size), test


def _tfds_builder(name, data_dir):
    """The prepared set, in `data_dir` or, without it, where TFDS keeps its sets."""
    import tensorflow_datasets as tfds  # slow to import, and only this source needs it

    data_dir = os.path.expanduser(data_dir)
    prepared = os.path.isfile(os.path.join(data_dir, 'dataset_info.json'))
    target = f' --data_dir={data_dir}' if data_dir and not prepared else ''
    command = f'pip install tensorflow-cpu && tfds build {name} --file_format=array_record{target}'
    try:
        if prepared:
            builder = tfds.builder_from_directory(data_dir)
        else:  # looks on the disk only: no download, no data-set code
            lookup = tfds.core.read_only_builder.builder_from_files
            builder = lookup(name, data_dir=data_dir or None)
    except Exception as error:
        raise FileNotFoundError(
            f'no prepared TFDS set {name!r} in {data_dir or "the TFDS folder"}; run: {command}'
        ) from error
    formats = {f.value for f in builder.info.available_file_formats()}
    if 'array_record' not in formats:
        raise ValueError(
            f'{builder.data_path} holds {sorted(formats)}, which only TensorFlow reads; run: '
            f'{command} --overwrite'
        )
    return builder


def _tfds_split(builder, split, image_size):
    import tensorflow_datasets as tfds

    features = builder.info.features
    if not {'image', 'label'} <= set(features) or not hasattr(features['label'], 'names'):
        raise ValueError(
            f"TFDS set {builder.name!r} needs features 'image' and 'label' (a ClassLabel); it has "
            f'{sorted(features)}'
        )
    skip = {'image': tfds.decode.SkipDecoding()}  # bytes: our own rules decode them
    records = builder.as_data_source(split=split, decoders=skip)
    labels = np.array([record['label'] for record in records], np.int32)
    if len(labels) == 0 or np.min(labels) < 0:
        raise ValueError(f'TFDS set {builder.name!r}: the split {split!r} has no labels')
    return EncodedSource(
        class_names=tuple(features['label'].names),
        labels=labels,
        names=tuple(f'{split}/{i:06d}' for i in range(len(labels))),
        image_size=image_size,
        read=lambda i: records[i]['image'],
    )
