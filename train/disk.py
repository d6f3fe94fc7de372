"""Files that are whole or what they were before; digests of files; room on the disk."""

import contextlib
import hashlib
import json
import os
import pathlib

from data import folders


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

    Hidden ones are left out: a look at the folder makes some.
    """
    path = pathlib.Path(os.path.expanduser(path))
    if path.is_file():
        with path.open('rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest()
    found = folders.members(path) if path.is_dir() else ()  # the data stage says what is wrong
    files = sorted(
        pathlib.PurePath(p) for p in found if not p.endswith('/') and not folders.is_hidden(p)
    )
    stats = [_stat(path / file) for file in files]
    listing = [(str(p), s.st_size, s.st_mtime_ns) for p, s in zip(files, stats, strict=True)]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def _stat(path):
    """Of the file; of the link itself where it leads nowhere."""
    return path.stat() if path.exists() else path.lstat()


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
