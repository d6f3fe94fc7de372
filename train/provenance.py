"""Where a run's numbers come from: config, inputs, code, versions, machine, date."""

import datetime
import functools
import importlib.metadata
import json
import pathlib
import platform
import subprocess

from data import sources
from train import disk, parallel

PACKAGES = (
    'jax', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'numpy', 'scipy', 'scikit-learn', 'pillow',
)
_ROOT = pathlib.Path(__file__).resolve().parent.parent


def facts():
    """{'hardware', 'versions', 'commit', 'date'} of now and here."""
    return {
        'hardware': parallel.describe(),
        'versions': {'python': platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        'commit': commit(),
        'date': datetime.date.today().isoformat(),
    }


@functools.cache
def commit():
    """The git commit of the code, with '+' if files were changed; 'unknown' outside of git.

    As it is when first asked: what was imported then is what runs.
    """
    try:
        head = _git('rev-parse', 'HEAD')
        dirty = _git('status', '--porcelain', '--untracked-files=no')
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'
    return head + ('+' if dirty else '')


def _git(*arguments):
    done = subprocess.run(
        ['git', '-C', str(_ROOT), *arguments], capture_output=True, check=True, text=True
    )
    return done.stdout.strip()


def write_config(workdir, config):
    """Writes config.json, the resolved config and the facts, unless this config stands there."""
    path = workdir / 'config.json'
    plain = json.loads(json.dumps(config.to_dict()))  # tuples become lists, as in the file
    try:
        stands = json.loads(path.read_text('utf-8'))['config'] == plain
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # none, or a damaged one
        stands = False
    if not stands:
        disk.write_json(path, {'config': plain, **facts()})


def input_digests(data):
    """Digests of the files that `config.data` reads, so that a changed image is noticed."""
    return [disk.digest(path)
            for path in sources.paths(data.source, train=data.train, test=data.test)]


def dataset_name(data):
    """What a reader calls the images of `config.data`: their source, or a folder's own name."""
    if data.source != 'folder':
        return data.source
    path = pathlib.Path(data.train)
    if path.name in ('', '..'):
        path = path.resolve()
    name = path.stem if path.suffix == '.zip' else path.name
    return '/'.join([*path.parts[-2:-1], name]).lstrip('/')
