"""Where else a run's training curves go: TensorBoard, Weights & Biases, MLflow. By default nowhere.

`loop.MetricsLog` sends each row of metrics.jsonl here. The packages are optional and imported only
when asked for: `pip install tensorboardX`, `wandb` or `mlflow`.
"""

import contextlib
import hashlib
import importlib
import json
import pathlib
import uuid

from train import disk, parallel
from train.progress import say

KEPT = 'trackers.json'  # {package: {digest of a config: number of its run}}
_open = []


class TensorBoard:
    """Event files in the run's folder `tensorboard`, one sub-folder a stage; no TensorFlow."""

    PACKAGE = 'tensorboardX'

    def __init__(self, package, workdir, config):
        self._package, self._folder, self._writers = package, workdir / 'tensorboard', {}

    def log(self, stage, step, values):
        if stage not in self._writers:
            # what a killed run logged beyond its checkpoint is hidden
            self._writers[stage] = self._package.SummaryWriter(
                str(self._folder / stage), purge_step=step
            )
        for name, value in values.items():
            self._writers[stage].add_scalar(name, value, step)

    def close(self):
        for writer in self._writers.values():
            writer.close()


class WandB:
    """A run of Weights & Biases, the same one when it goes on; each stage counts its own steps."""

    PACKAGE = 'wandb'

    def __init__(self, package, workdir, config):
        self._run = _resumed(workdir, self.PACKAGE, config, lambda known: package.init(
            project='synthetic-augmentation', name=_name(workdir), config=config,
            dir=str(workdir), id=known or uuid.uuid4().hex, resume='allow',
        ), lambda run: run.id)
        self._stages = set()

    def log(self, stage, step, values):
        if stage not in self._stages:
            self._stages.add(stage)
            self._run.define_metric(f'{stage}/step')
            self._run.define_metric(f'{stage}/*', step_metric=f'{stage}/step')
        values = {'step': step, **values}
        self._run.log({f'{stage}/{name}': value for name, value in values.items()})

    def close(self):
        self._run.finish()


class MLflow:
    """A run of MLflow, the same one when it goes on, where MLFLOW_TRACKING_URI says."""

    PACKAGE = 'mlflow'

    def __init__(self, package, workdir, config):
        self._package = package
        _resumed(workdir, self.PACKAGE, config, lambda known: (
            package.start_run(run_id=known) if known else self._begin(workdir, config)
        ), lambda run: run.info.run_id)

    def _begin(self, workdir, config):
        run = self._package.start_run(run_name=_name(workdir))
        fields = list(config.items())
        for first in range(0, len(fields), 100):  # so many it takes at once
            self._package.log_params(dict(fields[first : first + 100]))
        return run

    def log(self, stage, step, values):
        named = {f'{stage}/{name}': value for name, value in values.items()}
        self._package.log_metrics(named, step=step)

    def close(self):
        self._package.end_run()


def _name(workdir):
    """The last part of a run's folder; of one of a sweep, the sweep's as well."""
    sweep = f'{workdir.parent.parent.name}/' if workdir.parent.name == 'points' else ''
    return sweep + workdir.name


def _resumed(workdir, package, config, begin, number):
    """begin(number of the run that this package knows by this config, or None), again with None
    where it knows it no more; the number(of the run) is kept."""
    path = workdir / KEPT
    kept = disk.read_json(path)
    settings = {name: value for name, value in config.items() if name != 'trackers'}
    of = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    known = kept.get(package, {}).get(of)
    try:
        run = begin(known)
    except Exception as error:  # of whatever kind the package raises
        if not known:
            raise
        say(f'{package} does not go on with {known}, a new run begins there: {_line(error)}')
        run = begin(None)
    disk.write_json(path, kept | {package: kept.get(package, {}) | {of: number(run)}})
    return run


TRACKERS: dict[str, type[TensorBoard | WandB | MLflow]] = {
    'tensorboard': TensorBoard, 'wandb': WandB, 'mlflow': MLflow
}


@contextlib.contextmanager
def tracking(names, workdir, config):
    """Sends what is logged to these of TRACKERS as well.

    Args:
        names: none, one or several of TRACKERS.
        workdir: the run's folder.
        config: {'generator.steps': value, ...}.

    Raises:
        ValueError: a package is missing.
        OSError: one cannot be started. Later one that fails is left out, and named.
    """
    try:
        for name in names if parallel.is_main() else ():
            package = find(name)
            try:
                _open.append(TRACKERS[name](package, pathlib.Path(workdir), config))
            except Exception as error:  # of whatever kind its package raises
                raise OSError(
                    f'config.trackers={name} cannot be started: {_line(error)}; see to it, or '
                    'leave it out'
                ) from error
        yield
    finally:
        while _open:
            tracker = _open.pop()
            with _left_out(tracker):
                tracker.close()


@contextlib.contextmanager
def _left_out(tracker):
    """If it fails, which is no reason to lose a training."""
    try:
        yield
    except Exception as error:  # as above
        if tracker in _open:
            _open.remove(tracker)
        say(f'{type(tracker).__name__} fails, the run goes on without it: {_line(error)}')


def _line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def find(name):
    """The package of a tracker; ValueError, with what to install, if it cannot be imported."""
    package = TRACKERS[name].PACKAGE
    try:
        return importlib.import_module(package)
    except Exception as error:  # not there, or there and broken
        raise ValueError(
            f'config.trackers={name} needs the package {package} ({_line(error)}); pip install '
            f'{package}, or leave it out'
        ) from None


def log(folder, row):
    """One row of the metrics.jsonl in `folder`, a stage's: {'step', name: value}."""
    if not _open:
        return
    parts = [part.removesuffix('.unfinished') for part in pathlib.Path(folder).parts]
    stages = ('judge', 'generator', 'classifiers')
    first = max((i for i, part in enumerate(parts) if part in stages), default=len(parts) - 1)
    values = {k: v for k, v in row.items() if k != 'step' and isinstance(v, (int, float))}
    for tracker in tuple(_open):
        with _left_out(tracker):
            tracker.log('/'.join(parts[first:]), row['step'], values)
