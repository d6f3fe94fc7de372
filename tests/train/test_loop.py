import json
import os
import signal
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train import checkpoints, loop, state

STEPS = 12
OPTIMIZER = state.make_optimizer(learning_rate=0.05, steps=STEPS, cosine=True, clip=1.0)


def linear_loss(params, model_state, batch, keys):
    noise = jax.vmap(lambda key: jax.random.normal(key))(keys)
    error = batch['x'] @ params['w'] - batch['y'] + 0.1 * noise
    return jnp.square(error), (model_state, {'error': jnp.abs(error).mean()})


@pytest.fixture(scope='module')
def step():
    return state.make_step(linear_loss, OPTIMIZER, ema_decay=0.9)


def batches(start):
    """Endless; batch t depends on t alone."""
    t = start
    while True:
        rng = np.random.default_rng(t)
        x = rng.standard_normal((8, 3)).astype('f4')
        yield {'x': x, 'y': x @ np.float32([1, -2, 3]), 'label': np.zeros(8, np.int32),
               'weight': np.ones(8, np.float32)}
        t += 1


def evaluate(current):
    """Lowest near the middle, so that the best is neither the first nor the last."""
    return {'val_loss': float(np.abs(np.asarray(current.params['w'])[0] - 0.2))}


def fields(**changed):
    """What `loop.fit` reads of a config."""
    usual = {'steps': STEPS, 'save_every': 4, 'log_every': 2, 'validate_every': 3,
             'sample_every': 0, 'max_skipped_steps': 0}
    return types.SimpleNamespace(**usual | changed)


def initial(width=3, **options):
    variables = {'params': {'w': jnp.zeros(width)}}
    return state.InitialState(
        jax.jit(lambda: state.create(variables, OPTIMIZER, seed=3, ema=True, **options))
    )


def fit(folder, step, update=lambda *_, **__: None, evaluate=evaluate, sample=None, **changed):
    return loop.fit(initial(keep_best=True), step, batches, fields(**changed), folder=folder,
                    update=update, evaluate=evaluate, sample=sample)


def rows(folder):
    return [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]


def assert_same_run(found, expected):
    texts = [(folder / 'metrics.jsonl').read_bytes() for folder in (found, expected)]
    assert texts[0] == texts[1]
    a, b = (checkpoints.load(folder / 'checkpoints') for folder in (found, expected))
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.tobytes() == y.tobytes()


@pytest.fixture(scope='module')
def whole(tmp_path_factory, step):
    """A run that was never interrupted."""
    folder = tmp_path_factory.mktemp('whole')
    return folder, fit(folder, step)


def test_what_a_run_leaves(whole):
    folder, final = whole
    assert int(final.step) == STEPS
    assert checkpoints.steps(folder / 'checkpoints') == [8, 12]
    found = rows(folder)
    assert [row['step'] for row in found if 'loss' in row] == [2, 4, 6, 8, 10, 12]
    assert [row['step'] for row in found if 'val_loss' in row] == [3, 6, 9, 12]
    assert all(row.keys() == {'step', 'loss', 'error'} for row in found if 'loss' in row)
    saved = checkpoints.load(folder / 'checkpoints')
    for part in ('params', 'ema'):
        np.testing.assert_array_equal(saved[part]['w'], getattr(final, part)['w'])
    assert np.abs(saved['ema']['w'] - saved['params']['w']).max() > 0


def test_the_best_is_that_of_the_log(whole):
    folder, final = whole
    values = {row['step']: row['val_loss'] for row in rows(folder) if 'val_loss' in row}
    best = min(values, key=values.get)
    assert int(final.best['step']) == best not in (min(values), max(values))
    assert float(final.best['loss']) == pytest.approx(values[best])
    assert evaluate(state.create({'params': final.best['params']}, OPTIMIZER, seed=0)) == {
        'val_loss': pytest.approx(values[best])
    }


def test_a_finished_run_does_no_step(whole, step):
    folder, final = whole
    before = (folder / 'metrics.jsonl').read_bytes()

    def forbidden(current, batch):
        raise AssertionError('a step was done')

    again = fit(folder, forbidden)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(final), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (folder / 'metrics.jsonl').read_bytes() == before


