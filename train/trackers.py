"""Where else a run's training curves go: TensorBoard, Weights & Biases, MLflow. By default nowhere.

`loop.MetricsLog` sends each row of metrics.jsonl here. The packages are optional and imported only
when asked for: `pip install tensorboardX`, `wandb` or `mlflow`.
"""

import contextlib
import importlib
import json
import pathlib
import uuid

from train import disk, parallel
from train.progress import say

KEPT = 'trackers.json'  # {package: [number of its run, config]}
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
        known = _known(workdir, self.PACKAGE, config)
        number = known or uuid.uuid4().hex
        self._run = package.init(
            project='synthetic-augmentation', name=_name(workdir), config=config,
            dir=str(workdir), id=number, resume='allow',
        )
        self._stages = set()
        _keep(workdir, self.PACKAGE, config, number)

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
        if known := _known(workdir, self.PACKAGE, config):
            package.start_run(run_id=known)
            return
        run = package.start_run(run_name=_name(workdir))
        fields = list(config.items())
        for first in range(0, len(fields), 100):  # so many it takes at once
            package.log_params(dict(fields[first : first + 100]))
        _keep(workdir, self.PACKAGE, config, run.info.run_id)

    def log(self, stage, step, values):
        named = {f'{stage}/{name}': value for name, value in values.items()}
        self._package.log_metrics(named, step=step)

    def close(self):
        self._package.end_run()


def _name(workdir):
    """The last part of a run's folder; of one of a sweep, the sweep's as well."""
    sweep = f'{workdir.parent.parent.name}/' if workdir.parent.name == 'points' else ''
    return sweep + workdir.name


def _kept(workdir):
    try:
        return json.loads((workdir / KEPT).read_text('utf-8'))
    except (FileNotFoundError, ValueError):
        return {}


def _known(workdir, package, config):
    """The number under which a tracker knows the run in this folder, by this config; or None."""
    number, of = _kept(workdir).get(package, (None, None))
    return number if of == json.loads(json.dumps(config)) else None


def _keep(workdir, package, config, number):
    disk.write_json(workdir / KEPT, _kept(workdir) | {package: [number, config]})


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
