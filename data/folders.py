"""Class folders and zips of them: which files are images, of which class, and their bytes."""

import contextlib
import errno
import functools
import itertools
import os
import pathlib
import threading
import unicodedata
import zipfile

import numpy as np

from data.decode import BadImage, EncodedSource

SUFFIXES = ('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.webp', '.bmp')
PARTS = ('train', 'training', 'test', 'testing', 'val', 'valid', 'validation')
LEFT_BEHIND = ('Thumbs.db', 'desktop.ini', 'Icon\r')
MAX_FILE_BYTES = 2**28
_PASSING = errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE  # no fault of a file's


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
    root = existing(root)
    classes, ignored = _class_files(root)
    if parts := _parts(root, classes, class_names, ignored):
        raise ValueError(_name_parts(root, parts))
    if not any(classes.values()):
        raise ValueError(
            f'{root}: no <class>/<file> images found; needed are one folder per class with '
            f'{" ".join(SUFFIXES)} files{_hint(root, classes, ignored, nothing=True)}'
        )
    if class_names is None:
        class_names = tuple(sorted(classes))
        empty = [name for name in class_names if not classes[name]]
        if empty:
            raise ValueError(
                f'{root}: no images in the class folders {empty[:5]}; add some or remove them'
                f'{_hint(root, empty, ignored)}'
            )
    paths, labels = numbered(root, classes, class_names)
    read = functools.partial(read_member, root, _version(root), paths)
    return EncodedSource(class_names, labels, paths, image_size, read, ignored)


def numbered(root, classes, class_names):
    """(paths of {class: [path]}, their classes' numbers int32 [N]), class by class.

    Raises:
        ValueError, that names `root`: a class that `class_names` lacks.
    """
    unknown = sorted(name for name in classes if classes[name] and name not in class_names)
    if unknown:
        raise ValueError(
            f'{root}: has classes that the training set lacks: {unknown[:5]}; that has '
            f'{list(class_names[:5])}{" and more" if len(class_names) > 5 else ""}: rename these, '
            'or take them out'
        )
    rows = [(path, k) for k, name in enumerate(class_names) for path in classes.get(name, ())]
    paths, labels = zip(*rows, strict=True)
    return paths, np.array(labels, np.int32)


def _parts(root, classes, class_names, ignored):
    """Paths of those of the folders that seem to be parts of a set and no classes: where all are
    called so, or one has its images deeper in it. Among others that have their own, a train is a
    vehicle."""
    found, deeper = {}, False
    if named := [name for name in classes if name.casefold() in PARTS]:
        for path in itertools.chain(*classes.values(), filter(is_image, ignored)):
            parts = _split(root, path)
            for name in {*named} & {*parts[:-1]}:
                found.setdefault(name, '/'.join(parts[: parts.index(name) + 1]))
                deeper |= class_names is None and not classes[name]
    return sorted(found.values()) if deeper or len(named) == len(classes) > 1 else []


def _name_parts(root, parts):
    """What to say where `_parts` has found some."""
    where, unpack = (root, '') if root.is_dir() else (root.with_suffix(''), 'unpack it, ')
    flags = [f'--config.data.{use}={where}/{path}' for use in ('train', 'test') for path in parts
             if path.split('/')[-1].casefold().startswith(use)]
    return (
        f'{root}: by their names {" and ".join(parts)} are parts of a set and no classes; {unpack}'
        'let each lie by itself, with one folder per class in it, and name it, as '
        f'{" ".join(flags) or "--config.data.train=PATH"} (without a test set, a run holds out '
        'images of the training set)'
    )


