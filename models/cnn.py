"""The classifier: a convolution block for each width, then two dense layers."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from models.dropout import Dropout


class CNN(nn.Module):
    """Convolutions, max-pooling, ReLU, dropout, dense layers.

    Attributes:
        num_classes: number of logits.
        widths: channels of each block; every block halves the side.
        hidden: width of the dense layer whose output is the feature vector.
        dropout: rate after the dense layer; half of it after each block.
        first_kernel: side of the first block's filters; 3 in the others.
        dtype: of activations; parameters and logits stay float32.
    """

    num_classes: int
    widths: Sequence[int]
    hidden: int
    dropout: float
    first_kernel: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, *, keys=None):
        """Maps x [B, H, W, 3] in [-1, 1] to (logits [B, num_classes], features [B, hidden]).

        `keys` [B], one PRNG key per example, turns dropout on.
        """
        x = x.astype(self.dtype)
        for layer, width in enumerate(self.widths):
            side = 3 if layer else self.first_kernel
            x = nn.Conv(width, (side, side), dtype=self.dtype)(x)
            x = nn.relu(max_pool(x))  # in this order ReLU sees a quarter as many values
            x = Dropout(self.dropout / 2, layer)(x, keys)
        x = x.reshape(x.shape[0], -1)
        features = nn.relu(nn.Dense(self.hidden, dtype=self.dtype)(x))
        x = Dropout(self.dropout, len(self.widths))(features, keys)
        logits = nn.Dense(self.num_classes)(x.astype(jnp.float32))
        return logits, features.astype(jnp.float32)


def max_pool(x):
    """2x2 max-pooling as a maximum over axes: on CPU a step is quicker than by slices."""
    h, w = x.shape[1] // 2, x.shape[2] // 2
    x = x[:, : 2 * h, : 2 * w]
    return x.reshape(x.shape[0], h, 2, w, 2, x.shape[-1]).max((2, 4))
