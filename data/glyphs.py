"""The embedded data set: 37 glyph classes (A-Z, 0-9, &), drawn as small photographs.

Letters of one typeface stand on rough ground, as if on stone, under a light and a tint of their own
and in a slightly changing pose. The ground is as coarse as their strokes, so most of an image shows
what all classes share. The idea is that a model of whole images learns it from all of about 1,100
training images, and that its images then show a classifier, which has 14 to 50 of a class, each
letter on much more ground. So the set is a positive control: it shows that the experiment finds a
gain where there is one, not that there is one in other images.

Every image is a pure function of (seed, split, index), so nothing is downloaded or stored.
"""

import functools
import importlib.metadata
import string

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

CLASS_NAMES = (*string.ascii_uppercase, *string.digits, '&')
MIN_COUNT, MAX_COUNT = 14, 50  # training images per class, before validation is cut
TEST_COUNT = 100  # test images per class
FONT = str(importlib.metadata.distribution('matplotlib').locate_file(  # imported it takes 0.2 s
    'matplotlib/mpl-data/fonts/ttf/DejaVuSans.ttf'))
_SUPERSAMPLE = 4  # drawn this many times larger, then averaged down: soft, camera-like edges


class Glyphs:
    """A labelled image source; see `data.sources.Source`.

    Args:
        split: 'train' (uneven, 14 to 50 images a class) or 'test' (100 a class).
        image_size: side of the square images in pixels, at least 12.
        seed: another seed is another data set from the same distribution.

    Raises:
        ValueError: another split, or a smaller image.
    """

    class_names = CLASS_NAMES

    def __init__(self, split, *, image_size=16, seed=0):
        if split not in ('train', 'test'):
            raise ValueError(f"glyphs has the splits 'train' and 'test', not {split!r}")
        if image_size < 12:
            raise ValueError(f'glyphs cannot be read at image_size={image_size}; use at least 12')
        self.split, self.image_size, self.seed = split, image_size, seed
        counts = train_counts(seed) if split == 'train' else np.full(len(CLASS_NAMES), TEST_COUNT)
        self.labels = np.repeat(np.arange(len(CLASS_NAMES), dtype=np.int32), counts)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        label = int(self.labels[i])
        rng = np.random.default_rng([self.seed, self.split == 'test', i])
        return {
            'image': draw(CLASS_NAMES[label], self.image_size, rng),
            'label': label,
            'index': int(i),
            'name': f'{self.split}/{CLASS_NAMES[label]}/{i:05d}',
        }


def train_counts(seed=0):
    """Training images per class, int [37]: evenly spaced in [MIN_COUNT, MAX_COUNT], shuffled."""
    counts = np.linspace(MIN_COUNT, MAX_COUNT, len(CLASS_NAMES)).round().astype(int)
    return np.random.default_rng([seed, 37]).permutation(counts)


def draw(character, size, rng):
    """One photograph-like picture of `character`, uint8 [size, size, 3]."""
    ink = _ink_mask(character, size, rng)
    y, x = _grid(size)
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + rng.uniform(0, 0.35) * (np.cos(angle) * x + np.sin(angle) * y)
    warmth = rng.uniform(-1, 1) * np.array([0.06, 0.0, -0.06])  # one colour axis: lamp to daylight
    stone = rng.uniform(0.6, 0.8) + warmth
    shade = -rng.uniform(0.15, 0.45) * ink * light
    shade += rng.uniform(0.13, 0.21) * _roughness(size, rng)
    shade += rng.normal(0, 0.02, (size, size))  # grey grain of the sensor
    picture = light[..., None] * stone + shade[..., None]
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


def _roughness(size, rng):
    """Random bumps of a stroke's width, float [size, size], with standard deviation 1."""
    noise = rng.normal(size=(size, size))
    fine, coarse = _blurs(size)
    bumps = fine @ noise @ fine - coarse @ noise @ coarse  # their mean is 0
    return bumps * (size / np.linalg.norm(bumps))


@functools.lru_cache(maxsize=8)
def _blurs(size):
    """Blurs along one side, which closes to a ring, by 1.3 and 4 pixels of 16, [2, size, size]."""
    squared = (2 * np.pi * np.fft.fftfreq(size) * size / 16) ** 2
    distance = np.arange(size) - np.arange(size)[:, None]
    return np.stack([
        np.fft.ifft(np.exp(-(pixels**2) * squared / 2)).real[distance] for pixels in (1.3, 4.0)
    ])


def _ink_mask(character, size, rng):
    """Coverage of the posed, blurred character, float [size, size] in [0, 1]."""
    side = size * _SUPERSAMPLE
    canvas, centre = _letter(character, side)
    scale = rng.uniform(0.9, 0.97)
    rotation, shear = rng.uniform(-0.045, 0.045), rng.uniform(-0.03, 0.03)
    shift = rng.uniform(-0.021, 0.021, 2) * side
    cos, sin = np.cos(rotation), np.sin(rotation)
    # sheared, rotated, scaled; backwards, as Pillow asks where each output pixel comes from
    back = np.array([[1, -shear], [0, 1]]) @ np.array([[cos, sin], [-sin, cos]]) / scale
    offset = centre - back @ (side / 2 + shift)
    matrix = (*back[0], offset[0], *back[1], offset[1])
    posed = canvas.transform(
        (side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    blur = rng.uniform(0.0, 0.7) * _SUPERSAMPLE * size / 16
    posed = posed.filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(posed.resize((size, size), Image.Resampling.BOX), np.float64) / 255


@functools.lru_cache(maxsize=128)  # all 37: 150 kB at image_size=16, as its square grows
def _letter(character, side):
    """(the character in the middle of a grey Pillow image of this side, the ink's centre [2])."""
    canvas, middle = Image.new('L', (side, side)), (side / 2, side / 2)
    ImageDraw.Draw(canvas).text(
        middle, character, fill=255, font=_font(round(side * 0.82)), anchor='mm'
    )
    box = np.array(canvas.getbbox())  # left, top, right, bottom
    return canvas, (box[:2] + box[2:]) / 2  # of the ink, not of the font's box


@functools.lru_cache(maxsize=8)
def _grid(size):
    """Rows and columns in [-0.5, 0.5], float [2, size, size]."""
    return np.mgrid[:size, :size] / (size - 1) - 0.5


@functools.lru_cache(maxsize=8)
def _font(pixels):
    return ImageFont.truetype(FONT, pixels)
