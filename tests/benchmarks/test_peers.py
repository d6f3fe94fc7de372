"""That the PyTorch twins of the benchmarks are the same networks: equal weights, equal outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.augment import CONDITION_SIZE
from models import cnn, dit, unet

torch = pytest.importorskip('torch')
from benchmarks import peers, weights  # noqa: E402 imports torch
from benchmarks.flops import by_counter  # noqa: E402
from train.flops import count  # noqa: E402

CLASSES, BATCH, SHAPE = 3, 4, (16, 16, 3)
NETWORKS = {
    'unet': unet.UNet(CLASSES, channels=32, multipliers=(1, 2), attention=(False, True), blocks=2,
                      patch_size=2, class_map=True),
    'unet of three levels': unet.UNet(
        CLASSES, channels=8, multipliers=(1, 2, 3), attention=(False, True, False), blocks=1,
        patch_size=1, dropout=0.5, class_map=True,
    ),
    'dit': dit.DiT(CLASSES, width=64, depth=2, patch_size=4),
    'cnn': cnn.CNN(CLASSES, widths=(8, 16, 12), hidden=24, dropout=0.5, first_kernel=5),
}


@pytest.fixture(scope='module', params=NETWORKS)
def model(request):
    return NETWORKS[request.param]


@pytest.fixture(scope='module')
def inputs(model):
    """What the network is called with, NumPy arrays; images [B, H, W, C]."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((BATCH, *SHAPE)).astype('f4')
    if isinstance(model, cnn.CNN):
        return (images,)
    augmentation = rng.standard_normal((BATCH, CONDITION_SIZE)).astype('f4')
    return images, np.linspace(-6, 6, BATCH, dtype='f4'), np.arange(BATCH) % CLASSES, augmentation


@pytest.fixture(scope='module')
def params(model, inputs):
    """Every parameter random: at initialisation the zero layers hide the others."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), *map(jnp.asarray, inputs))['params']
    rng = np.random.default_rng(1)
    draw = lambda leaf: (0.2 * rng.standard_normal(leaf.shape)).astype('f4')  # noqa: E731
    return jax.tree.map(draw, shapes)


@pytest.fixture(scope='module')
def network(model, params):
    twin = peers.twin(model, SHAPE).eval()
    weights.copy_weights(twin, params)
    return twin


def test_equal_weights_give_equal_outputs(model, inputs, params, network):
    expected = jax.tree.leaves(jax.jit(model.apply)({'params': params}, *inputs))
    images, *others = map(torch.as_tensor, inputs)
    with torch.no_grad():
        found = network(images.permute(0, 3, 1, 2), *others)
    found = found if isinstance(found, tuple) else (found.permute(0, 2, 3, 1),)
    for ours, theirs in zip(expected, found, strict=True):
        scale = np.abs(ours).max()
        assert scale > 0.1
        np.testing.assert_allclose(theirs.numpy() / scale, ours / scale, atol=1e-4)


def test_no_parameter_is_missing(params, network):
    ours = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert sum(p.numel() for p in network.parameters()) == ours


def test_our_count_of_operations_is_that_of_pytorch(model, inputs, params, network):
    ours = count(lambda *x: model.apply({'params': params}, *x), *(x[:1] for x in inputs))
    images, *others = (torch.as_tensor(x[:1]) for x in inputs)
    theirs, _ = by_counter(network, [images.permute(0, 3, 1, 2), *others])
    assert 1e-9 * ours == pytest.approx(theirs, rel=0.02)  # Flax pads where it halves a side
