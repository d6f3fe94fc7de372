import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import dit, parts, unet

CLASSES = 3


def inputs(batch=4, size=8, channels=3, seed=0):
    keys = jax.random.split(jax.random.key(seed), 3)
    return (
        jax.random.normal(keys[0], (batch, size, size, channels)),
        jax.random.uniform(keys[1], (batch,), minval=-6, maxval=6),
        jnp.arange(batch) % CLASSES,
        jax.random.normal(keys[2], (batch, 3)),
    )


def drawn(network, *arguments):
    """Variables of the network, all random: at initialisation the zero layers hide the others."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, jax.random.key(0), *arguments)
    return jax.tree.map(lambda leaf: 0.3 * rng.standard_normal(leaf.shape, 'f4'), shapes)


NETWORKS = {
    'unet': unet.UNet(CLASSES, channels=16, multipliers=(1,), blocks=1, attention=(True,),
                      patch_size=2, class_map=True, dropout=0.5),
    'dit': dit.DiT(CLASSES, width=32, depth=2, patch_size=2, dropout=0.5, head_width=16),
}


@pytest.fixture(scope='module', params=NETWORKS)
def network(request):
    return NETWORKS[request.param]


@pytest.fixture(scope='module')
def variables(network):
    return jax.jit(network.init)(jax.random.key(0), *inputs())


@pytest.fixture(scope='module')
def moved(variables):
    """Every parameter perturbed: at initialisation the zero layers hide the others."""
    leaves, structure = jax.tree.flatten(variables)
    rng = np.random.default_rng(0)
    return jax.tree.unflatten(
        structure, [leaf + 0.1 * rng.standard_normal(leaf.shape).astype('f4') for leaf in leaves]
    )


@pytest.fixture(scope='module')
def apply(network):
    return jax.jit(network.apply)


@pytest.mark.parametrize(
    ('size', 'patch', 'multipliers', 'channels'),
    [
        (8, 1, (1,), 8),
        (8, 2, (1, 2), 8),
        (16, 2, (1, 2, 2), 24),
        (16, 4, (1, 1), 8),
        (32, 2, (1, 2, 2), 64),
        (32, 4, (2,), 12),
        (8, 2, (1, 2), 50),  # 100 channels: heads of 32 do not divide them
    ],
)
def test_output_has_the_shape_of_the_image(size, patch, multipliers, channels):
    attention = (False,) * (len(multipliers) - 1) + (True,)
    network = unet.UNet(CLASSES, channels, multipliers, 2, attention, patch)
    arguments = inputs(batch=2, size=size)
    output, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), *arguments)
    assert output.shape == (2, size, size, 3)


@pytest.mark.parametrize(
    ('side', 'levels', 'level'), [(8, 2, 0), (4, 1, 0), (16, 3, 1), (32, 3, 2), (64, 2, 1)]
)
def test_the_map_of_a_class_is_of_the_first_small_level(side, levels, level):
    """Which says its shape: as many numbers as that level has positions and channels."""
    multipliers = (1, 2, 4)[:levels]
    network = unet.UNet(CLASSES, 8, multipliers, 1, (False,) * levels, 1, class_map=True)
    assert network.map_level(side) == level
    assert network.clone(class_map=False).map_level(side) is None
    params = jax.eval_shape(network.init, jax.random.key(0), *inputs(size=side))['params']
    channels = 8 * multipliers[max(level - 1, 0)]  # as it comes from the level before
    rows, numbers = params['class_map']['embedding'].shape
    assert (rows, numbers) == (CLASSES + 1, (side // 2**level) ** 2 * channels)


def test_a_map_says_where_as_well_as_which():
    """Without attention, and with all that the class scales and shifts alike."""
    network = unet.UNet(2, 8, (1,), 1, (False,), 1, class_map=True)
    params, apply = drawn(network, *inputs(size=8))['params'], jax.jit(network.apply)
    for name, layer in params.items():
        if name.startswith('ResidualBlock'):
            layer['film_class']['embedding'] = np.zeros_like(layer['film_class']['embedding'])
    x_t, log_snr, _, augmentation = (np.repeat(x[:1], 3, axis=0) for x in inputs(size=8))
    for place in ((2, 5), (6, 1)):
        table = np.zeros((3, 8, 8, 8), 'f4')  # class, row, column, channel
        table[1][place] = 1.0
        params['class_map']['embedding'] = table.reshape(3, -1)
        output = np.asarray(apply({'params': params}, x_t, log_snr, np.arange(3), augmentation))
        apart = np.abs(output[1] - output[0]).sum(-1)
        most = np.unravel_index(apart.argmax(), apart.shape)
        assert np.abs(np.subtract(most, place)).max() <= 1  # a convolution's reach
        np.testing.assert_allclose(output[0], output[2], atol=1e-5)


@pytest.mark.parametrize('size, patch', [(8, 2), (16, 4), (32, 8)])
def test_output_of_a_transformer_has_the_shape_of_the_image(size, patch):
    network = dit.DiT(CLASSES, width=64, depth=1, patch_size=patch)
    arguments = inputs(batch=2, size=size)
    output, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), *arguments)
    assert output.shape == (2, size, size, 3)


@pytest.mark.parametrize('name', NETWORKS)
def test_grey_images_and_bfloat16_give_float32(name):
    network = NETWORKS[name].clone(dtype=jnp.bfloat16)
    arguments = inputs(batch=2, channels=1)
    output, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), *arguments)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    assert output.shape == (2, 8, 8, 1) and output.dtype == jnp.float32


def test_output_is_zero_at_initialisation(apply, variables):
    assert not np.any(apply(variables, *inputs()))


@pytest.mark.parametrize('which', ['x_t', 'log_snr', 'label', 'augmentation'])
def test_every_input_matters(apply, moved, which):
    x_t, log_snr, label, augmentation = inputs()
    before = apply(moved, x_t, log_snr, label, augmentation)
    changed = {'x_t': x_t, 'log_snr': log_snr, 'label': label, 'augmentation': augmentation}
    changed[which] = changed[which].at[1].add(1)
    after = apply(moved, *changed.values())
    difference = np.abs(np.asarray(after - before)).max(axis=(1, 2, 3))
    assert difference[1] > 1e-3
    np.testing.assert_allclose(difference[[0, 2, 3]], 0, atol=1e-5)  # each example by itself


def test_no_class_is_a_class_of_its_own(apply, moved):
    x_t, log_snr, _, augmentation = (jnp.repeat(x[:1], 4, axis=0) for x in inputs())
    output = apply(moved, x_t, log_snr, jnp.arange(CLASSES + 1), augmentation)
    for a in range(CLASSES + 1):
        for b in range(a):
            assert np.abs(output[a] - output[b]).max() > 1e-3


def test_dropout_belongs_to_the_key_and_not_to_the_place(apply, moved):
    arguments = inputs()
    keys = jax.random.split(jax.random.key(7), 4)
    dropped = apply(moved, *arguments, keys=keys)
    assert np.abs(dropped - apply(moved, *arguments)).max() > 1e-3
    order = np.array([2, 0, 3, 1])
    again = apply(moved, *(x[order] for x in arguments), keys=keys[order])
    np.testing.assert_allclose(again, dropped[order], atol=1e-5)


def test_attention_by_hand():
    """Two heads of 32 channels: each place gets a mean of values, by softmax(q k / sqrt(32))."""
    layer = unet.SelfAttention(jnp.float32)
    h = jax.random.normal(jax.random.key(0), (2, 2, 3, 64))
    variables = drawn(layer, h)
    norm, qkv, out = (variables['params'][name] for name in ('GroupNorm_0', 'qkv', 'out'))
    groups = np.asarray(h).reshape(2, 6, 8, 8)
    groups = (groups - groups.mean((1, 3), keepdims=True)) / groups.std((1, 3), keepdims=True)
    tokens = groups.reshape(2, 6, 64) * norm['scale'] + norm['bias']
    heads = (tokens @ qkv['kernel'] + qkv['bias']).reshape(2, 6, 2, 3, 32)
    q, k, v = (heads[..., i, :] for i in range(3))
    weights = np.exp(np.einsum('bqhd,bkhd->bhqk', q, k) / np.sqrt(32))
    weights /= weights.sum(-1, keepdims=True)
    mixed = np.einsum('bhqk,bkhd->bqhd', weights, v).reshape(2, 6, 64)
    expected = h + (mixed @ out['kernel'] + out['bias']).reshape(h.shape)
    np.testing.assert_allclose(jax.jit(layer.apply)(variables, h), expected, rtol=1e-3, atol=1e-3)


def test_all_of_a_patch_passes_through_fewer_channels_than_it_has_values():
    network = unet.UNet(CLASSES, channels=8, multipliers=(1,), blocks=1, attention=(False,),
                        patch_size=4)
    x_t, *rest = (x[:1] for x in inputs(size=4))
    variables = drawn(network, x_t, *rest)
    change = jax.jit(jax.jacfwd(lambda x: network.apply(variables, x, *rest).ravel()))(x_t)
    assert np.linalg.matrix_rank(change.reshape(48, 48), tol=1e-4) == 48


@pytest.mark.parametrize('size', [1, 2, 4])
def test_space_to_depth_and_back(size):
    x = np.arange(2 * 8 * 12 * 3).reshape(2, 8, 12, 3)
    patches = parts.space_to_depth(x, size)
    assert patches.shape == (2, 8 // size, 12 // size, 3 * size**2)
    np.testing.assert_array_equal(parts.depth_to_space(patches, size), x)
    np.testing.assert_array_equal(  # a patch is a square of neighbours
        np.sort(patches[1, 1, 2]), np.sort(x[1, size : 2 * size, 2 * size : 3 * size].ravel())
    )


def test_sinusoids_are_bounded_and_distinct():
    features = parts.sinusoids(jnp.linspace(-12, 12, 200), 16)
    assert features.shape == (200, 16) and np.abs(features).max() <= 1
    gaps = np.linalg.norm(np.diff(features, axis=0), axis=1)
    assert gaps.min() > 0.05


def test_recomputed_activations_are_the_same_function_in_less_memory(network):
    """Same parameter tree, output and gradient, at a size where activations are most of it."""
    arguments, keys = inputs(batch=8, size=32), jax.random.split(jax.random.key(1), 8)
    again = network.clone(remat=True)
    variables = drawn(network, *arguments)
    assert jax.tree.structure(jax.eval_shape(again.init, jax.random.key(0), *arguments)) == (
        jax.tree.structure(variables)
    )

    def compiled(model):
        loss = lambda variables: jnp.square(  # noqa: E731
            model.apply(variables, *arguments, keys=keys)).mean()
        return jax.jit(jax.value_and_grad(loss)).lower(variables).compile()

    keeping, recomputing = compiled(network), compiled(again)
    (loss, grads), (other, others) = keeping(variables), recomputing(variables)
    assert float(loss) == pytest.approx(float(other), rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5), grads, others)
    assert recomputing.cost_analysis()['flops'] > 1.1 * keeping.cost_analysis()['flops']
    if jax.__version_info__ >= (0, 11):  # before, XLA for CPU computes again too early to save any
        recomputing, keeping = recomputing.memory_analysis(), keeping.memory_analysis()
        assert recomputing.temp_size_in_bytes < 0.7 * keeping.temp_size_in_bytes
