"""The classifier of the long-tail literature: ResNet-32 of width 16 (He et al. 2016, sec. 4.2)."""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp


class ResNet32(nn.Module):
    """Three stages of five basic blocks at widths 16, 32, 64.

    Shortcuts between stages subsample and pad with zeros (option A of the paper). Batch
    statistics are taken over all devices when `axis_name` names the mapped axis.

    Attributes:
        num_classes: number of logits.
        width: channels of the first stage; the others have 2 and 4 times as many.
        blocks: of each stage; 5 make 32 layers.
        axis_name: of the mapped axis; None on one device.
        dtype: of activations; parameters and statistics stay float32.
    """

    num_classes: int
    width: int = 16
    blocks: int = 5
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, *, keys=None):
        """Maps x [B, H, W, 3] in [-1, 1] to (logits [B, num_classes], features [B, 4 * width]).

        `keys` not None means training: batch statistics are taken and updated.
        """
        train = keys is not None
        conv = functools.partial(
            nn.Conv, use_bias=False, dtype=self.dtype, kernel_init=nn.initializers.he_normal(),
            padding=1,  # 'SAME' would see other pixels than a strided block's shortcut does
        )
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9,
                                 dtype=self.dtype, axis_name=self.axis_name)
        x = nn.relu(norm()(conv(self.width, (3, 3))(x.astype(self.dtype))))
        for stage in range(3):
            width = self.width * 2**stage
            for block in range(self.blocks):
                stride = 2 if stage and not block else 1
                residual = nn.relu(norm()(conv(width, (3, 3), (stride, stride))(x)))
                residual = norm()(conv(width, (3, 3))(residual))
                if stride == 2:
                    x = jnp.pad(x[:, ::2, ::2], ((0, 0),) * 3 + ((width // 4, width // 4),))
                x = nn.relu(x + residual)
        features = x.astype(jnp.float32).mean(axis=(1, 2))
        return nn.Dense(self.num_classes)(features), features
