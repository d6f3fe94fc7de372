"""What a sweep varies. A file in this folder has get_sweep() -> [{'synthesis.fill': '2x'}, ...]:
the fields of the config that each of its runs sets. Like configs, sweeps are code that is executed.
"""

import contextlib
import importlib.util
import itertools
import os
import pathlib
import shlex
import sys
from typing import Any

import numpy as np

from configs.default import absolute, flat

AS_IT_IS = 'the config as it is'  # a run that sets nothing, in words


def grid(fields):
    """Every combination of {field: values}; the last field varies fastest."""
    return [dict(zip(fields, values)) for values in itertools.product(*fields.values())]


def one_at_a_time(fields):
    """The config as it is, then one change each of {field: values}: what is each worth?"""
    return [{}, *({name: value} for name, values in fields.items() for value in values)]


def sample(fields, count, seed=0):
    """`count` random settings of {field: a list of values, or (low, high), drawn log-uniformly}."""
    rng = np.random.default_rng(seed)

    def draw(values):
        if isinstance(values, tuple):
            low, high = values
            drawn = float(f'{np.exp(rng.uniform(np.log(low), np.log(high))):.3g}')
            return round(drawn) if isinstance(low, int) else drawn
        return values[rng.integers(len(values))]

    return [{name: draw(values) for name, values in fields.items()} for _ in range(count)]


def read(path):
    """The runs of the sweep file at `path`: [{field: value}, ...].

    Raises:
        ValueError: it is no sweep.
    """
    path = os.path.expanduser(path)
    if pathlib.PurePath(path).suffix != '.py':
        raise ValueError(f'--sweep={path} is no sweep; it must be a .py file with get_sweep()')
    if not pathlib.Path(path).is_file():
        raise ValueError(f'--sweep={path} does not exist; configs/sweeps has some')
    try:
        spec: Any = importlib.util.spec_from_file_location('sweep', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        points = list(module.get_sweep())
    except Exception as error:  # it is somebody's code
        raise ValueError(
            f'--sweep={path} is no sweep ({type(error).__name__}: {error}); it must be a .py file '
            'with get_sweep()'
        ) from error
    if not all(isinstance(one, dict) and all(isinstance(name, str) for name in one)
               for one in points):
        raise ValueError(f'--sweep={path}: each run must be a dict of fields, as {{"name": value}}')
    if not points or any(point in points[:i] for i, point in enumerate(points)):
        raise ValueError(f'--sweep={path} must give at least one run, and none twice')
    for point in points:
        for name in point:
            if name.endswith('.init_from') and isinstance(point[name], str):
                point[name] = absolute(point[name])
    return points


def choose(path, index, listed=False):
    """(the runs of the sweep at `path`, the numbers of those to do); ([{}], None) without one.

    Args:
        index: that of the one to do, or None. listed: whether they are only to be listed.

    Raises:
        ValueError: there is no such run.
    """
    if path is None:
        if index is not None or listed:
            raise ValueError(f'--{"sweep_list" if listed else "sweep_index"} needs --sweep')
        return [{}], None
    points = read(path)
    if index is None:
        return points, range(len(points))
    if not 0 <= index < len(points):
        raise ValueError(f'--sweep_index={index} must be 0 to {len(points) - 1}')
    return points, [index]


def apply(config, point):
    """A copy of `config` with the fields of `point` set.

    Raises:
        ValueError: a field that does not exist, or a value of another type.
    """
    config = config.copy_and_resolve_references()
    known = flat(config)
    for name, value in point.items():
        if name not in known:
            raise ValueError(f'the sweep sets {name!r}; configs/default.py has no such field')
        if name == 'cpu_devices' and value != known[name]:
            raise ValueError(
                'the sweep sets cpu_devices, which is of the process; give --config.cpu_devices'
            )
        try:
            config.update_from_flattened_dict({name: value})
        except TypeError:
            raise ValueError(
                f'the sweep sets {name}={value!r}, which is no {type(known[name]).__name__}'
            ) from None
    return config


@contextlib.contextmanager
def naming(index):
    """A ValueError inside says which run of a sweep it is about; without an index, of none."""
    try:
        yield
    except ValueError as error:
        if index is None:
            raise
        raise ValueError(f'run {index} of the sweep: {error}') from error


def command(argv, *more):
    """The command line again, without what chooses runs of a sweep; `more` is added.

    By the Python that runs now, named from the working directory if it lies below it.
    """
    kept = without_flags(argv[1:], ('sweep', 'sweep_index'), ('sweep_list', 'nosweep_list'))
    path, here = pathlib.Path(sys.executable), pathlib.Path.cwd()
    python = path.relative_to(here) if path.is_relative_to(here) else path
    return ' '.join([*map(shlex.quote, [str(python), argv[0], *kept]), *more])


def without_flags(words, valued, switches):
    """The words of a command line but for these flags, and the words that are their values."""
    words, kept = iter(words), []
    for word in words:
        name, equals, _ = word.lstrip('-').partition('=')
        if not word.startswith('-') or name not in (*valued, *switches):
            kept.append(word)
        elif name in valued and not equals:
            next(words, None)
    return kept


def flags(point):
    """The flags that set the fields of `point`."""
    return ' '.join(shlex.quote(f'--config.{name}={value}') for name, value in point.items())


def commands(argv, path, points):
    """For each run of the sweep at `path` the command that does it, in the sweep's folder."""
    sweep = f'--sweep={shlex.quote(str(path))}'
    return [
        f'{command(argv, sweep, f"--sweep_index={i}")}  # {flags(point) or AS_IT_IS}'
        for i, point in enumerate(points)
    ]