@pytest.mark.parametrize('stop_after', [1, 6, 7, 11])
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_next_run_goes_on_exactly(
    tmp_path, step, whole, stop_after, number
):
    """Status 75, at most the step in hand; between two saves as well as on one."""

    def kill(current, batch):
        result = step(current, batch)
        if int(result[0].step) == stop_after:
            os.kill(os.getpid(), number)
        return result

    kill.lower = step.lower
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(loop.Interrupted) as stopped:
        fit(tmp_path, kill)
    assert stopped.value.code == loop.Interrupted.STATUS == 75
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert checkpoints.steps(tmp_path / 'checkpoints')[-1] == stop_after
    fit(tmp_path, step)
    assert_same_run(tmp_path, whole[0])


def test_a_signal_from_the_progress_callback(tmp_path, step, whole):
    def update(done, total, **values):
        assert total == STEPS and values.keys() == ({'loss', 'error'} if done else set())
        if done == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(loop.Interrupted):
        fit(tmp_path, step, update=update)
    fit(tmp_path, step)
    assert_same_run(tmp_path, whole[0])


def test_a_signal_in_the_last_step_still_stops(tmp_path, step):
    """The stages after this one must not start: the scheduler's patience is over."""

    def update(done, total, **values):
        if done == total:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(loop.Interrupted):
        fit(tmp_path, step, steps=2, update=update)
    assert checkpoints.steps(tmp_path / 'checkpoints') == [2]


def test_a_signal_while_the_last_step_is_saved_still_stops(tmp_path, step, monkeypatch):
    def save(folder, state):
        os.kill(os.getpid(), signal.SIGTERM)
        checkpoints.save(folder, state)

    monkeypatch.setattr(loop, 'checkpoints', types.SimpleNamespace(
        save=save, restore=checkpoints.restore, require_space=checkpoints.require_space))
    with pytest.raises(loop.Interrupted):
        fit(tmp_path, step, steps=2)
    assert checkpoints.steps(tmp_path / 'checkpoints') == [2]


class Killed(BaseException):
    """As kill -9: nothing is saved or closed."""


def test_a_second_interrupt_stops_at_once(tmp_path, step, monkeypatch):
    """The process ends there: an exception would pass through what is being saved."""

    def end(status, message=None):
        assert 'Stopped at once' in message and status == loop.Interrupted.STATUS
        raise Killed

    def update(done, total, **values):
        if done:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(loop.processes, 'end', end)
    with pytest.raises(Killed):
        fit(tmp_path, step, update=update)
    assert not checkpoints.steps(tmp_path / 'checkpoints')


@pytest.mark.parametrize('after', [2, 7, 9])
def test_after_a_kill_the_log_is_cut_back_to_the_checkpoint(tmp_path, step, whole, after):
    def kill(current, batch):
        if int(current.step) == after:
            raise Killed
        return step(current, batch)

    kill.lower = step.lower
    with pytest.raises(Killed):
        fit(tmp_path, kill)
    log = tmp_path / 'metrics.jsonl'
    log.write_bytes(log.read_bytes() + b'{"step": 9, "lo')  # half a last line
    fit(tmp_path, step)
    assert_same_run(tmp_path, whole[0])


def test_the_log_keeps_what_the_checkpoint_has_seen(tmp_path):
    path = tmp_path / 'new' / 'metrics.jsonl'
    log = loop.MetricsLog(path, 0)
    for t in (1, 2, 3):
        log.write(step=t, loss=t / 2)
    path.write_text(path.read_text() + '{"step": 1')
    log = loop.MetricsLog(path, 2)
    log.write(step=3, loss=9.0)
    assert rows(path.parent) == [
        {'step': 1, 'loss': 0.5}, {'step': 2, 'loss': 1.0}, {'step': 3, 'loss': 9.0},
    ]


def sample(current):
    """Lowest at step 6 among 4, 8 (ruled out), 12; of the average, not of the parameters."""
    step = int(current.step)
    row = {'sample_w': float(current.ema['w'][0])}
    return row, np.inf if step == 8 else float(abs(step - 6))


