import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train import flops, parallel

f32 = lambda *shape: jax.ShapeDtypeStruct(shape, np.float32)  # noqa: E731


def convolve(x, kernel, stride=1):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )


def test_a_product_is_two_operations_a_multiplication():
    assert flops.count(lambda a, b: a @ b, f32(3, 5), f32(5, 7)) == 2 * 3 * 5 * 7
    batched = lambda a, b: jnp.einsum('bij,bjk->bik', a, b)  # noqa: E731
    assert flops.count(batched, f32(4, 3, 5), f32(4, 5, 7)) == 4 * 2 * 3 * 5 * 7


@pytest.mark.parametrize('stride', [1, 2])
def test_a_convolution_and_both_of_its_gradients_cost_the_same(stride):
    x, kernel = f32(2, 8, 8, 3), f32(3, 3, 3, 16)
    forward = 2 * 2 * (8 // stride) ** 2 * 16 * 9 * 3
    assert flops.count(lambda x, k: convolve(x, k, stride), x, kernel) == forward
    loss = lambda x, k: convolve(x, k, stride).sum()  # noqa: E731
    both = flops.count(jax.grad(loss, (0, 1)), x, kernel)
    # by the size of the results; the edges, which 'SAME' pads unevenly, count a little differently
    assert both == pytest.approx(3 * forward, rel=0.02)


def test_what_stands_inside_counts_as_often_as_it_runs():
    square = lambda x: x @ x  # noqa: E731
    once = 2 * 4**3
    assert flops.count(jax.jit(square), f32(4, 4)) == once
    assert flops.count(jax.checkpoint(square), f32(4, 4)) == once
    scanned = lambda x: jax.lax.scan(lambda c, _: (square(c), None), x, length=5)[0]  # noqa: E731
    assert flops.count(scanned, f32(4, 4)) == 5 * once


def test_a_mapped_function_counts_for_one_device():
    mapped = parallel.mapped(lambda w, x: x @ w)
    devices = jax.local_device_count()
    assert flops.count(mapped, f32(5, 7), f32(devices, 3, 5)) == 2 * 3 * 5 * 7
