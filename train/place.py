"""Can a run be made in this folder? Asked before anything is written."""

import os
import pathlib

from train import checkpoints, finished, lock, runs

# what a run writes in its folder, besides its lock
WRITTEN = ('data', 'judge', 'generator', 'synthetic', 'classifiers', 'report', runs.CONFIG)


def check(workdir, configs, sweep=False):
    """Raises ValueError if `workdir` is a file, a sweep's where a run is to be or a run's where a
    sweep is, holds what a run would replace and is none, lies among the images of a run, is what
    a run starts from, or has a name that checkpoints cannot be read from."""
    place = workdir.resolve()
    if place.exists() and not place.is_dir():
        raise ValueError(f'--workdir={workdir} is a file; name a folder')
    checkpoints.require_readable(place, '--workdir')
    if any(part.endswith(':') for part in place.parts):  # of gs://bucket, which pathlib shortens
        raise ValueError(
            f'--workdir={workdir} is no folder of this machine; mount what it names as a folder, '
            'and name that'
        )
    for start in {one[part].init_from for one in configs for part in ('generator', 'classifier')}:
        run = start and runs.open_run(start).folder.resolve()
        if run and (run == place or run.is_relative_to(place / 'points')):
            raise ValueError(
                f'--workdir={workdir} is the run that init_from={start} names; use another, so '
                'that it is there to start from'
            )
    mark, holder = (runs.CONFIG, 'run') if sweep else ('points', 'sweep')
    if (place / mark).exists():  # each would replace the other's report
        raise ValueError(f'--workdir={workdir} is the folder of a {holder}; use another')
    found = [] if sweep else [name for name in WRITTEN if (place / name).exists()]
    marks = lock.FILE, *(f'{name}/{finished.FILE}' for name in found)
    if found and not any((place / mark).exists() for mark in marks):
        raise ValueError(
            f'--workdir={workdir} has {found[0]} in it, which a run would replace, and is no '
            'folder of a run; name a new one'
        )
    folders = (one.data for one in configs if one.data.source == 'folder')
    for path in {path for data in folders for path in (data.train, data.test)} - {''}:
        images = pathlib.Path(os.path.expanduser(path)).resolve()
        if any(images.is_relative_to(place / name) for name in WRITTEN):
            raise ValueError(
                f'the images {path} lie where --workdir={workdir} keeps what a run makes; use '
                'another'
            )
        if place.is_relative_to(images):
            raise ValueError(
                f'--workdir={workdir} lies in the images {path}, whose folders are classes; use '
                'another'
            )
