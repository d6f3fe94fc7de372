import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train import parallel, state


def linear_loss(params, model_state, batch, keys):
    error = batch['x'] @ params['w'] - batch['y']
    return jnp.square(error), (model_state, {'bias': error.mean()})


def batch(seed=0, size=8):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((size, 3)).astype('f4')
    return {'x': x, 'y': x @ np.float32([1, -2, 3]), 'label': np.zeros(size, np.int32),
            'weight': np.ones(size, np.float32)}


def create(optimizer, **options):
    return state.create({'params': {'w': jnp.zeros(3)}}, optimizer, seed=0, **options)


def test_a_step_is_gradient_descent_on_the_weighted_mean():
    optimizer = state.guarded(optax.sgd(0.1))
    step, b = state.make_step(linear_loss, optimizer), batch()
    b['weight'] = np.arange(8, dtype='f4')
    after, metrics = step(parallel.replicate(create(optimizer)), parallel.shard(b))
    gradient = (2 * b['weight'] * -b['y']) @ b['x'] / 8
    np.testing.assert_allclose(after.params['w'], -0.1 * gradient, rtol=1e-5)
    assert float(metrics['loss']) == pytest.approx((b['weight'] * b['y'] ** 2).mean(), rel=1e-5)
    assert float(metrics['bias']) == pytest.approx(-b['y'].mean(), rel=1e-4)
    assert int(after.step) == 1 and after.ema is None and after.best is None


def test_a_batch_in_parts_has_the_same_gradient():
    optimizer, results = state.guarded(optax.sgd(0.1)), []
    devices = jax.local_device_count()
    b = batch(size=4 * devices)
    b['weight'] = np.arange(4 * devices, dtype='f4')
    for parts in (1, 2, 4):
        step = state.make_step(linear_loss, optimizer, accumulate=parts)
        results.append(step(parallel.replicate(create(optimizer)), parallel.shard(b)))
    for after, metrics in results[1:]:
        np.testing.assert_allclose(after.params['w'], results[0][0].params['w'], rtol=1e-5)
        for name, value in results[0][1].items():
            assert float(metrics[name]) == pytest.approx(float(value), rel=1e-5)


