"""Dropout whose mask belongs to the example, not to its place on a device."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp


class Dropout(nn.Module):
    """Drops activations with probability `rate` and rescales the rest."""

    rate: float
    layer: int  # numbers the dropout layers of a network, so that each has its own mask

    @nn.compact
    def __call__(self, x, keys):
        """x [B, ...]; keys: one PRNG key per example [B], or None for no dropout.

        One key per example makes a batch give the same result on any number of devices.
        """
        if keys is None or not self.rate:
            return x
        keep = 1 - self.rate
        bits = jax.vmap(hashed_bits, (0, None, None))(keys, self.layer, x.shape[1:])
        # kept for the backward pass, where XLA would hash again, for every use of the gradient
        kept = jax.lax.optimization_barrier(bits < jnp.uint32(keep * 2**32))
        return jnp.where(kept, x / keep, 0).astype(x.dtype)


def hashed_bits(key, stream, shape):
    """Pseudo-random uint32 of `shape`: the finaliser of MurmurHash3 over a counter.

    Far fewer operations than Threefry, in running and above all in compiling, and random enough for
    dropout.
    """
    high, low = jax.random.key_data(key).astype(jnp.uint32)
    counter = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    x = _mix(counter * jnp.uint32(0x9E3779B9) + low + jnp.uint32(stream) * jnp.uint32(0x85EBCA77))
    return _mix(x ^ high)


def _mix(x):
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
