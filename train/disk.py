"""Files that are whole or what they were before; digests of files; room on the disk."""

import contextlib
import hashlib
import json
import os
import pathlib

from data import folders, tables


@contextlib.contextmanager
def atomic_write(path):
    """A path beside `path` to write to; it gets that name, over an older file, if all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f'unfinished_{path.name}')
    yield aside
    aside.rename(path)


def write_json(path, content):
    """Writes JSON data so that the file is whole or, after a kill, what it was before."""
    with atomic_write(path) as aside:
        aside.write_text(json.dumps(content, indent=1), 'utf-8')


def read_json(path):
    """The dict that `write_json` wrote; {} where there is none, or it is damaged."""
    try:
        found = json.loads(path.read_text('utf-8'))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def digest(path):
    """A digest of a file's bytes, or of the names, sizes and times of a folder's files.

    Hidden ones are left out: a look at the folder makes some. Of a table of images it is of its
    bytes and of the files that it names.
    """
    path = pathlib.Path(os.path.expanduser(path))
    if path.is_file():
        with path.open('rb') as file:
            own = hashlib.file_digest(file, 'sha256').hexdigest()
        return f'{own} {_listed(path.parent, tables.files(path))}' if tables.is_table(path) else own
    found = folders.members(path) if path.is_dir() else ()  # the data stage says what is wrong
    files = sorted(
        pathlib.PurePath(p) for p in found if not p.endswith('/') and not folders.is_hidden(p)
    )
    return _listed(path, files)


def _listed(folder, files):
    """A digest of the names, sizes and times of files in a folder."""
    listing = [(str(file), *_size_and_time(folder / file)) for file in files]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def _size_and_time(path):
    """Of the file; of the link itself where it leads nowhere; nothing of what is not there."""
    for look in (path.stat, path.lstat):
        with contextlib.suppress(OSError, ValueError):  # also of names that no system allows
            found = look()
            return found.st_size, found.st_mtime_ns
    return None, None


def require_space(folder, size, files=0):
    """Raises OSError, in words, unless `size` bytes and `files` files have room in `folder`."""
    table = os.statvfs(folder)
    if table.f_files and table.f_favail < files:  # some file systems count none
        raise OSError(
            f'{folder} needs {files:,} files more and its file system has room for '
            f'{table.f_favail:,}; delete some or use another --workdir'
        )
    free = table.f_bavail * table.f_frsize
    if free < size:
        raise OSError(
            f'{folder} needs {size / 1e6:,.0f} MB more and {free / 1e6:,.0f} MB are free; make '
            'room or use another --workdir'
        )