def test_samples_choose_the_average_of_a_step(tmp_path, step):
    final = fit(tmp_path, step, sample=sample, sample_every=4)
    values = {row['step']: row['sample_w'] for row in rows(tmp_path) if 'sample_w' in row}
    assert list(values) == [4, 8, 12]
    assert int(final.best['step']) == 4 and float(final.best['loss']) == 2
    assert float(final.best['params']['w'][0]) == values[4] != float(final.ema['w'][0])
    # the last step is sampled too
    fit(tmp_path / 'other', step, steps=5, evaluate=None, sample=sample, sample_every=4)
    assert [row['step'] for row in rows(tmp_path / 'other') if 'sample_w' in row] == [4, 5]


@pytest.mark.parametrize('stop_after', [3, 4, 7])
def test_a_resumed_run_chooses_the_same_sample(tmp_path, step, stop_after):
    def kill(current, batch):
        if int(current.step) == stop_after:
            raise Killed
        return step(current, batch)

    kill.lower = step.lower
    options = {'sample': sample, 'sample_every': 4, 'save_every': 3}
    fit(tmp_path / 'whole', step, **options)
    with pytest.raises(Killed):
        fit(tmp_path / 'killed', kill, **options)
    fit(tmp_path / 'killed', step, **options)
    assert_same_run(tmp_path / 'killed', tmp_path / 'whole')


def test_without_evaluation(tmp_path, step):
    final = fit(tmp_path, step, steps=3, evaluate=None)
    assert [row['step'] for row in rows(tmp_path)] == [2, 3]
    assert float(final.best['loss']) == np.inf


def test_a_run_that_goes_on_makes_no_first_state(tmp_path, step):
    fit(tmp_path, step, steps=2)
    calls = []

    class Counted(state.InitialState):
        def make(self):
            calls.append('made')
            return super().make()

    begin = Counted(initial(keep_best=True).program)
    for folder, made in ((tmp_path, []), (tmp_path / 'new', ['made'])):
        loop.fit(begin, step, batches, fields(steps=3), folder=folder,
                 update=lambda *_, **__: None)
        assert calls == made


def test_another_network_in_the_folder_is_refused(tmp_path, step):
    fit(tmp_path, step, steps=2)
    with pytest.raises(ValueError, match='another network'):
        loop.fit(initial(width=4), step, batches, fields(steps=3), folder=tmp_path,
                 update=lambda *_, **__: None)


def broken_at(*steps):
    """Batches of which those of the steps (from 1) have a NaN."""

    def broken(start):
        for t, batch in enumerate(batches(start), start + 1):
            if t in steps:
                batch['x'][0, 0] = np.nan
            yield batch

    return broken


def fit_broken(folder, step, *bad, max_skipped=0):
    return loop.fit(initial(), step, broken_at(*bad),
                    fields(log_every=3, max_skipped_steps=max_skipped), folder=folder,
                    update=lambda *_, **__: None)


@pytest.mark.parametrize('bad', range(1, STEPS + 1))
def test_a_nan_stops_the_run_and_names_the_step(tmp_path, step, bad):
    """At most a log or a save later; no checkpoint has seen it, and going on meets it again."""
    for _ in range(2):
        with pytest.raises(loop.Diverged, match=f'in 1 steps, last in step {bad};'):
            fit_broken(tmp_path, step, bad)
        assert checkpoints.steps(tmp_path / 'checkpoints') == [s for s in (4, 8) if s < bad]
    final = fit_broken(tmp_path, step, bad, max_skipped=1)  # it goes on where it was
    assert int(final.step) == STEPS and np.isfinite(final.params['w']).all()
    assert 'skipped' in rows(tmp_path)[-1]


def test_skipped_steps_are_counted_over_a_resume(tmp_path, step, whole):
    with pytest.raises(loop.Diverged, match='in 3 steps, last in step 10;'):
        fit_broken(tmp_path, step, 2, 3, 10, max_skipped=2)
    final = fit_broken(tmp_path, step, 2, 3, 10, max_skipped=3)
    assert final.skipped.tolist() == [3, 10]
    assert [row.get('skipped') for row in rows(tmp_path)] == [2, 2, 2, 3]
