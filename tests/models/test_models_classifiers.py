import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from models import cnn, resnet
from train import classifier


def shapes(network, size, batch=2, **options):
    images = jnp.zeros((batch, size, size, 3))
    variables = jax.eval_shape(network.init, jax.random.key(0), images)
    return variables, jax.eval_shape(lambda v, x: network.apply(v, x, **options), variables, images)


@pytest.mark.parametrize('size', [8, 16, 32])
def test_cnn_shapes(size):
    _, (logits, features) = shapes(cnn.CNN(10, (4, 8, 16), 12, 0.5, 3), size)
    assert logits.shape == (2, 10) and features.shape == (2, 12)


def test_only_the_first_filters_of_the_cnn_can_be_larger():
    variables, (logits, _) = shapes(cnn.CNN(10, (4, 8, 16), 12, 0.5, first_kernel=5), 16)
    sides = [variables['params'][f'Conv_{i}']['kernel'].shape[:2] for i in range(3)]
    assert sides == [(5, 5), (3, 3), (3, 3)] and logits.shape == (2, 10)


@pytest.mark.parametrize('network', classifier.NETWORKS)
def test_outputs_and_parameters_are_float32_whatever_the_activations(network):
    settings = default.get_config().classifier
    settings.update(network=network, dtype='bfloat16')
    variables, (logits, features) = shapes(classifier.make_model(settings, 5), 16)
    assert logits.dtype == features.dtype == jnp.float32
    assert logits.shape == (2, 5) and features.shape[0] == 2 and features.ndim == 2
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize('shape', [(2, 8, 8, 3), (1, 7, 7, 2), (1, 5, 6, 1), (2, 3, 2, 4)])
def test_max_pool_is_that_of_flax(shape):
    x = np.random.default_rng(0).standard_normal(shape).astype('f4')
    np.testing.assert_array_equal(cnn.max_pool(x), nn.max_pool(x, (2, 2), (2, 2)))


def test_cnn_is_deterministic_without_keys_and_features_make_the_logits():
    network = cnn.CNN(3, (4,), 8, 0.5, 3)
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    variables, apply = jax.jit(network.init)(jax.random.key(0), x), jax.jit(network.apply)
    logits, features = apply(variables, x)
    assert np.asarray(features).min() >= 0
    dense = variables['params']['Dense_1']
    np.testing.assert_allclose(logits, features @ dense['kernel'] + dense['bias'], atol=1e-5)
    np.testing.assert_array_equal(logits, apply(variables, x)[0])
    keys = jax.random.split(jax.random.key(2), 4)
    assert np.abs(apply(variables, x, keys=keys)[0] - logits).max() > 1e-3


@pytest.mark.parametrize('size', [8, 16, 32])
def test_resnet_shapes(size):
    _, (logits, features) = shapes(resnet.ResNet32(10), size)
    assert logits.shape == (2, 10) and features.shape == (2, 64)


def test_resnet_is_that_of_the_paper():
    """He et al. 2016, table 6: 32 layers, 0.46M parameters; option A has no projections."""
    variables, _ = shapes(resnet.ResNet32(10), 32)
    params = flax.traverse_util.flatten_dict(variables['params'], sep='/')
    kernels = {name: leaf.shape for name, leaf in params.items() if name.endswith('kernel')}
    assert len(kernels) == 32
    assert [shape[:2] for shape in kernels.values() if len(shape) == 4] == [(3, 3)] * 31
    widths = [shape[-1] for shape in kernels.values() if len(shape) == 4]
    assert sorted(widths) == [16] * 11 + [32] * 10 + [64] * 10
    total = sum(leaf.size for leaf in params.values())
    assert round(total / 1e6, 2) == 0.46


def test_resnet_shortcuts_subsample_and_pad_with_zeros():
    """With residual branches silenced, a feature is the stem's, every fourth pixel, zero-padded."""
    network = resnet.ResNet32(2, width=4, blocks=1)
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    variables = jax.jit(network.init)(jax.random.key(0), x)
    params = dict(variables['params'])
    for i in range(1, 7):
        params[f'Conv_{i}'] = jax.tree.map(jnp.zeros_like, params[f'Conv_{i}'])
    _, features = network.apply({**variables, 'params': params}, x)
    stem = nn.Conv(4, (3, 3), use_bias=False).apply({'params': params['Conv_0']}, x)
    stem = nn.relu(stem / np.sqrt(1 + 1e-5))[:, ::4, ::4].mean(axis=(1, 2))
    # width // 4 zeros on each side, at widths 8 and 16: (8 - 4) / 2 + (16 - 8) / 2 = 6
    np.testing.assert_allclose(features, np.pad(stem, ((0, 0), (6, 6))), atol=1e-5)


def test_resnet_branches_and_shortcuts_see_the_same_pixels():
    """Through the middles of its kernels every fourth pixel reaches the features, no other."""
    network = resnet.ResNet32(2, width=4, blocks=1)
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    variables = jax.jit(network.init)(jax.random.key(0), x)
    middle = np.zeros((3, 3, 1, 1), np.float32)
    middle[1, 1] = 1
    silence = lambda leaf: leaf * middle if leaf.ndim == 4 else leaf  # noqa: E731
    params = jax.tree.map(silence, variables['params'])
    other = np.asarray(x) + 1
    other[:, ::4, ::4] = x[:, ::4, ::4]
    features = [network.apply({**variables, 'params': params}, y)[1] for y in (x, other)]
    np.testing.assert_array_equal(*features)


def test_resnet_takes_batch_statistics_only_in_training():
    network = resnet.ResNet32(2, width=4, blocks=1)
    x = 3 + jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    variables = jax.jit(network.init)(jax.random.key(0), x)
    keys = jax.random.split(jax.random.key(2), 4)
    train = jax.jit(lambda v, x: network.apply(v, x, keys=keys, mutable=['batch_stats']))
    _, updates = train(variables, x)
    for name, before in variables['batch_stats'].items():
        assert np.abs(updates['batch_stats'][name]['mean'] - before['mean']).max() > 0, name
    evaluate = jax.jit(network.apply)
    logits, _ = evaluate(variables, x)
    alone, _ = evaluate(variables, x[:1])
    np.testing.assert_allclose(alone, logits[:1], atol=1e-5)
