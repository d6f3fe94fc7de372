"""Pages of images, real and synthetic: arrays in, PNG bytes out."""

import io
import itertools
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from eval import fonts
from eval.figures import COLORS, GREY, shortened


def sheet(real: np.ndarray, real_labels: np.ndarray, synthetic: np.ndarray,
          synthetic_labels: np.ndarray, class_names: Sequence[str], *,
          classes: Collection[int] | None = None, k: int = 8, tile: int = 64) -> bytes:
    """The first k real (left) and k synthetic (right) images of each class, one row a class.

    Args: images uint8 [N, H, W, 3], labels int [N]; classes: the rows, top to bottom (all);
        tile: side in pixels, to which small images are enlarged by whole factors.
    Raises: ValueError if images are not uint8 [N, H, W, 3].
    """
    for images in (real, synthetic):
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f'need uint8 [N, H, W, 3], got {images.dtype} {images.shape}')
    classes = range(len(class_names)) if classes is None else classes
    side = _tile_side(max(real.shape[1:3]), tile)
    pitch, gap, top = side + 2, 14, 26
    names = shortened(class_names, classes)
    font = ImageFont.truetype(fonts.covering(names), 13)
    left = 16 + int(max((font.getlength(name) for name in names), default=0))
    right = left + k * pitch + gap
    page = Image.new('RGB', (right + k * pitch, top + len(names) * pitch), 'white')
    draw = ImageDraw.Draw(page)
    draw.text((left, 5), 'real (training)', 'black', font)
    draw.text((right, 5), 'synthetic', 'black', font)
    for row, (name, c) in enumerate(zip(names, classes)):
        y = top + row * pitch
        draw.text((left - 8, y + side / 2), name, 'black', font, anchor='rm')
        for x, images, labels in ((left, real, real_labels), (right, synthetic, synthetic_labels)):
            found = np.flatnonzero(np.asarray(labels) == c)[:k]
            if not len(found):
                draw.text((x + 4, y + side / 2), 'none', GREY, font, anchor='lm')
            for column, i in enumerate(found):
                page.paste(_enlarged(images[i], side), (x + column * pitch, y))
    return _encoded(page)


def copies(synthetic: np.ndarray, neighbours: np.ndarray, ratios: Sequence[float] | np.ndarray,
           spaces: Sequence[str] | np.ndarray, names: Sequence[str],
           kept: Sequence[bool] | np.ndarray, *, columns: int = 3, tile: int = 64) -> bytes:
    """Each synthetic image beside its two nearest training images, with the ratio below.

    Args: synthetic uint8 [K, H, W, 3]; neighbours uint8 [K, 2, H, W, 3], nearest first; [K] each:
        ratios of their distances, the spaces of these, class names, whether the image stayed.
    """
    side = _tile_side(max(synthetic.shape[1:3]), tile)
    pitch, line, top = side + 2, 17, 26
    columns = min(columns, len(synthetic))
    width, height = 3 * pitch + 30, side + 2 * line + 14
    font = ImageFont.truetype(fonts.covering(names), 12)
    page = Image.new('RGB', (10 + columns * width, top + -(-len(synthetic) // columns) * height),
                     'white')
    draw = ImageDraw.Draw(page)
    for column in range(columns):
        for i, text in enumerate(('synthetic', 'nearest', '2nd nearest')):
            draw.text((10 + column * width + i * pitch, 6), text, 'black', font)
    for k, images in enumerate(zip(synthetic, *np.moveaxis(neighbours, 1, 0))):
        x, y = 10 + k % columns * width, top + k // columns * height
        for i, pixels in enumerate(images):
            page.paste(_enlarged(pixels, side), (x + i * pitch, y))
        caption = f'{ratios[k]:.2f} in {spaces[k]}, {"kept" if kept[k] else "rejected"}'
        draw.text((x, y + side + 2), caption, COLORS[0] if kept[k] else COLORS[1], font)
        draw.text((x, y + side + 2 + line), f'class {shortened(names, [k])[0]}', GREY, font)
    return _encoded(page)


def named(rows: Mapping[str, Sequence[tuple[str, np.ndarray]]], *, tile: int = 64) -> bytes:
    """Images in named rows, each with a name of its own below it.

    Args: rows: name -> (name, uint8 [H, W, 3]) of each image; names of several lines perhaps.
    """
    side = _tile_side(max(max(pixels.shape[:2]) for row in rows.values() for _, pixels in row),
                      tile)
    lines = 1 + max(name.count('\n') for row in rows.values() for name, _ in row)
    pitch, height, top = side + 6, side + 11 + 15 * lines, 8
    path = fonts.covering([*rows, *(name for row in rows.values() for name, _ in row)])
    font, small = (ImageFont.truetype(path, size) for size in (14, 12))
    left = 16 + int(max(font.getlength(line) for name in rows for line in name.split('\n')))
    columns = max(map(len, rows.values()))
    page = Image.new('RGB', (left + columns * pitch, top + len(rows) * height), 'white')
    draw = ImageDraw.Draw(page)
    for y, (heading, row) in zip(itertools.count(top, height), rows.items()):
        draw.text((8, y + side / 2), heading, 'black', font, anchor='lm')
        for x, (name, pixels) in zip(range(left, page.width, pitch), row):
            page.paste(_enlarged(pixels, side), (x, y))
            for i, line in enumerate(name.split('\n')):
                draw.text((x, y + side + 3 + 15 * i), _fitted(line, small, side), GREY, small)
    return _encoded(page)


def _tile_side(image_side: int, tile: int) -> int:
    """Whole multiples of a small image, so that every pixel stays a square; large ones shrink."""
    if image_side <= tile:
        return image_side * round(tile / image_side)
    return min(image_side, 2 * tile)


def _enlarged(pixels: np.ndarray, side: int) -> Image.Image:
    method = Image.Resampling.NEAREST if max(pixels.shape) <= side else Image.Resampling.LANCZOS
    height, width = (round(side * length / max(pixels.shape[:2])) for length in pixels.shape[:2])
    return Image.fromarray(pixels).resize((width, height), method)


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The text, cut so that it is no wider than so many pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + '…') > width:
        text = text[:-1]
    return text + '…'


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format='PNG', optimize=True)
    return buffer.getvalue()
