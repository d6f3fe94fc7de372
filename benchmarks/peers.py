"""The networks of models/ once more, in PyTorch: what their speed is compared with.

Written as a PyTorch user would: images are [B, C, H, W] in channels_last memory. That they are the
same networks is checked by tests/benchmarks/test_peers.py, with copied weights.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.weights import numbered
from data.augment import CONDITION_SIZE

EPSILON = 1e-6  # of Flax's normalisation layers; PyTorch's own default is 1e-5


def twin(model, image_shape):
    """The PyTorch network of the same shape as a Flax `UNet`, `DiT` or `CNN`.

    Args:
        model: the Flax module; its dtype does not matter, the twin's parameters are float32.
        image_shape: (H, W, C).
    """
    networks: dict[str, type[nn.Module]] = {'UNet': UNet, 'DiT': DiT, 'CNN': CNN}
    made = networks[type(model).__name__](model, image_shape)
    return made.to(memory_format=torch.channels_last)


class UNet(nn.Module):
    """`models.unet.UNet`: (x_t [B, C, H, W], log_snr [B], label [B], augmentation [B, A])."""

    def __init__(self, model, image_shape):
        super().__init__()
        c, self.patch_size, in_channels = model.channels, model.patch_size, image_shape[-1]
        patch = in_channels * self.patch_size**2
        self.noise_0 = nn.Linear(c, 4 * c)
        self.augmentation = nn.Linear(CONDITION_SIZE, 4 * c, bias=False)
        self.noise_1 = nn.Linear(4 * c, 4 * c)
        self.stem = nn.Conv2d(patch, c, 3, padding=1)
        levels = list(zip(model.multipliers, model.attention, strict=True))
        width, skips = c, [c]

        def block(inputs, outputs, attend):
            return Block(inputs, outputs, 4 * c, model.num_classes, model.dropout, attend)

        self.down = nn.ModuleList()
        side = image_shape[0] // self.patch_size
        mapped = model.map_level(side)
        for level, (multiplier, attend) in enumerate(levels):
            if level:
                self.down.append(Halve(width))
                skips.append(width)
            if level == mapped:
                self.down.append(ClassMap(model.num_classes, side // 2**level, width))
            for _ in range(model.blocks):
                self.down.append(block(width, c * multiplier, attend))
                width = c * multiplier
                skips.append(width)
        self.middle = block(width, width, model.attention[-1])
        self.up = nn.ModuleList()
        for level, (multiplier, attend) in reversed(list(enumerate(levels))):
            for _ in range(model.blocks + 1):
                self.up.append(block(width + skips.pop(), c * multiplier, attend))
                width = c * multiplier
            if level:
                self.up.append(Double(width))
        self.norm = group_norm(width)
        self.head = nn.Conv2d(width, patch, 3, padding=1)
        self.gain = nn.Linear(4 * c, patch)

    def forward(self, x_t, log_snr, label, augmentation):
        h = self.noise_0(sinusoids(log_snr, self.noise_0.in_features))
        h = F.silu(self.noise_1(F.silu(h + self.augmentation(augmentation))))
        condition, patches = h, space_to_depth(x_t, self.patch_size)
        h = self.stem(patches)
        skips = [h]
        for layer in self.down:
            h = layer(h, condition, label)
            if isinstance(layer, ClassMap):
                skips.pop()  # what it was added to
            skips.append(h)
        h = self.middle(h, condition, label)
        for layer in self.up:
            if isinstance(layer, Block):
                h = torch.cat([h, skips.pop()], dim=1)
            h = layer(h, condition, label)
        out = self.head(F.silu(self.norm(h))) + self.gain(condition)[..., None, None] * patches
        return depth_to_space(out, self.patch_size)

    def named(self):
        """{Flax's name: layer}."""
        blocks, attentions, halves, doubles, maps = (
            [layer for layer in self.modules() if isinstance(layer, kind)]
            for kind in (Block, Attention, Halve, Double, ClassMap)
        )
        return {
            'noise_0': self.noise_0, 'augmentation': self.augmentation, 'noise_1': self.noise_1,
            'stem': self.stem, 'GroupNorm_0': self.norm, 'head': self.head, 'pass': self.gain,
            **numbered('ResidualBlock', blocks), **numbered('SelfAttention', attentions),
            **numbered('down', [half.conv for half in halves], 1),
            **numbered('up', [double.conv for double in reversed(doubles)], 1),
            **({'class_map': maps[0].table} if maps else {}),
        }


class Block(nn.Module):
    """`models.unet.ResidualBlock`, followed by `SelfAttention` if `attend`."""

    def __init__(self, inputs, outputs, condition, num_classes, dropout, attend):
        super().__init__()
        self.film_noise = nn.Linear(condition, 2 * outputs)
        self.film_class = nn.Embedding(num_classes + 1, 2 * outputs)
        self.norm_0, self.conv_0 = group_norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm_1, self.conv_1 = group_norm(outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = Attention(outputs) if attend else nn.Identity()

    def forward(self, h, condition, label):
        scale_shift = self.film_noise(condition) + self.film_class(label)
        scale, shift = scale_shift[:, :, None, None].chunk(2, dim=1)
        residual = self.conv_0(F.silu(self.norm_0(h)))
        residual = F.silu(self.norm_1(residual) * (1 + scale) + shift)
        return self.attention(self.shortcut(h) + self.conv_1(self.dropout(residual)))

    def named(self):
        shortcut = isinstance(self.shortcut, nn.Conv2d)
        return {
            'film_noise': self.film_noise, 'film_class': self.film_class,
            **numbered('GroupNorm', [self.norm_0, self.norm_1]),
            **numbered('Conv', [self.conv_0, self.conv_1]),
            **({'shortcut': self.shortcut} if shortcut else {}),
        }


class Attention(nn.Module):
    """`models.unet.SelfAttention`."""

    def __init__(self, channels):
        super().__init__()
        self.heads = max(1, channels // 32)
        self.norm = group_norm(channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, h):
        tokens = self.norm(h).flatten(2).transpose(1, 2)
        heads = self.qkv(tokens).unflatten(-1, (self.heads, 3, -1)).unbind(3)
        mixed = self.out(attend(*heads))
        return h + mixed.transpose(1, 2).reshape(h.shape)

    def named(self):
        return {'GroupNorm_0': self.norm, 'qkv': self.qkv, 'out': self.out}


class ClassMap(nn.Module):
    """Adds each label's map, of `models.unet.UNet._class_map`."""

    def __init__(self, num_classes, side, width):
        super().__init__()
        self.table = nn.Embedding(num_classes + 1, side * side * width)
        self.shape = side, side, width

    def forward(self, h, condition, label):
        return h + self.table(label).unflatten(1, self.shape).permute(0, 3, 1, 2)


class Halve(nn.Module):
    """A 3x3 convolution of stride 2; Flax pads an even side at its end only."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, h, condition, label):
        return self.conv(F.pad(h, (0, 1, 0, 1)))


class Double(nn.Module):
    """Nearest-neighbour upsampling and a 3x3 convolution."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, h, condition, label):
        return self.conv(F.interpolate(h, scale_factor=2, mode='nearest'))


class DiT(nn.Module):
    """`models.dit.DiT`, called as `UNet` is."""

    def __init__(self, model, image_shape):
        super().__init__()
        height, columns, channels = image_shape
        width, self.patch_size = model.width, model.patch_size
        patch, tokens = channels * self.patch_size**2, height * columns // self.patch_size**2
        self.noise_0 = nn.Linear(width, width)
        self.augmentation = nn.Linear(CONDITION_SIZE, width, bias=False)
        self.noise_1 = nn.Linear(width, width)
        self.class_ = nn.Embedding(model.num_classes + 1, width)
        self.stem = nn.Linear(patch, width)
        self.places = nn.Parameter(torch.zeros(tokens, width))
        heads = width // model.head_width
        self.blocks = nn.ModuleList(
            DiTBlock(width, heads, model.dropout) for _ in range(model.depth)
        )
        self.modulation, self.head = nn.Linear(width, 2 * width), nn.Linear(width, patch)

    def forward(self, x_t, log_snr, label, augmentation):
        h = self.noise_0(sinusoids(log_snr, self.noise_0.in_features))
        h = self.noise_1(F.silu(h + self.augmentation(augmentation)))
        condition = F.silu(h + self.class_(label))
        patches = space_to_depth(x_t, self.patch_size)
        h = self.stem(patches.flatten(2).transpose(1, 2)) + self.places
        for block in self.blocks:
            h = block(h, condition)
        shift, scale = self.modulation(condition)[:, None].chunk(2, dim=-1)
        out = self.head(modulate(h, shift, scale)).transpose(1, 2)
        return depth_to_space(out.unflatten(2, patches.shape[2:]), self.patch_size)

    def named(self):
        dense = [layer for block in self.blocks for layer in block.dense()]
        return {
            'noise_0': self.noise_0, 'augmentation': self.augmentation, 'noise_1': self.noise_1,
            'class': self.class_, 'stem': self.stem, 'places': self.places, 'head': self.head,
            **numbered('Dense', [*dense, self.modulation]),
        }


class DiTBlock(nn.Module):
    """Attention, then a two-layer network, as `models.dit.DiT._block`."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads = heads
        self.modulation = nn.Linear(width, 6 * width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h, condition):
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = (
            self.modulation(condition)[:, None].chunk(6, dim=-1)
        )
        qkv = self.qkv(modulate(h, shift_1, scale_1)).unflatten(-1, (3, self.heads, -1))
        h = h + gate_1 * self.out(attend(*qkv.unbind(2)))
        wide = F.gelu(self.wide(modulate(h, shift_2, scale_2)), approximate='tanh')
        return h + gate_2 * self.narrow(self.dropout(wide))

    def dense(self):
        """Its layers in the order in which Flax numbers them."""
        return [self.modulation, self.qkv, self.out, self.wide, self.narrow]


class CNN(nn.Module):
    """`models.cnn.CNN`: x [B, 3, H, W] in [-1, 1] to (logits, features)."""

    def __init__(self, model, image_shape):
        super().__init__()
        inputs = (image_shape[-1], *model.widths)
        sides = (model.first_kernel, *[3] * (len(model.widths) - 1))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(i, o, side, padding='same') for i, o, side in zip(inputs, model.widths, sides)
        )
        cells = math.prod(side // 2 ** len(model.widths) for side in image_shape[:2])
        self.dense = nn.Linear(cells * model.widths[-1], model.hidden)
        self.logits = nn.Linear(model.hidden, model.num_classes)
        self.dropout = model.dropout

    def forward(self, x):
        for convolution in self.convolutions:
            x = F.max_pool2d(F.relu(convolution(x)), 2)
            x = F.dropout(x, self.dropout / 2, self.training)
        features = F.relu(self.dense(x.permute(0, 2, 3, 1).flatten(1)))  # as Flax orders them
        logits = self.logits(F.dropout(features, self.dropout, self.training))
        return logits, features

    def named(self):
        convolutions = numbered('Conv', self.convolutions)
        return convolutions | numbered('Dense', [self.dense, self.logits])


def attend(q, k, v):
    """Multi-head attention of q, k, v [B, T, heads, C / heads], to [B, T, C]."""
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def modulate(h, shift, scale):
    """`models.dit._modulate`."""
    return F.layer_norm(h, h.shape[-1:], eps=EPSILON) * (1 + scale) + shift


def group_norm(channels):
    """`models.unet._norm`."""
    groups = max(g for g in range(1, 9) if channels % g == 0)
    return nn.GroupNorm(groups, channels, eps=EPSILON)


def sinusoids(value, width):
    """`models.parts.sinusoids`: of value [B], [B, width]."""
    ends = math.log(0.1), math.log(10.0)
    frequencies = torch.linspace(*ends, width // 2, device=value.device).exp()
    angles = value[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def space_to_depth(x, size):
    """[B, C, H, W] -> [B, C * size**2, H / size, W / size], channels last within a patch."""
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // size, size, w // size, size).permute(0, 2, 4, 3, 5, 1)
    return x.reshape(b, h // size, w // size, size * size * c).permute(0, 3, 1, 2)


def depth_to_space(x, size):
    """The inverse of `space_to_depth`."""
    b, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(b, h, w, size, size, c // size**2).permute(0, 5, 1, 3, 2, 4)
    return x.reshape(b, c // size**2, h * size, w * size)
