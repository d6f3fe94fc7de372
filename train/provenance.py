"""Where a run's numbers come from: config, inputs, code, versions, machine, date."""

import datetime
import functools
import importlib.metadata
import json
import pathlib
import platform
import subprocess

from configs.default import flat
from train import disk, parallel

PACKAGES = (
    'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'numpy', 'scipy', 'scikit-learn',
    'pillow', 'matplotlib',  # whose fonts the glyphs are
)
CONFIG = 'config.json'
_OF_A_MACHINE = {
    'data.train', 'data.test', 'generator.init_from', 'classifier.init_from', 'cpu_devices',
}
_ROOT = pathlib.Path(__file__).resolve().parent.parent


def facts():
    """{'hardware', 'versions', 'commit', 'date'} of now and here."""
    return made_with() | {'commit': commit(), 'date': datetime.date.today().isoformat()}


def made_with():
    """{'hardware', 'versions'} of now and here."""
    return {'hardware': parallel.describe(), 'versions': versions()}


def versions():
    """{package: its version} of what decides on numbers, and Python's."""
    return {'python': platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


def in_common(configs):
    """{what: its value} in which the processes of a run must agree: packages, and each field of
    the frozen `configs` but those about the machine, such as where its images lie.
    """
    fields = flat(configs[0]).keys() - _OF_A_MACHINE
    return versions() | {
        f'config.{field}': [flat(config)[field] for config in configs] for field in fields
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


def write_config(workdir, config, works):
    """Writes config.json, the resolved config and the facts, if that changes more than the date.

    Args:
        works: whether the run makes more than a report; else the facts stay those of the run that
            has made what stands there.
    """
    before, now = saved(workdir), facts()
    if not works:
        now |= before
    now['config'] = plain(config)
    if not before.items() >= {name: now[name] for name in now if name != 'date'}.items():
        disk.write_json(workdir / CONFIG, now)


def saved(workdir):
    """What config.json says, {'config': the resolved config, ...}; {} without a whole one."""
    return disk.read_json(workdir / CONFIG)


def plain(config):
    """As it is in a file, where tuples are lists."""
    return json.loads(json.dumps(config.to_dict()))


def dataset_name(data):
    """What a reader calls the images of `config.data`: their source, or a folder's own name."""
    if data.source != 'folder':
        return data.source
    path = pathlib.Path(data.train)
    if path.name in ('', '..'):
        path = path.resolve()
    name = path.stem if path.suffix in ('.zip', '.csv') else path.name
    return '/'.join([*path.parts[-2:-1], name]).lstrip('/')