def _hint(root, empty, ignored, nothing=False):
    """What to do about the class folders `empty`, all that there are if `nothing` was found, by a
    file that is no image of a class; or ''."""
    deeper, nowhere, kinds = [], [], set()
    for path in ignored:
        parts = _split(root, path)
        if nothing and {'', '..'} & {*parts}:
            return f'; {path} is no path within it: make the zip again, from inside its folder'
        level = next((i for i, part in enumerate(parts[:-1], 1) if part in empty), 0)
        if is_image(path):
            (deeper if level else nowhere).append((parts, level))
        elif level or not empty:
            kinds.add(pathlib.PurePath(path).suffix)
    if deeper:
        parts, level = deeper[0]
        flat = '/'.join([*parts[:level], '_'.join(parts[level:])])
        return (f'; {"/".join(parts)} lies deeper: name the folder that holds the class folders '
                f'or, if {parts[level - 1]} is a class, make it {flat}')
    names = ['/'.join(parts) for parts, _ in nowhere] if nothing else []
    if shown := [name for name in names if not is_hidden(name)]:
        return f'; {shown[0]} lies right in it: name the folder that holds the class folders'
    if listed := ', '.join(sorted(kinds - {''})):
        advice = 'unpack it' if listed == '.zip' else 'to be converted if they are images'
        return f'; there are only {listed}, {advice}'
    if names:
        return f'; {names[0]} lies in a hidden folder: give it another name'
    return ''


def open_images(root, image_size):
    """Every image below a directory or in a zip, or the one that `root` is, of class 0: to be
    classified, not to learn from.

    Raises:
        FileNotFoundError: no such path.
        ValueError: no image in it.
    """
    root = existing(root)
    if root.is_file() and is_image(root.name):
        root, found = root.parent, [root.name]
    else:
        names = ((path, _slashed(root, path)) for path in members(root))
        found = sorted({p for p, name in names if not name.endswith('/') and not is_hidden(name)})
    paths = tuple(filter(is_image, found))
    if not paths:
        raise ValueError(f'{root}: no {" ".join(SUFFIXES)} files found')
    ignored = tuple(path for path in found if not is_image(path))
    read = functools.partial(read_member, root, _version(root), paths)
    return EncodedSource(('',), np.zeros(len(paths), np.int32), paths, image_size, read, ignored)


def existing(root):
    """The path of a directory or file, ~ expanded; FileNotFoundError where there is none."""
    root = pathlib.Path(os.path.expanduser(root))
    if not is_utf8(str(root)):  # a report could not name it
        raise ValueError(f'{str(root)!r} is not UTF-8; rename it')
    if not root.exists():
        raise FileNotFoundError(f'no such directory or file: {root}')
    return root


def _class_files(root):
    """({class: sorted image paths}, ignored paths); paths are relative to `root`, with '/'."""
    files: dict[tuple[str, ...], str] = {}
    folders, ignored = set(), []
    for path in members(root):
        name = _slashed(root, path)  # as './cat/1.png', which some programs write into a zip
        parts = tuple(part for part in name.rstrip('/').split('/') if part != '.')
        # No part may be empty (an absolute path) or '..': class names become folder names.
        if any(part in ('', '..') for part in parts):
            ignored.append(path)
        elif not parts or is_hidden(name):
            if is_image(name) and not is_hidden(parts[-1]) and '__MACOSX' not in parts:
                ignored.append(path)  # of a hidden folder, which might be meant as a class
        elif name.endswith('/'):
            folders.add(parts)
        elif is_image(name):
            files[parts] = path
        else:
            ignored.append(path)
    folders |= {parts[:n] for parts in files for n in range(1, len(parts))}
    level, wrapped = 1, True
    while wrapped:  # one folder with more folders of images inside only wraps the classes
        inside = {parts for parts in folders if len(parts) == level}
        wrapped = len(inside) == 1 and any(len(parts) > level + 1 for parts in files)
        level += wrapped
    classes = {unicodedata.normalize('NFC', parts[-1]): [] for parts in inside}
    for parts, path in sorted(files.items()):
        if parts[:-1] in inside:  # macOS decomposes accents, other systems do not: compare as NFC
            classes[unicodedata.normalize('NFC', parts[-2])].append(path)
        else:
            ignored.append(path)
    return classes, tuple(ignored)


