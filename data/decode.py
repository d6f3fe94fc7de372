"""From encoded bytes to pixels, by our own rules: what is refused, scaled, turned, flattened."""

import contextlib
import dataclasses
import io
import threading
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP')  # Pillow would also open EPS through Ghostscript
MAX_PIXELS = 48 * 2**20  # 8192 x 6144; decoding one such image peaks below 900 MB (WebP)


class BadImage(ValueError):
    """One image, `name`, that cannot be used, and the `reason`."""

    def __init__(self, name, reason):
        name = ''.join(c if c.isprintable() else repr(c)[1:-1] for c in name)  # a line stays one
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self):
        return f'{self.name}: {self.reason}'


def decode(data, name, image_size):
    """Encoded bytes -> uint8 [S, S, 3]: the centred square, scaled to side S.

    EXIF orientation is applied, 16-bit grey is scaled to 8 bit, transparency lies on white.

    Pillow may warn of large images, which are refused, and of damaged EXIF, which does no harm.

    Raises:
        BadImage: truncated, animated, over MAX_PIXELS, or no JPEG, PNG, WebP or BMP.
    """
    if not len(data):
        raise BadImage(name, 'an empty file')
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        _refuse(image, name)
        pixels = image.width * image.height
        image.draft(None, (2 * image_size, 2 * image_size))  # JPEG: decode no more than needed
        if not image.info.get('progressive'):  # of these all of it is held, whatever is decoded
            pixels = image.width * image.height
        with _room(pixels):
            return _to_square(image, image_size)
    except (BadImage, MemoryError):  # of the latter no image is to blame
        raise
    except Image.UnidentifiedImageError as error:
        raise BadImage(name, 'not a JPEG, PNG, WebP or BMP image') from error
    except Exception as error:  # on damaged bytes decoders raise almost any type
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadImage(name, f'cannot be decoded ({reason})') from error


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedSource:
    """A source of encoded images; `read(i)` fetches the bytes of image i.

    `ignored` names the files that are no part of the set, and not left behind by a system: of other
    formats, nested deeper, or images in a hidden folder. `groups` is what each image belongs to, ''
    where that is nothing; empty where it is not known.
    """

    class_names: tuple[str, ...]
    labels: np.ndarray
    names: tuple[str, ...]
    image_size: int
    read: Callable[[int], bytes]
    ignored: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        label, name = int(self.labels[i]), self.names[i]
        image = decode(self.read(i), name, self.image_size)
        return {'image': image, 'label': label, 'index': int(i), 'name': name}


def _to_square(image, side):
    """Decodes the pixels of an open Pillow image: uint8 [side, side, 3]."""
    image.load()
    with contextlib.suppress(Exception):  # damaged EXIF, on which Pillow raises almost any type
        ImageOps.exif_transpose(image, in_place=True)
    image = _to_colour(image)
    shorter = min(image.size)
    left, top = (image.width - shorter) / 2, (image.height - shorter) / 2
    box = (left, top, left + shorter, top + shorter)
    image = image.resize((side, side), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
    if image.mode == 'RGBA':
        white = Image.new('RGBA', image.size, 'white')
        image = Image.alpha_composite(white, image).convert('RGB')
    return np.asarray(image)


@contextlib.contextmanager
def _room(pixels):
    """Waits until all threads together decode MAX_PIXELS at most, which bounds the memory."""
    with _freed:
        _freed.wait_for(lambda: sum(_decoded_now) + pixels <= MAX_PIXELS)
        _decoded_now.append(pixels)
    try:
        yield
    finally:
        with _freed:
            _decoded_now.remove(pixels)
            _freed.notify_all()


_freed = threading.Condition()
_decoded_now: list[int] = []  # pixels of each image


def _refuse(image, name):
    """Checks that the header alone can answer, before any pixel is decoded."""
    if image.width * image.height > MAX_PIXELS:
        size = f'{image.width} x {image.height} pixels'
        raise BadImage(name, f'{size} is over the limit of {MAX_PIXELS}')
    # MPO is a still photograph with a preview attached, as many phones write it.
    if getattr(image, 'is_animated', False) and image.format != 'MPO':
        raise BadImage(name, f'animated ({image.n_frames} frames); give single images')


def _to_colour(image):
    """Any Pillow image -> mode RGB, or RGBA where it has transparency."""
    if image.mode.startswith('I'):  # 16 bits a value, which convert() would clip at 255
        values, clear = np.array(image, np.float32), image.info.get('transparency')
        opaque = None if clear is None else Image.fromarray(values != clear)
        values /= 257  # 65535 -> 255
        np.clip(np.rint(values, out=values), 0, 255, out=values)
        image = Image.fromarray(values.astype(np.uint8))
        if opaque:
            image.putalpha(opaque.convert('L'))
    mode = 'RGBA' if image.has_transparency_data else 'RGB'
    return image if image.mode == mode else image.convert(mode)
