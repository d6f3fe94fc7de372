"""What both of the generator's networks begin and end with."""

import jax.numpy as jnp


def sinusoids(value, width):
    """Sine and cosine features of `value` [B] at geometric frequencies, [B, 2 * (width // 2)]."""
    frequencies = jnp.exp(jnp.linspace(jnp.log(0.1), jnp.log(10.0), width // 2))
    angles = value[:, None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def space_to_depth(x, size):
    """[B, H, W, C] -> [B, H / size, W / size, C * size**2]."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // size, size, w // size, size, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // size, w // size, size * size * c)


def depth_to_space(x, size):
    """The inverse of `space_to_depth`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, size, size, c // size**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h * size, w * size, c // size**2)
