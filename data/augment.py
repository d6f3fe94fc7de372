"""Classical augmentation, on the device, inside the jitted step. One PRNG key per image."""

import jax
import jax.numpy as jnp

CONDITION_SIZE = 3  # [flipped, shift down, shift right]


def to_float(images):
    """uint8 [..., C] in [0, 255] -> float32 in [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1


def to_uint8(images):
    """float in [-1, 1] -> uint8 in [0, 255]; the inverse of `to_float`."""
    return jnp.clip(jnp.round((images + 1) * 127.5), 0, 255).astype(jnp.uint8)


def flip_shift(keys, images, *, flip, shift, probability=1.0):
    """Mirrors and shifts images, and says by how much.

    Args:
        keys: PRNG keys [B].
        images: [B, H, W, C].
        flip: whether to mirror left-right, half of the time.
        shift: largest shift as a fraction of the side; edges are repeated.
        probability: of each of the two being applied to an image.
    Returns:
        (images, condition float32 [B, 3]): all-zero conditions mark untouched images, so that a
        generator told the condition learns the augmented images without leaking them into its
        samples (Karras et al. 2022, appendix F).
    """
    side = images.shape[1]
    most = int(round(shift * side))

    def one(key, image):
        u = jax.random.uniform(key, (4,))
        flipped = (u[0] < 0.5 * probability) & flip
        offset = jnp.floor(u[2:] * (2 * most + 1)).astype(jnp.int32) - most
        offset = jnp.where(u[1] < probability, offset, 0)
        image = jnp.where(flipped, image[:, ::-1], image)
        padded = jnp.pad(image, ((most, most), (most, most), (0, 0)), mode='edge')
        start = (most - offset[0], most - offset[1], 0)
        condition = jnp.array([flipped, offset[0] / max(most, 1), offset[1] / max(most, 1)])
        return jax.lax.dynamic_slice(padded, start, image.shape), condition.astype(jnp.float32)

    return jax.vmap(one)(keys, images)
