"""A finished run, opened again: its config, its classes, its stages and its classifiers."""

import contextlib
import dataclasses
import json
import os
import pathlib

import jax
import ml_collections
import numpy as np

from configs import default
from data import cache
from eval import results
from train import arms, checkpoints, classifier, disk, finished, generator, lock, processes, stages
from train.provenance import CONFIG


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run, and the classifiers of it that are meant.

    Attributes:
        folder: the run's folder; config: the frozen config it was made with.
        arm, seeds: of the classifiers.
    """

    folder: pathlib.Path
    config: ml_collections.FrozenConfigDict
    arm: str
    seeds: tuple[int, ...]

    def each(self):
        """The runs that it is: itself, or of `Folds` each."""
        return (self,)

    def stage(self, name):
        """The folder of a finished stage.

        Raises:
            ValueError: it is not finished, or only under an earlier config.
        """
        folder = finished.places(self.folder).get(name)
        used, drawn = self.config.arms, ('judge', 'generator', 'synthetic')
        if name in drawn and not arms.any_synthetic(used):
            raise ValueError(
                f'{self.folder} has drawn no images: of its arms ({", ".join(used)}) none sees any'
            )
        if folder and not folder.is_dir():
            own = folder.resolve().is_relative_to(self.folder.resolve())
            way = 'give its command again' if own else 'copy the whole sweep, whose runs share it'
            raise ValueError(f'the {name} of {self.folder} lay in {folder}, which is gone; {way}')
        if name == 'report' and not default.is_tested(self.config):
            raise ValueError(f'{self.folder} has no report: no image was held out to test on')
        if not folder:
            raise ValueError(
                f'{self.folder} has no finished {name}; finish the run first, or give the command '
                'of its earlier settings again if what they made is meant'
            )
        return folder

    def parts(self):
        """The run's `Splits`."""
        return cache.load(self.stage('data'))

    def class_names(self):
        """The classes, in the order of the networks' outputs."""
        return tuple(cache.listing(self.stage('data'))['class_names'])

    def classifiers(self):
        """[(model, variables)], one a seed.

        Raises:
            stages.Lost: a checkpoint is gone or damaged; the run's command then trains what it
                lacks, for which the stage is an unfinished one from now on.
            ValueError: it is of another network than the config describes.
        """
        config = arms.settings(self.config.classifier, self.arm)
        side, found, wanted = self.config.data.image_size, [], None
        with self._reopening():
            for seed in self.seeds:
                folder = self.stage(arms.stage(self.arm, seed))
                model, variables = classifier.load(folder, config, len(self.class_names()))
                wanted = wanted or classifier.shapes(model, (side, side, 3))
                _require_fit(folder, variables['params'], wanted['params'])
                found.append((model, variables))
        return found

    def calibrations(self):
        """The `Calibration` of each of `classifiers()`; [] where earlier code has stored nothing to
        fit one to.
        """
        stored = [self.stage(arms.stage(self.arm, seed)) / 'predictions.npz' for seed in self.seeds]
        found = results.calibrations({self.arm: stored}, self.train_counts()[0])
        return found.get(self.arm, [])

    def train_counts(self):
        """Real training images a class of each of `classifiers()`, a list of int [C]."""
        found = cache.listing(self.stage('data'))
        counts = [found['counts']['train'][name] for name in found['class_names']]
        return [np.array(counts)] * len(self.seeds)

    def generator(self):
        """The generator's EMA parameters, of the network `generator.make_model(config.generator,
        number of classes)`; `reuse.draw` draws by them.

        Raises:
            stages.Lost, ValueError: as of `classifiers`.
        """
        folder, side = self.stage('generator'), self.config.data.image_size
        with self._reopening():
            params, _ = generator.load(folder, self.config.generator.steps)
        model = generator.make_model(self.config.generator, len(self.class_names()))
        _require_fit(folder, params, generator.shapes(model, (side, side, 3))['params'])
        return params

    @contextlib.contextmanager
    def _reopening(self):
        """A stage that turns out to lack its checkpoint is one that the run's command goes on with.
        """
        try:
            yield
        except stages.Lost as error:
            lost = error.folder
            if not finished.belongs(lost, self.folder):
                raise

            def reopen():
                with lock.held(self.folder):
                    stages.reopen(lost)

            with contextlib.suppress(OSError, lock.Held):  # a copy to be read only, or at work
                processes.on_main(reopen)
            raise

    def digest(self, name):
        """The fingerprint of a finished stage."""
        path = self.stage(name) / finished.FILE
        if not (found := disk.read_json(path).get('digest')):
            raise ValueError(f'{path} is damaged; give the command that made {self.folder} again')
        return found

    def words(self):
        """Which classifiers they are."""
        count = len(self.seeds)
        which = f'seed {self.seeds[0]}' if count == 1 else f'the mean of {count} seeds'
        return f'{self.folder}, arm {self.arm}, {which}'


@dataclasses.dataclass(frozen=True)
class Folds(Run):
    """The folds of one set, which a sweep has made: all classifiers of an arm.

    Attributes:
        folder: the sweep's. config: the first fold's. runs: the `Run` of each.
    """

    runs: tuple[Run, ...]

    def each(self):
        return self.runs

    def stage(self, name):
        if name == 'data':  # whose classes are those of all
            return self.runs[0].stage(name)
        raise ValueError(f'{self.folder} holds several runs; name one, as {self.runs[0].folder}')

    def parts(self):
        return self.stage('splits')  # of which each has its own

    def classifiers(self):
        return [one for run in self.runs for one in run.classifiers()]

    def calibrations(self):
        found = [run.calibrations() for run in self.runs]
        return [one for own in found for one in own] if all(found) else []

    def train_counts(self):
        return [one for run in self.runs for one in run.train_counts()]

    def words(self):
        return f'{self.folder}, arm {self.arm}, the mean of {len(self.runs)} folds'


