"""The generator's other network: a class-conditional transformer on patches."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from models.dropout import Dropout
from models.parts import depth_to_space, sinusoids, space_to_depth


class DiT(nn.Module):
    """Predicts eps, x_0 or v from a noisy image (Peebles & Xie 2023, DiT with adaLN-Zero).

    Nearly all of its work is matrix products, which XLA runs nearer to the machine's peak than
    small convolutions, on CPU above all.

    Attributes:
        num_classes: label `num_classes` means "no class" (classifier-free guidance).
        width: channels of a token, a multiple of `head_width`.
        depth: transformer blocks.
        patch_size: side of the patches that become tokens, in pixels; divides the image's side.
        dropout: rate in the blocks. head_width: channels of an attention head.
        dtype: of activations; parameters, normalisation and softmax stay float32.
        remat: whether blocks are computed again in the backward pass, not kept: the same function.
    """

    num_classes: int
    width: int
    depth: int
    patch_size: int
    dropout: float = 0.0
    head_width: int = 32
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x_t, log_snr, label, augmentation, *, keys=None):
        """Maps x_t [B, H, W, C], log_snr [B], label int [B], augmentation [B, A] to [B, H, W, C].

        `keys` [B], one PRNG key per example, turns dropout on.
        """
        condition = self._embed(log_snr, augmentation, label)
        patches = space_to_depth(x_t, self.patch_size).astype(self.dtype)
        batch, rows, columns, size = patches.shape
        h = nn.Dense(self.width, dtype=self.dtype, name='stem')(patches.reshape(batch, -1, size))
        places = nn.initializers.normal(0.02)
        h += self.param('places', places, (rows * columns, self.width)).astype(self.dtype)
        block = nn.remat(DiT._block, static_argnums=(3,)) if self.remat else DiT._block
        for i in range(self.depth):
            h = block(self, h, condition, i, keys)
        shift, scale = self._modulation(condition, 2)
        h = _modulate(h, shift, scale).astype(jnp.float32)
        out = nn.Dense(size, kernel_init=nn.initializers.zeros, name='head')(h)
        return depth_to_space(out.reshape(batch, rows, columns, size), self.patch_size)

    def _embed(self, log_snr, augmentation, label):
        """The noise level, the augmentation and the class as one vector, [B, width]."""
        h = nn.Dense(self.width, name='noise_0')(sinusoids(log_snr, self.width))
        h += nn.Dense(self.width, use_bias=False, name='augmentation')(augmentation)
        h = nn.Dense(self.width, name='noise_1')(nn.silu(h))
        h += nn.Embed(self.num_classes + 1, self.width, name='class',
                      embedding_init=nn.initializers.normal(1.0))(label)
        return nn.silu(h).astype(self.dtype)

    def _modulation(self, condition, parts):
        """So many vectors [B, 1, width] that start at 0 and follow the condition."""
        out = nn.Dense(parts * self.width, kernel_init=nn.initializers.zeros, dtype=self.dtype)
        return jnp.split(out(condition)[:, None], parts, axis=-1)

    def _block(self, h, condition, number, keys):
        """Attention, then a two-layer network, each shifted, scaled and gated by the condition."""
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self._modulation(condition, 6)
        h += gate_1 * self._attention(_modulate(h, shift_1, scale_1))
        wide = nn.Dense(4 * self.width, dtype=self.dtype)(_modulate(h, shift_2, scale_2))
        wide = Dropout(self.dropout, number)(nn.gelu(wide), keys)
        return h + gate_2 * nn.Dense(self.width, dtype=self.dtype)(wide)

    def _attention(self, h):
        batch, tokens, _ = h.shape
        qkv = nn.Dense(3 * self.width, dtype=self.dtype)(h)
        qkv = qkv.reshape(batch, tokens, 3, self.width // self.head_width, self.head_width)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        mixed = nn.dot_product_attention(q, k, v, force_fp32_for_softmax=True)
        return nn.Dense(self.width, dtype=self.dtype)(mixed.reshape(h.shape))


def _modulate(h, shift, scale):
    normal = nn.LayerNorm(use_scale=False, use_bias=False, dtype=jnp.float32)(h)
    return normal.astype(h.dtype) * (1 + scale) + shift
