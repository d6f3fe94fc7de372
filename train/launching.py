"""From a command line to settings that a run can be made with: before anything is computed."""

import io
import os
import pathlib
import sys

import ml_collections
from absl import logging
from ml_collections import config_flags

from configs import sweeps
from configs.bounds import require_fields
from configs.check import check
from configs.default import LISTS, absolute, is_tested
from train import parallel, place, preparing, processes, provenance
from train.progress import say


def begin(argv):
    """How this process speaks; ValueError if the command line has a word that is no flag."""
    logging.set_verbosity(logging.WARNING)  # orbax and jax log every save
    if isinstance(sys.stdout, io.TextIOWrapper):  # ± and what else a log in ASCII lacks
        sys.stdout.reconfigure(errors='replace')
    if len(argv) > 1:
        raise ValueError(
            f'stray argument {argv[1]!r}; fields are set as --config.KEY=VALUE, and a flag takes '
            'one word'
        )


def settings(flag):
    """What the flag --config asks for.

    Returns:
        (config, not yet frozen; its name; {field: value} of those set on the command line).

    Raises:
        ValueError: there is no such config, or it lacks a field.
    """
    if flag.value is None:
        raise ValueError('no --config; try --config=configs/augmented.py')
    path = config_flags.get_config_filename(flag)
    if not os.path.isfile(file := path.partition(':')[0]):
        raise ValueError(
            f'--config: there is no {file}; try configs/augmented.py or original.py (~ is not read '
            'here, and : begins the variant)'
        )
    config = flag.value
    require_fields(config)
    for field in LISTS:  # --config.arms=a,b is one string
        names = ','.join(map(str, config[field])).split(',')
        config[field] = tuple(name.strip() for name in names if name.strip())
    for part in (config.generator, config.classifier):
        part.init_from = absolute(part.init_from)
    given = config_flags.get_override_values(flag)
    given |= {field: config[field] for field in LISTS if field in given}
    return config, pathlib.PurePath(path).name.replace('.py', '').replace(':', '-'), given


def checked(configs, points, given, workdir, sweep):
    """The configs of a run, or of a sweep's: chosen where they are to be, frozen and checked.

    Args:
        points: what each run of a sweep sets. given: see `settings`.

    Raises:
        ValueError: a run cannot be made with one of them, or not in `workdir`.
    """
    # process 0's word: others of NFS would keep in mind for a while what is not there yet
    processes.on_main(lambda: place.check(workdir, configs, sweep))
    for line in preparing.choose_settings(configs, points, given):
        say(line)
    configs = [ml_collections.FrozenConfigDict(one) for one in configs]
    processes.require_same(provenance.in_common(configs))
    for index, one in enumerate(configs):
        with sweeps.naming(index if sweep else None):
            check(one, parallel.device_count())
            if sweep and not is_tested(one):
                raise ValueError('config.splits.test_fraction=0 leaves a sweep nothing to compare')
    return configs
