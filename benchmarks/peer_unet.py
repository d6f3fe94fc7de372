"""diffusers' `UNet2DModel` in the place of our U-Net: the same patches, about the same FLOPs."""

import diffusers
from torch import nn

from benchmarks.peers import depth_to_space, space_to_depth
from generation.diffusion import LOG_SNR_MAX, LOG_SNR_MIN


class UNet2D(nn.Module):
    """Called as our U-Net is; it has no place for `augmentation` and does without.

    It gets the image in our patches, which makes its convolutions larger and faster than pixels
    would at equal FLOPs. With our widths, blocks and attention it comes within 6% of our forward
    FLOPs in the variants '', 'digits' and 'folder': the table gives both numbers.
    """

    def __init__(self, config, num_classes, image_shape):
        super().__init__()
        self.patch_size = config.patch_size
        patch = image_shape[-1] * self.patch_size**2
        kinds = ['Attn' * attend for attend in config.attention]
        self.network = diffusers.UNet2DModel(
            sample_size=image_shape[0] // self.patch_size, in_channels=patch, out_channels=patch,
            layers_per_block=config.blocks, norm_num_groups=8, dropout=config.dropout,
            block_out_channels=[config.channels * m for m in config.multipliers],
            down_block_types=[f'{kind}DownBlock2D' for kind in kinds],
            up_block_types=[f'{kind}UpBlock2D' for kind in reversed(kinds)],
            num_class_embeds=num_classes + 1, attention_head_dim=min(32, config.channels),
        )

    def forward(self, x_t, log_snr, label, augmentation):
        time = 1000 * (log_snr - LOG_SNR_MAX) / (LOG_SNR_MIN - LOG_SNR_MAX)
        patches = space_to_depth(x_t, self.patch_size)
        return depth_to_space(self.network(patches, time, label).sample, self.patch_size)
