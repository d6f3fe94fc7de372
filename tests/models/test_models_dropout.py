import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import cnn, dit, unet
from models.dropout import Dropout, hashed_bits


def masks(keys, shape, rate=0.5, layer=0):
    ones = jnp.ones((len(keys), *shape))
    return np.asarray(Dropout(rate, layer).apply({}, ones, keys)) > 0


def folded_keys(count, seed=0):
    """Keys as a training step makes them."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(count))


def words(count):
    return jnp.arange(count, dtype=jnp.uint32)


KEYS = {
    'folded': lambda n: folded_keys(n),
    # the least random there are: one word of the key counts, the other is 0
    'low word': lambda n: jax.random.wrap_key_data(jnp.stack([0 * words(n), words(n)], axis=1)),
    'high word': lambda n: jax.random.wrap_key_data(jnp.stack([words(n), 0 * words(n)], axis=1)),
}


@pytest.mark.parametrize('rate', [0.05, 0.25, 0.5, 0.9])
def test_keep_rate_and_expectation(rate):
    n = 64 * 2048
    out = np.asarray(Dropout(rate, 3).apply({}, jnp.full((64, 32, 64), 2.0), folded_keys(64)))
    kept = out > 0
    error = np.sqrt(rate * (1 - rate) / n)
    assert abs(kept.mean() - (1 - rate)) < 5 * error
    np.testing.assert_allclose(out[kept], 2 / (1 - rate), rtol=1e-6)
    assert abs(out.mean() - 2) < 5 * 2 / (1 - rate) * error


def test_off_without_keys_or_rate():
    x = jnp.arange(8.0).reshape(2, 4)
    assert Dropout(0.5, 0).apply({}, x, None) is x
    assert Dropout(0.0, 0).apply({}, x, folded_keys(2)) is x


def test_dtype_is_kept():
    x = jnp.ones((2, 4), jnp.bfloat16)
    assert Dropout(0.5, 0).apply({}, x, folded_keys(2)).dtype == jnp.bfloat16


@pytest.mark.parametrize('kind', KEYS)
def test_no_correlation_between_keys_layers_and_positions(kind):
    keys, n = KEYS[kind](128), 128 * 1024
    first, other = (masks(keys, (32, 32), layer=layer) - 0.5 for layer in (0, 1))
    limit = 5 * 0.25 / np.sqrt(n)  # five standard errors of the mean product of +-1/2
    flat = first.reshape(128, -1)
    pairs = {
        'layers': first * other,
        'keys': first[1:] * first[:-1],
        'key and layer': first[1:] * other[:-1],
        'layer and key': first[:-1] * other[1:],
        'distant keys': first[64:] * first[:-64],
        'right': first[..., 1:] * first[..., :-1],
        'down': first[:, 1:] * first[:, :-1],
        'diagonal in key and place': flat[1:, 1:] * flat[:-1, :-1],
        'power of two': flat[:, 256:] * flat[:, :-256],
    }
    for name, product in pairs.items():
        assert abs(product.mean()) < limit * np.sqrt(n / product.size), name


@pytest.mark.parametrize('kind', KEYS)
def test_each_bit_and_each_place_is_fair(kind):
    bits = np.asarray(jax.vmap(hashed_bits, (0, None, None))(KEYS[kind](4096), 2, (64,)))
    assert bits.dtype == np.uint32
    ones = (bits[..., None] >> np.arange(32)) & 1
    assert np.abs(ones.mean(axis=(0, 1)) - 0.5).max() < 5 * 0.5 / np.sqrt(4096 * 64)
    assert np.abs(ones[..., 31].mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(4096)
    assert len(np.unique(bits)) > 0.9999 * bits.size


def test_the_mask_of_a_key_is_the_same_in_any_batch():
    keys = folded_keys(12)
    whole = masks(keys, (5, 7))
    np.testing.assert_array_equal(masks(keys[3:5], (5, 7)), whole[3:5])
    order = np.random.default_rng(0).permutation(12)
    np.testing.assert_array_equal(masks(keys[order], (5, 7)), whole[order])
    jitted = jax.jit(lambda keys: Dropout(0.5, 0).apply({}, jnp.ones((12, 5, 7)), keys) > 0)
    np.testing.assert_array_equal(jitted(keys), whole)


IMAGES, LEVELS = jnp.zeros((1, 8, 8, 3)), (jnp.zeros(1), jnp.zeros(1, int), jnp.zeros((1, 3)))


@pytest.mark.parametrize('network, inputs', [
    (cnn.CNN(2, (4, 4), 4, 0.5, 3), ()),
    (unet.UNet(2, channels=8, multipliers=(1, 1), blocks=2, attention=(False, True), patch_size=1,
               dropout=0.5), LEVELS),
    (dit.DiT(2, width=32, depth=3, patch_size=2, dropout=0.5, head_width=16), LEVELS),
], ids=['cnn', 'unet', 'dit'])
def test_no_two_layers_of_a_network_have_one_mask(network, inputs):
    found = []

    def look(call, args, kwargs, context):
        if isinstance(context.module, Dropout):
            found.append(context.module.layer)
        return call(*args, **kwargs)

    with nn.intercept_methods(look):
        jax.eval_shape(network.init, jax.random.key(0), IMAGES, *inputs)
    assert len(found) > 2 and len(set(found)) == len(found)