def open_run(checkpoint, arm=None):
    """The `Run` that a path names: a run's folder, or in it classifiers/<arm>[/seed_<n>].

    Of a sweep of all folds of a set, the `Folds`.

    Of an arm all seeds are meant; of a run those of `arm` or, where that is None, of the first of
    `augmented`, `original` and its own arms that it has.

    Raises:
        ValueError: it is neither, or has no such arm.
    """
    path = pathlib.Path(os.path.expanduser(checkpoint))
    folder, named, seeds = path, None, None
    if not (path / CONFIG).exists():
        if len(path.parts) >= 3 and path.parts[-3] == 'classifiers':
            folder, named = path.parents[2], path.parts[-2]
            seeds = [path.name.removeprefix('seed_')]
        elif len(path.parts) >= 2 and path.parts[-2] == 'classifiers':
            folder, named = path.parents[1], path.name
    checkpoints.require_readable(folder.resolve(), '--checkpoint')
    saved = folder / CONFIG
    if not saved.exists():
        if found := _open_folds(folder, named, arm):
            return found
        sweep = ', one of those in points/' if (folder / 'points').is_dir() else ''
        raise ValueError(
            f'{checkpoint} is no run: {saved} is missing; name the folder of a run{sweep}, '
            'or in it classifiers/<arm> or classifiers/<arm>/seed_<n>'
        )
    config = _read(saved)
    usual = 'augmented', 'original', *config.arms
    arm = named or arm or next(one for one in usual if one in config.arms)
    if arm not in config.arms:
        left = '; its last command left it out: give it with --config.arms again'
        there = (folder / 'classifiers' / arm).is_dir()
        raise ValueError(
            f'{checkpoint}: the run has no arm {arm!r}, but {", ".join(config.arms)}{left * there}'
        )
    trained = [str(seed) for seed in arms.seeds(config.classifier)]
    seeds = seeds or trained
    if not set(seeds) <= set(trained):
        raise ValueError(
            f'{checkpoint}: the run has no {path.name}, but seed_{trained[0]} to seed_{trained[-1]}'
        )
    return Run(folder, config, arm, tuple(map(int, seeds)))


def _open_folds(folder, named, arm):
    """The `Folds` in a sweep's folder, or None where its runs are none."""
    places = sorted(path.parent for path in folder.glob(f'points/*/{CONFIG}'))
    if not places:
        return None
    from eval import across, folds, leaderboard  # slow to import, and few paths are of a sweep

    within = pathlib.PurePath('classifiers', named) if named else ''
    try:
        runs = tuple(open_run(place / within, arm) for place in places)
    except ValueError:
        return None
    fields = folds.FIELD, 'generator.seed', 'synthesis.seed', 'classifier.seed'
    points = [{name: default.flat(run.config)[name] for name in fields} for run in runs]
    if not folds.are(points):
        return None
    rows = leaderboard.rows(folder, points)
    if len(rows) < len(points) or not (across.alike(rows) and across.apart(rows)):
        raise ValueError(
            f'{folder}: not all of its folds are done, by the same settings, code and images; give '
            'the command of the sweep again'
        )
    return Folds(folder, runs[0].config, runs[0].arm, runs[0].seeds, runs)


def lineage(checkpoint):
    """The `Run` that a path names, those that its networks started from, those of theirs, ...

    Raises:
        ValueError: one of them is gone.
    """
    found, left = {}, [checkpoint]
    while left:
        run = open_run(left.pop())
        if run.folder.resolve() not in found:
            found[run.folder.resolve()] = run
            starts = (run.config[part].init_from for part in ('generator', 'classifier'))
            left += filter(None, starts)
    return list(found.values())


def refuse_leaks(config, folder):
    """Raises ValueError if weights that a model starts from know this run's held-out images.

    Args:
        folder: of the stage `data`. Images are known by their pixels: at another size none is.
    """
    for part in ('generator', 'classifier'):
        if not (start := config[part].init_from):
            continue
        here = cache.digests(folder)
        for nth, run in enumerate(lineage(start)):
            there = cache.digests(run.stage('data'))
            learnt = there['train'] & (here['validation'] | here['test'])
            if leaked := len(learnt | there['validation'] & here['test']):
                through = f', through {run.folder},' if nth else ''
                raise ValueError(
                    f'config.{part}.init_from={start}{through} was trained with {leaked:,} of the '
                    'images that this run holds out for validation and test; start from a run of '
                    'the same config.splits, or of other images'
                )


def _require_fit(folder, params, shapes):
    """ValueError unless these are the parameters of a network of these shapes."""
    one, other = (jax.tree.map(lambda leaf: leaf.shape, tree) for tree in (params, shapes))
    if one != other:
        raise ValueError(
            f'{folder} holds another network than config.json and the classes describe: was the '
            'run copied together, or its config.json changed?'
        )


def _read(path):
    """The frozen config of a config.json; a field that is newer than the run has its default."""
    config = default.get_config()
    known = default.flat(config)
    try:
        for name, value in default.flat(json.loads(path.read_text('utf-8'))['config']).items():
            if name in known:
                value = tuple(value) if isinstance(value, list) else value
                config.update_from_flattened_dict({name: value})
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f'{path} is not the config.json of a run; name a run') from error
    return ml_collections.FrozenConfigDict(config)
