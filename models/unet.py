"""The generator's network: a class-conditional U-Net on space-to-depth patches."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from models.dropout import Dropout
from models.parts import depth_to_space, sinusoids, space_to_depth

MAP_SIDE = 8  # positions a side of the classes' maps, at most: of the layout, not of the detail


class UNet(nn.Module):
    """Predicts eps, x_0 or v from a noisy image (Ho et al. 2020; Dhariwal & Nichol 2021).

    The image is cut into `patch_size` x `patch_size` patches that become channels, so that a small
    image costs little; every residual block is scaled and shifted (FiLM, Perez et al. 2018) by the
    noise level, what the augmentation did and, through a table of its own, by the class. That acts
    on whole channels, alike at all positions. `class_map` adds a learnt map of each class, which
    says at once what is where in its images, before the training images are known by heart.

    Attributes:
        num_classes: label `num_classes` means "no class" (classifier-free guidance).
        channels: channels of the first level; level i has channels * multipliers[i].
        blocks: residual blocks per level on the way down; one more on the way up.
        attention: per level, whether its blocks are followed by self-attention.
        patch_size: side of the patches that become channels, in pixels; divides the image's side.
        class_map: whether a learnt map of each class is added to the first level of at most
            MAP_SIDE positions a side or, if all have more, to the last.
        dropout: probability, in [0, 1).
        dtype: of activations; parameters, normalisation and softmax stay float32.
        remat: whether blocks are computed again in the backward pass, not kept: the same function.
    """

    num_classes: int
    channels: int
    multipliers: Sequence[int]
    blocks: int
    attention: Sequence[bool]
    patch_size: int
    class_map: bool = False
    dropout: float = 0.0
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x_t, log_snr, label, augmentation, *, keys=None):
        """Maps x_t [B, H, W, C], log_snr [B], label int [B], augmentation [B, A] to [B, H, W, C].

        `keys` [B], one PRNG key per example, turns dropout on.
        """
        condition = self._embed(log_snr, augmentation)

        blocks, attentions = itertools.count(), itertools.count()
        keep = nn.remat if self.remat else lambda module: module

        def block(h, width, attend):
            i = next(blocks)
            h = keep(ResidualBlock)(
                width, self.num_classes, self.dropout, i, self.dtype, name=f'ResidualBlock_{i}'
            )(h, condition, label, keys)
            if attend:
                name = f'SelfAttention_{next(attentions)}'
                h = keep(SelfAttention)(dtype=self.dtype, name=name)(h)
            return h

        patches = space_to_depth(x_t, self.patch_size)
        h = patches.astype(self.dtype)
        h = nn.Conv(self.channels, (3, 3), dtype=self.dtype, name='stem')(h)
        skips = []
        levels = list(zip(self.multipliers, self.attention, strict=True))
        mapped = self.map_level(h.shape[1])
        for level, (multiplier, attend) in enumerate(levels):
            if level:
                h = nn.Conv(h.shape[-1], (3, 3), (2, 2), dtype=self.dtype, name=f'down_{level}')(h)
            if level == mapped:
                h += self._class_map(label, h.shape[1:])
            skips.append(h)
            for _ in range(self.blocks):
                h = block(h, self.channels * multiplier, attend)
                skips.append(h)

        h = block(h, h.shape[-1], self.attention[-1])

        for level, (multiplier, attend) in reversed(list(enumerate(levels))):
            for _ in range(self.blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = block(h, self.channels * multiplier, attend)
            if level:
                h = h.repeat(2, axis=1).repeat(2, axis=2)  # nearest-neighbour upsampling
                h = nn.Conv(h.shape[-1], (3, 3), dtype=self.dtype, name=f'up_{level}')(h)

        h = nn.silu(_norm(h))
        out = nn.Conv(x_t.shape[-1] * self.patch_size**2, (3, 3), name='head',
                      kernel_init=nn.initializers.zeros)(h.astype(jnp.float32))
        return depth_to_space(out + pass_through(patches, condition), self.patch_size)

    def map_level(self, side):
        """The level that gets the maps, where the first has `side` positions a side; or None."""
        levels = range(len(self.multipliers))
        small = (level for level in levels if side // 2**level <= MAP_SIDE)
        return next(small, levels[-1]) if self.class_map else None

    def _class_map(self, label, shape):
        """The map of each label, [B, *shape]."""
        table = nn.Embed(
            self.num_classes + 1, math.prod(shape), dtype=self.dtype,
            embedding_init=nn.initializers.normal(0.1), name='class_map',
        )
        return table(label).reshape(-1, *shape)

    def _embed(self, log_snr, augmentation):
        """The noise level and the augmentation as one vector, [B, 4 * channels]."""
        width = 4 * self.channels
        embedding = nn.Dense(width, name='noise_0')(sinusoids(log_snr, self.channels))
        embedding += nn.Dense(width, use_bias=False, name='augmentation')(augmentation)
        return nn.silu(nn.Dense(width, name='noise_1')(nn.silu(embedding))).astype(self.dtype)


class ResidualBlock(nn.Module):
    """h [B, H, W, C], condition [B, E], label int [B] -> [B, H, W, width].

    Normalise, convolve, normalise, scale and shift by noise level and class (FiLM), dropout,
    convolve; add the input, through a 1x1 convolution where C is not `width`.
    """

    width: int
    num_classes: int
    dropout: float
    number: int
    dtype: Any

    @nn.compact
    def __call__(self, h, condition, label, keys):
        scale_shift = nn.Dense(2 * self.width, dtype=self.dtype, name='film_noise')(condition)
        scale_shift += nn.Embed(
            self.num_classes + 1, 2 * self.width, dtype=self.dtype,
            embedding_init=nn.initializers.normal(0.1), name='film_class',
        )(label)
        scale, shift = jnp.split(scale_shift[:, None, None, :], 2, axis=-1)
        residual = nn.Conv(self.width, (3, 3), dtype=self.dtype)(nn.silu(_norm(h)))
        residual = nn.silu(_norm(residual) * (1 + scale) + shift)
        residual = Dropout(self.dropout, self.number)(residual, keys)
        residual = nn.Conv(self.width, (3, 3), dtype=self.dtype,
                           kernel_init=nn.initializers.zeros)(residual)
        if h.shape[-1] != self.width:
            h = nn.Conv(self.width, (1, 1), dtype=self.dtype, name='shortcut')(h)
        return h + residual


class SelfAttention(nn.Module):
    """Multi-head attention over all positions, heads of 32 channels or, to be equal, of more."""

    dtype: Any

    @nn.compact
    def __call__(self, h):
        batch, height, width, channels = h.shape
        heads = next(n for n in range(max(1, channels // 32), 0, -1) if channels % n == 0)
        tokens = _norm(h).reshape(batch, height * width, channels)
        qkv = nn.Dense(3 * channels, dtype=self.dtype, name='qkv')(tokens)
        q, k, v = jnp.split(qkv.reshape(batch, height * width, heads, -1), 3, axis=-1)
        mixed = nn.dot_product_attention(q, k, v, force_fp32_for_softmax=True)
        mixed = nn.Dense(channels, dtype=self.dtype, kernel_init=nn.initializers.zeros,
                         name='out')(mixed.reshape(tokens.shape))
        return h + mixed.reshape(h.shape)


def pass_through(patches, condition):
    """The patches [B, H, W, D], each of their D values times a gain that follows the condition.

    To take the noise out of a patch, the output has to hold all of it. Through fewer channels than
    two or three times D not all of it comes, and the rest stays in the image as a grain.
    """
    gain = nn.Dense(patches.shape[-1], kernel_init=nn.initializers.zeros, name='pass')(condition)
    return patches * gain[:, None, None]


def _norm(h):
    """Group normalisation in float32, in at most 8 groups."""
    groups = max(g for g in range(1, 9) if h.shape[-1] % g == 0)
    return nn.GroupNorm(num_groups=groups, dtype=jnp.float32)(h).astype(h.dtype)
