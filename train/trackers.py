"""Where else a run's training curves go: TensorBoard, Weights & Biases, MLflow. By default nowhere.

`loop.MetricsLog` sends each row of metrics.jsonl here. The packages are optional and imported only
when asked for: `pip install tensorboardX`, `wandb` or `mlflow`.
"""

import contextlib
import importlib
import pathlib

from train import parallel
from train.progress import say

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
    """A run of Weights & Biases; each stage counts its own steps."""

    PACKAGE = 'wandb'

    def __init__(self, package, workdir, config):
        self._run = package.init(
            project='synthetic-augmentation', name=workdir.name, config=config, dir=str(workdir)
        )
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
    """A run of MLflow, where MLFLOW_TRACKING_URI says."""

    PACKAGE = 'mlflow'

    def __init__(self, package, workdir, config):
        self._package = package
        package.start_run(run_name=workdir.name)
        fields = list(config.items())
        for first in range(0, len(fields), 100):  # so many it takes at once
            package.log_params(dict(fields[first : first + 100]))

    def log(self, stage, step, values):
        named = {f'{stage}/{name}': value for name, value in values.items()}
        self._package.log_metrics(named, step=step)

    def close(self):
        self._package.end_run()


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
