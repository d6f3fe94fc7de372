"""Can an image file break a run?

    python -m benchmarks.soak_images [--images=10000]

Images of every format and mode that is read, and some that are not, are damaged at random and
decoded. Each must give an image of the asked size or be refused by name: no crash, no hang.
"""

import functools
import io
import random
import time
import warnings

import numpy as np
from PIL import Image

from benchmarks import children, common, small_run
from data.decode import BadImage, decode

SIDE = 32
NOTES = (
    'survived: decoded to uint8 [32, 32, 3], or refused with its name and the reason; the memory '
    'is the peak of the whole process',
)


@functools.cache
def originals():
    """{name: encoded bytes} of whole images."""
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((160, 120))
    grey16 = Image.fromarray(np.asarray(colour)[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[274] = 6  # orientation: turned by 90 degrees
    found = {
        'jpeg': _encode(colour, 'JPEG'), 'jpeg_progressive': _encode(colour, 'JPEG', progressive=1),
        'jpeg_cmyk': _encode(colour.convert('CMYK'), 'JPEG'),
        'jpeg_turned': _encode(colour, 'JPEG', exif=exif), 'png': _encode(colour, 'PNG'),
        'png_grey': _encode(colour.convert('L'), 'PNG'), 'png_16': _encode(grey16, 'PNG'),
        'png_palette': _encode(colour.convert('P'), 'PNG', transparency=3),
        'png_alpha': _encode(colour.convert('RGBA'), 'PNG'),
        'png_one_bit': _encode(colour.convert('1'), 'PNG'), 'bmp': _encode(colour, 'BMP'),
        'webp': _encode(colour, 'WEBP'), 'webp_lossless': _encode(colour, 'WEBP', lossless=True),
        'webp_animated': _encode(colour, 'WEBP', save_all=True, append_images=[colour.rotate(9)]),
        'gif': _encode(colour, 'GIF'), 'tiff': _encode(colour, 'TIFF'),
        'large': _encode(Image.new('L', (9000, 9000)), 'PNG'),
        'text': b'not an image at all\n' * 40, 'nothing': b'',
    }
    return found


def _encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def damaged(data, rng):
    """`data` after one to three random changes."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(data) + 1)
        length = rng.randint(1, 64)
        change = rng.randrange(5)
        if change == 0:
            del data[place:]
        elif change == 1:
            data[place:place] = rng.randbytes(length)
        elif change == 2:
            del data[place : place + length]
        elif change == 3:
            data[place:place] = data[place : place + 16 * length]
        else:  # near the head most of the time, where sizes and modes stand
            for _ in range(length // 16 + 1):
                if data:
                    last = min(len(data), 64) if rng.random() < 0.7 else len(data)
                    data[rng.randrange(last)] = rng.randrange(256)
    return bytes(data)


def decode_all(count, seed):
    """{'decoded', 'refused', 'broken', 'slowest', 'peak_mb'} of `count` damaged images."""
    rng, whole = random.Random(seed), originals()
    warnings.simplefilter('ignore')  # as `sources.read` does
    found = {'decoded': 0, 'refused': 0, 'broken': 0, 'slowest': 0.0}
    for _ in range(count):
        name = rng.choice(list(whole))
        start = time.perf_counter()
        try:
            image = decode(damaged(whole[name], rng), name, SIDE)
            good = image.shape == (SIDE, SIDE, 3) and image.dtype == np.uint8
            found['decoded' if good else 'broken'] += 1
        except BadImage as error:
            found['refused' if error.name == name and error.reason else 'broken'] += 1
        except Exception:
            found['broken'] += 1
        found['slowest'] = max(found['slowest'], time.perf_counter() - start)
    return found | {'peak_mb': children.peak_mb()}


def main():
    options = common.arguments('Damaged image files.', images=10_000, seed=0)
    found = small_run.aside(decode_all, options.images, options.seed)  # a crash is the fork's own
    row = {
        'fault': 'an image file changed at random', 'tried': options.images,
        'survived': found['decoded'] + found['refused'], 'decoded': found['decoded'],
        'refused by name': found['refused'], 'slowest, s': found['slowest'],
        'peak, MB': found['peak_mb'],
    }
    common.report(
        'soak_images', [row], out=options.out, notes=(*NOTES, f'Seed {options.seed}.'),
        title='Damaged image files',
    )


if __name__ == '__main__':
    main()
