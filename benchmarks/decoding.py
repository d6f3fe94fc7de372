"""How long do encoded images take until they lie in memory, decoded?

    python -m benchmarks.decoding [--side=32] [--rounds=3]

Made-up photographs of several sizes and formats, one after another and by `data.sources.read`,
which decodes what takes long in threads. In turns.
"""

import functools
import io

import numpy as np
from PIL import Image

from benchmarks import common
from data import sources
from data.decode import EncodedSource

# format, width and height, how many
KINDS = (
    ('JPEG', (4032, 3024), 60), ('WEBP', (1600, 1200), 60), ('PNG', (512, 384), 300),
    ('JPEG', (512, 384), 1000), ('JPEG', (64, 64), 4000),
)


def photographs(kind, size, count, side):
    """An `EncodedSource` of `count` made-up photographs, smooth in colour under some grain."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(40, 216, (12, 16, 3), np.uint8))
    pixels = np.asarray(smooth.resize(size, Image.Resampling.BICUBIC), np.float32)
    encoded = []
    for _ in range(min(count, 20)):  # the same few again and again: reading them is not the matter
        grain = rng.normal(0, 6, (*pixels.shape[:2], 1))
        buffer = io.BytesIO()
        Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8)).save(buffer, kind)
        encoded.append(buffer.getvalue())
    return EncodedSource(
        ('a',), np.zeros(count, np.int32), tuple(f'a/{i}' for i in range(count)), side,
        lambda i: encoded[i % len(encoded)],
    )


def measure(kinds, *, side, rounds):
    """[{'images', 'one by one, ms', 'read, ms' (both an image, medians), 'x one by one'}]."""
    rows = []
    for kind, size, count in kinds:
        source = photographs(kind, size, count, side)
        cases = {
            'one by one': functools.partial(_one_by_one, source),
            'read': functools.partial(_read, source),
        }
        times = common.interleaved(cases, rounds=rounds, repeats=1)
        one, read = (times[case]['median'] / count for case in cases)
        rows.append({
            'images': f'{count} {kind} of {size[0]}x{size[1]}', 'one by one, ms': one,
            'read, ms': read, 'x one by one': one / read,
        })
    return rows


def _one_by_one(source):
    for i in range(len(source)):
        source[i]


def _read(source):
    for item in sources.read(source, range(len(source))):
        if isinstance(item, Exception):
            raise item


def main():
    options = common.arguments('Decoding.', side=32, rounds=3)
    load = common.load()
    rows = measure(KINDS, side=options.side, rounds=options.rounds)
    common.report(
        'decoding', rows, out=options.out, title=f'Decoding to {options.side}x{options.side}',
        notes=('ms are of an image, medians', load),
    )


if __name__ == '__main__':
    main()
