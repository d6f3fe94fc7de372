"""How much arithmetic a step is, by three counters, and how much the machine can do.

XLA does not count what a convolution multiplies with the zeros of its padding, PyTorch's counter
and ours do: on maps of 4x4 that is a third of it. These two count convolutions and matrix products
alone, XLA's everything. So the rows of a table can be compared by these two, or by XLA's, only.
"""

import copy
import time

import jax
import numpy as np

from train import flops, parallel

PRODUCTS, CALLS = 8, 4  # a call, and calls before a wait: neither costs anything beside them


def by_xla(function, *arguments):
    """GFLOP of a call of a jitted or pmapped function over all devices, before optimisation.

    None where XLA does not count (jax 0.11 for CUDA).
    """
    cost = function.lower(*arguments).cost_analysis()
    if cost is None:
        return None
    # a pmapped function is lowered as one device's program, on one device's share of the batch
    return 1e-9 * cost['flops'] * parallel.device_count()


def by_products(function, *arguments):
    """GFLOP of a call of a jitted or pmapped function over all devices, by `train.flops`."""
    return 1e-9 * flops.count(function, *arguments) * parallel.device_count()


def by_counter(network, inputs):
    """GFLOP an image of a PyTorch network: (forward, forward and backward).

    Args:
        inputs: tensors of one example; counted on the meta device, where nothing is computed and
            attention is made of products that the counter knows.
    """
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415 PyTorch may be missing

    network = copy.deepcopy(network).to('meta')
    with FlopCounterMode(display=False) as counter:
        output = network(*(x.to('meta') for x in inputs))
        forward = counter.get_total_flops()
        (output if not isinstance(output, tuple) else output[0]).sum().backward()
    return 1e-9 * forward, 1e-9 * counter.get_total_flops()


def product_rates(seconds=0.3):
    """A function that multiplies large matrices on all devices at once, for so many seconds, and
    returns GFLOP/s; so that it can take turns with what is compared with it.

    In float32 on CPU and bfloat16 on accelerators, as the networks compute.
    """
    side, dtype = (1024, 'float32') if jax.default_backend() == 'cpu' else (8192, 'bfloat16')

    def chain(b, a):
        for _ in range(PRODUCTS):  # no loop of XLA's, into which it would move other work
            a = a @ b
        return a

    multiply = parallel.mapped(chain)
    b = np.random.default_rng(0).standard_normal((side, side), np.float32) / side**0.5
    b = parallel.replicate(b.astype(jax.numpy.dtype(dtype)))
    a = parallel.mapped(lambda b, _: b)(b, np.zeros(jax.local_device_count()))  # one a device
    jax.block_until_ready(multiply(b, a))

    def rate():
        start, calls = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            for _ in range(CALLS):
                product = multiply(b, a)
            jax.block_until_ready(product)
            calls += CALLS
        spent = time.perf_counter() - start
        return 1e-9 * calls * PRODUCTS * 2 * side**3 * jax.local_device_count() / spent

    return rate
