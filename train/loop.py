"""One loop for both models: step, log, evaluate, save, stop, resume."""

import contextlib
import json
import os
import pathlib
import signal
import threading

import jax
import numpy as np

from train import checkpoints, disk, parallel, processes, trackers
from train import state as state_lib
from train.progress import say

VALIDATED = 1000  # images at most behind a loss that is only logged: evaluation costs time, too
# What any network depends on, for `stages.Runner.run`.
CODE = (
    'train/parallel.py', 'models', 'train/loop.py', 'train/state.py', 'data/augment.py',
    'data/pipeline.py',
)


class Interrupted(SystemExit):
    """The user or the scheduler asked to stop; everything is saved. Exit status 75: run again."""

    STATUS = os.EX_TEMPFAIL  # 75

    def __init__(self):
        super().__init__(self.STATUS)


def fit(initial, step, batches, config, *, folder, update, evaluate=None, sample=None):
    """Trains from the newest checkpoint in `folder`, or from `initial`, until `config.steps`.

    Args:
        initial: a `state.InitialState`.
        step: pmapped (state, batch) -> (state, metrics), from `state.make_step`.
        batches: start_step -> endless iterator of host batches; batch t depends on t alone.
        folder: gets checkpoints/ and metrics.jsonl (rows {"step", "loss", ...} of the training
            batch and {"step", "val_loss", ...} of `evaluate`).
        config: a frozen `config.generator` or `config.classifier`: its steps, what it does every
            so many of them, and how many may be skipped for a gradient that is not finite.
        update: progress callback (done, total, **values), called before the first step, too.
        evaluate: state -> {'val_loss': float, ...}.
        sample: state -> ({name: value}, what chooses `best`: lower is better); val_loss then does
            not.
    Returns:
        The state at `config.steps`, also saved as the newest checkpoint.

    Raises:
        Interrupted: SIGTERM or SIGINT came; the state is saved.
        Diverged: more steps than `max_skipped_steps` were skipped, as is seen at the next log or
            save, so that no step waits for it; the newest checkpoint is from before that.
        FloatingPointError, OSError, stages.Changed: see `checkpoints.save` and `restore`.
    """
    folder, steps, max_skipped = pathlib.Path(folder), config.steps, config.max_skipped_steps
    shapes = initial.shapes()
    processes.on_main(lambda: checkpoints.require_space(folder / 'checkpoints', shapes))
    if (state := checkpoints.restore(folder / 'checkpoints', shapes)) is not None:
        state = parallel.replicate(state)
    else:
        state = parallel.compile_beside(
            initial.make, step, shapes, parallel.shard(next(batches(0)))
        )
    done = int(state.step)
    due = lambda every: done % every == 0 or done == steps  # noqa: E731
    log = MetricsLog(folder / 'metrics.jsonl', done)
    stream = batches(done)
    with StopSignal() as stop:
        update(done, steps)
        while done < steps:
            state, metrics = step(state, parallel.shard(next(stream)))
            done += 1
            parallel.throttle(metrics, done)
            logs = due(config.log_every)
            if logs or due(config.save_every):
                skipped = _count_skipped(state, max_skipped)
            if logs:
                values = {name: float(x) for name, x in jax.device_get(metrics).items()}
                if skipped:
                    values['skipped'] = skipped
                log.write(step=done, **values)
                update(done, steps, **values)
            if evaluate and due(config.validate_every):
                values = evaluate(state)
                log.write(step=done, **values)
                if not sample:
                    state = state_lib.keep_best(state, values['val_loss'])
            if sample and due(config.sample_every):
                values, loss = sample(state)
                log.write(step=done, **values)
                state = state_lib.keep_best(state, loss, state.ema)
            stops = stop.asked(done)
            if stops:
                _count_skipped(state, max_skipped)
            if due(config.save_every) or stops:
                checkpoints.save(folder / 'checkpoints', state)
            if stops:
                raise Interrupted
    stop.end_if_asked()  # while the last step was being saved
    return state


class Diverged(ValueError):
    """The training's gradients became NaN or infinite."""


def _count_skipped(state, max_skipped):
    """The steps that were skipped so far; raises `Diverged` if they are too many."""
    count, last = np.asarray(state.skipped).tolist()
    if count > max_skipped:
        raise Diverged(
            f'the gradient was not finite in {count} steps, last in step {last}; lower the '
            f'learning_rate, or allow more than max_skipped_steps={max_skipped}; nothing of it is '
            'saved, and the same command goes on from the last checkpoint'
        )
    return count


@contextlib.contextmanager
def stopping():
    """Says what an `Interrupted` means; outside of `fit` a signal ends the process at once.

    What it saves there is whole at any time, and to be killed is what every stage survives. An
    exception would be no way out: one that is raised while Python collects garbage is dropped.
    """

    def stop(number, frame):
        processes.end(Interrupted.STATUS, _STOPPED)

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    except Interrupted:
        say(_STOPPED)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_STOPPED = 'Stopped; the same command goes on from here.'
_AT_ONCE = 'Stopped at once; the same command goes on from the last checkpoint.'
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignal:
    """Turns the first SIGTERM or SIGINT into a request; a second SIGINT stops at once."""

    def __enter__(self):
        self.requested = False
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._request)
        return self

    def _request(self, number, frame):
        if self.requested and number == signal.SIGINT:
            processes.end(Interrupted.STATUS, _AT_ONCE)
        self.requested = True

    def asked(self, step):
        """Whether to stop after this step: the same in all processes, whichever got the signal."""
        if parallel.alone():
            return self.requested
        return step % 10 == 0 and parallel.any_process(self.requested)

    def end_if_asked(self):
        """Raises `Interrupted` in all processes if any of them got the signal; all must ask."""
        if parallel.any_process(self.requested):
            raise Interrupted

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)


class MetricsLog:
    """metrics.jsonl, cut back to the step that training resumes from."""

    def __init__(self, path, step):
        self._path = pathlib.Path(path)
        if not parallel.is_main():
            return
        kept = []
        if self._path.exists():
            for line in self._path.read_text('utf-8').splitlines(keepends=True):
                # a kill can leave half a last line
                if line.endswith('\n') and json.loads(line)['step'] <= step:
                    kept.append(line)
        with disk.atomic_write(self._path) as aside:
            aside.write_text(''.join(kept), 'utf-8')

    def write(self, **row):
        if parallel.is_main():
            with self._path.open('a', encoding='utf-8') as file:
                file.write(json.dumps(row) + '\n')
            trackers.log(self._path.parent, row)