def _slashed(root, path):
    """The path of a member with '/', where a program of Windows has made a zip of them."""
    return path if root.is_dir() else path.replace('\\', '/')


def _split(root, path):
    """The parts of a member's path, in the form of Unicode that classes are named in."""
    return unicodedata.normalize('NFC', _slashed(root, path)).split('/')


def is_image(path):
    """Whether a file is of a kind that is read, by its name."""
    return path.lower().endswith(SUFFIXES)


def is_hidden(path):
    """Whether a relative path is one of those that systems leave behind, and no user means."""
    parts = path.split('/')
    return parts[-1] in LEFT_BEHIND or path.endswith(':Zone.Identifier') or any(
        part.startswith('.') and part not in ('.', '..') or part == '__MACOSX' for part in parts
    )


def members(root):
    """Every file below a directory or in a zip as a relative path; directories end in '/'.

    Raises:
        ValueError: no directory and no zip, or a name that is not UTF-8.
        OSError: a folder that cannot be read.
    """
    if root.is_dir():
        seen = {os.path.realpath(root)}
        for base, folders, names in os.walk(root, onerror=_raise, followlinks=True):
            prefix = pathlib.Path(base).relative_to(root).as_posix()
            prefix = '' if prefix == '.' else prefix + '/'
            real = {name: os.path.realpath(os.path.join(base, name)) for name in folders}
            folders[:] = sorted(name for name in folders if real[name] not in seen)  # no loops
            seen.update(real.values())
            yield from (prefix + name + '/' for name in folders)
            for name in (*folders, *names):
                if not is_utf8(name):
                    raise ValueError(f'{base}: the name {name!a} is not UTF-8; rename it')
            yield from (prefix + name for name in names if _can_be_read(os.path.join(base, name)))
    elif zipfile.is_zipfile(root):
        yield from _archive(root, os.getpid(), _version(root))[0].namelist()
    else:
        raise ValueError(f'{root} is neither a directory nor a readable zip file')


def _raise(error):
    raise error


def is_there(path):
    """Whether there is a file of that name, which may be none that a system allows."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _can_be_read(path):
    """Not so a pipe, which would block its reader for ever; a link that leads nowhere is an error
    of the file's own."""
    return os.path.isfile(path) or os.path.islink(path) and not os.path.exists(path)


def is_utf8(name):
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
        try:  # as macOS writes names, without saying so
            return zipfile.ZipFile(path, metadata_encoding='utf-8'), threading.Lock()
        except UnicodeDecodeError:
            return zipfile.ZipFile(path), threading.Lock()
    except (OSError, zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is a damaged zip file ({error}); make it again') from error


def _unzip(archive, path):
    """The bytes of a member: as many as its entry says, which may be wrong, and the sum tells."""
    with archive.open(path) as member:
        return member.read(archive.getinfo(path).file_size + 1)


def read_member(root, version, paths, i):
    """The bytes of file `paths[i]` inside the directory or zip `root`; version: of the zip.

    Raises:
        BadImage: it cannot be read.
    """
    path = paths[i]
    try:
        turn = contextlib.nullcontext()
        if root.is_dir():
            size, read = (root / path).stat().st_size, (root / path).read_bytes
            if not (root / path).is_file():
                raise ValueError('no file')  # but a pipe, which would block its reader for ever
        else:
            archive, turn = _archive(root, os.getpid(), version)
            size, read = archive.getinfo(path).file_size, functools.partial(_unzip, archive, path)
        if size <= MAX_FILE_BYTES:
            with turn:
                return read()
    except MemoryError:
        raise
    except Exception as error:  # zipfile raises RuntimeError for a password, zlib.error, ...
        if getattr(error, 'errno', None) in _PASSING:
            raise
        raise BadImage(path, f'cannot be read ({error})') from error
    raise BadImage(path, f'{size} bytes is over the limit of {MAX_FILE_BYTES}')