def test_the_average_warms_up():
    """decay_t = min(decay, (1 + t) / (10 + t)), t the steps done before."""
    optimizer = state.guarded(optax.sgd(0.05))
    step = state.make_step(linear_loss, optimizer, ema_decay=0.3)
    current, expected = parallel.replicate(create(optimizer, ema=True)), np.zeros(3)
    for t in range(8):
        current, _ = step(current, parallel.shard(batch(t)))
        decay = min(0.3, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * np.asarray(current.params['w'], np.float64)
        np.testing.assert_allclose(current.ema['w'], expected, rtol=1e-5)
    assert decay == 0.3  # both regimes were seen


def test_keep_best_keeps_the_lowest_and_only_that():
    current = create(optax.adam(0.1), keep_best=True)
    assert float(current.best['loss']) == np.inf
    losses = [3.0, 2.0, float('nan'), 2.5, 2.0, 1.0, float('inf')]
    for step, loss in enumerate(losses):
        current = current.replace(step=jnp.int32(step), params={'w': jnp.full(3, float(step))})
        current = state.keep_best(current, loss)
        best = int(np.nanargmin(losses[: step + 1]))
        assert int(current.best['step']) == best
        assert float(current.best['loss']) == losses[best]
        np.testing.assert_array_equal(current.best['params']['w'], best)
        np.testing.assert_array_equal(current.params['w'], step)  # which go on as they are


def test_keep_best_without_the_rule_changes_nothing():
    current = create(optax.adam(0.1))
    assert state.keep_best(current, 0.0) is current


def test_the_best_survives_that_the_step_reuses_its_memory():
    optimizer = state.guarded(optax.sgd(0.05))
    step = state.make_step(linear_loss, optimizer)
    current = parallel.replicate(create(optimizer, keep_best=True))
    current, _ = step(current, parallel.shard(batch(0)))
    kept = np.array(current.params['w'])
    current = state.keep_best(current, 1.0)
    # as the rest of the state: else the next step is compiled anew and, among processes, fails
    assert len({leaf.sharding for leaf in jax.tree.leaves(current)}) == 1
    for t in range(3):
        current, _ = step(current, parallel.shard(batch(t)))
    np.testing.assert_array_equal(current.best['params']['w'], kept)
    assert np.abs(np.asarray(current.params['w']) - kept).max() > 0


def updates(optimizer, steps, gradient=1.0):
    """The size of each update under a constant gradient; Adam's is the learning rate."""
    params, update_once = jnp.zeros(2), jax.jit(optimizer.update)
    opt_state, sizes = optimizer.init(params), []
    for _ in range(steps):
        update, opt_state = update_once(jnp.full(2, gradient), opt_state, params)
        sizes.append(float(-update[0]))
    return np.array(sizes)


def test_learning_rate_schedules():
    plain = updates(state.make_optimizer(learning_rate=0.1, steps=10), 10)
    np.testing.assert_allclose(plain, 0.1, rtol=1e-3)
    warm = updates(state.make_optimizer(learning_rate=0.1, steps=10, warmup=4), 10)
    np.testing.assert_allclose(warm, 0.1 * np.minimum(np.arange(10) / 4, 1), rtol=1e-3)
    cosine = updates(state.make_optimizer(learning_rate=0.1, steps=12, warmup=4, cosine=True), 13)
    np.testing.assert_allclose(cosine[:5], 0.1 * np.arange(5) / 4, rtol=1e-3)
    t = np.arange(4, 13)
    expected = 0.05 * (1 + np.cos(np.pi * (t - 4) / 8))
    np.testing.assert_allclose(cosine[4:], expected, rtol=1e-3, atol=1e-6)


def test_sgd_has_momentum():
    """Under a constant gradient of 1 the steps are a geometric series of 0.9."""
    found = updates(state.make_optimizer(name='sgd', learning_rate=0.1, steps=10), 10)
    np.testing.assert_allclose(found, 0.1 * (1 - 0.9 ** np.arange(1, 11)) / (1 - 0.9), rtol=1e-5)


def parameters(gradients, start=2.0, **options):
    """A parameter after each step, float [S]."""
    optimizer = state.make_optimizer(learning_rate=0.1, steps=len(gradients), **options)
    params, found = {'w': jnp.full(1, start)}, []
    opt_state = optimizer.init(params)
    for gradient in gradients:
        update, opt_state = optimizer.update({'w': jnp.full(1, gradient)}, opt_state, params)
        params = optax.apply_updates(params, update)
        found.append(float(params['w'][0]))
    return np.array(found)


def test_weight_decay_shrinks_what_no_gradient_holds():
    """Adam: by learning rate * decay a step, whatever the gradients were. SGD: w is an
    oscillator, v <- 0.9 v + decay w, w <- w - rate v."""
    decayed = parameters([0.0] * 5, name='adam', weight_decay=0.5)
    np.testing.assert_allclose(decayed, 2 * 0.95 ** np.arange(1, 6), rtol=1e-5)
    w, v, expected = 2.0, 0.0, []
    for _ in range(5):
        v = 0.9 * v + 0.5 * w
        w -= 0.1 * v
        expected.append(w)
    found = parameters([0.0] * 5, name='sgd', weight_decay=0.5)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize('scale', [1.0, 100.0])
def test_weight_decay_is_decoupled_in_adam_alone(scale):
    """A hundredfold gradient leaves Adam's decay as it is; SGD's is a part of the gradient."""
    gradients = [scale, -scale, scale]
    apart = parameters(gradients, weight_decay=0.5) - parameters(gradients)
    one = parameters([1.0, -1.0, 1.0], weight_decay=0.5) - parameters([1.0, -1.0, 1.0])
    np.testing.assert_allclose(apart, one, rtol=1e-3)
    summed = parameters([scale + 0.5 * 2.0], name='sgd')
    np.testing.assert_allclose(parameters([scale], name='sgd', weight_decay=0.5), summed, rtol=1e-6)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="'lion' is unknown; use adam or sgd"):
        state.make_optimizer(name='lion', learning_rate=0.1, steps=1)


def test_clipping_bounds_the_norm_of_the_gradient():
    tree = {'w': jnp.array([30.0, 40.0])}
    clipped = state.make_optimizer(learning_rate=1.0, steps=5, clip=1.0)
    opt_state = clipped.init(tree)
    _, opt_state = clipped.update(tree, opt_state, tree)
    moments = [leaf for leaf in jax.tree.leaves(opt_state) if np.ndim(leaf)]
    expected = 0.1 * np.array([0.6, 0.8, *np.zeros(6)])  # (1 - b1) g, padded
    np.testing.assert_allclose(moments[0], expected, rtol=1e-5)


def test_padding_changes_no_update_and_makes_every_vector_a_multiple_of_8():
    rng = np.random.default_rng(0)
    params = {'a': jnp.asarray(rng.normal(size=(3, 3))), 'b': jnp.asarray(rng.normal(size=2))}
    options = dict(clip=0.5, weight_decay=0.1)
    padded = state.make_optimizer(learning_rate=0.1, steps=9, **options)
    plain = optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(0.1, weight_decay=0.1))
    states = [padded.init(params), plain.init(params)]
    assert {leaf.shape for leaf in jax.tree.leaves(states[0]) if leaf.ndim} == {(16,)}
    for _ in range(3):
        grads = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), params)
        found, states[0] = padded.update(grads, states[0], params)
        expected, states[1] = plain.update(grads, states[1], params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)


def test_every_example_has_its_own_key_at_every_step():
    rng = jax.random.key_data(jax.random.key(0))
    keys = parallel.mapped(
        lambda step, x: jax.random.key_data(state.example_keys(rng, step, len(x)))
    )
    found = [parallel.unshard(keys(step, parallel.shard(np.zeros(16)))) for step in (0, 1)]
    assert len(np.unique(np.concatenate(found), axis=0)) == 32
    root = jax.random.fold_in(jax.random.key(0), 1)
    expected = [jax.random.key_data(jax.random.fold_in(root, i)) for i in range(16)]
    np.testing.assert_array_equal(found[1], expected)  # a place in the batch, not on a device


@pytest.mark.parametrize('value', [np.nan, np.inf])
@pytest.mark.parametrize('where', ['x', 'weight'])
def test_a_gradient_that_is_not_finite_changes_nothing_and_is_counted(value, where):
    """One bad example on one device of eight: on all of them the step is passed over."""

    def loss(params, model_state, batch, keys):
        losses, (_, metrics) = linear_loss(params, model_state, batch, keys)
        return losses, ({'seen': batch['x'].mean(0)}, metrics)

    optimizer = state.make_optimizer(learning_rate=0.1, steps=10, clip=1.0)
    step = state.make_step(loss, optimizer, ema_decay=0.9)
    variables = {'params': {'w': jnp.zeros(3)}, 'seen': jnp.zeros(3)}
    current = parallel.replicate(state.create(variables, optimizer, seed=0, ema=True))
    for t in range(2):
        current, _ = step(current, parallel.shard(batch(t)))
    before = jax.tree.map(np.array, current)
    bad = batch(2)
    bad[where][3] = value
    current, metrics = step(current, parallel.shard(bad))
    assert not np.isfinite(metrics['loss'])
    for part in ('params', 'ema', 'model_state', 'rng'):
        jax.tree.map(np.testing.assert_array_equal, getattr(current, part), getattr(before, part))
    inner = [s.opt_state.inner_state for s in (current, before)]
    jax.tree.map(np.testing.assert_array_equal, *inner)
    assert current.skipped.tolist() == [1, 3] and int(current.step) == 3
    current, _ = step(current, parallel.shard(batch(3)))
    assert np.abs(np.asarray(current.params['w']) - before.params['w']).max() > 0
    assert current.skipped.tolist() == [1, 3] and int(current.step) == 4


def test_b2_reaches_adam():
    params, rng = {'w': jnp.zeros(3)}, np.random.default_rng(0)
    ours, plain = state.make_optimizer(learning_rate=0.1, steps=9, b2=0.9), optax.adam(0.1, b2=0.9)
    one, other = ours.init(params), plain.init(params)
    for _ in range(3):
        gradients = {'w': jnp.asarray(rng.normal(size=3))}
        found, one = ours.update(gradients, one, params)
        expected, other = plain.update(gradients, other, params)
        np.testing.assert_allclose(found['w'], expected['w'], rtol=1e-5)


def test_the_best_batch_statistics_outlive_the_next_step():
    """The step reuses the state's memory: what is kept must be a copy."""

    def loss(params, model_state, batch, keys):
        error = batch['x'] @ params['w'] - batch['y']
        return jnp.square(error), ({'seen': batch['x'].mean(axis=0)}, {})

    optimizer = state.guarded(optax.sgd(0.05))
    step = state.make_step(loss, optimizer)
    variables = {'params': {'w': jnp.zeros(3)}, 'seen': jnp.zeros(3)}
    current = parallel.replicate(state.create(variables, optimizer, seed=0, keep_best=True))
    current, _ = step(current, parallel.shard(batch()))
    kept = np.array(current.model_state['seen'])
    current = state.keep_best(current, 1.0)
    current, _ = step(current, parallel.shard({name: 2 * x for name, x in batch().items()}))
    np.testing.assert_array_equal(current.best['model_state']['seen'], kept)
