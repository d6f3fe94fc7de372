import re
import threading

import numpy as np
import pytest
from image_files import S, bomb, encode, flat
from PIL import Image

from data import decode, sources

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def test_unknown_source_lists_the_known_ones():
    with pytest.raises(ValueError, match='glyphs, digits, folder, tfds'):
        sources.open_source('mnist', image_size=S)


@pytest.mark.parametrize(
    'arguments',
    [
        {'name': 'folder'},
        {'name': 'digits', 'train': 'x'},
        {'name': 'digits', 'test': 'x'},
        {'name': 'digits', 'image_size': 0},
        {'name': 'tfds:'},
    ],
)
def test_contradictory_requests_are_refused(arguments):
    with pytest.raises(ValueError):
        sources.open_source(**{'image_size': S, **arguments})


@pytest.mark.parametrize('name', ['digits', 'glyphs'])
def test_built_in_sources_keep_the_protocol(name):
    pool, test = sources.open_source(name, image_size=16)
    assert (test is None) == (name == 'digits')
    item = pool[5]
    assert item['image'].shape == (16, 16, 3) and item['image'].dtype == np.uint8
    assert item['image'].max() > item['image'].min()
    assert item['label'] == pool.labels[5] and item['index'] == 5 and isinstance(item['name'], str)
    assert pool.labels.dtype == np.int32 and len(pool.labels) == len(pool)
    assert set(pool.labels) == set(range(len(pool.class_names)))


# Reading many -----------------------------------------------------------------------------------


def encoded(contents, names=None, called=lambda i: None):
    """A source of encoded images in memory; `called` is told of each that is read."""

    def read(i):
        called(i)
        return contents[i]

    names = names or tuple(map(str, range(len(contents))))
    return decode.EncodedSource(('cat',), np.zeros(len(contents), np.int32), names, S, read)


def test_photographs_are_read_in_order_by_several_threads(recwarn):
    photo = lambda k: encode(flat((3 * k, 0, 0), (1500, 1000)), 'WEBP')  # noqa: E731
    contents = [photo(k) for k in range(12)] + [bomb(12000, 9000)] + [photo(13)]
    threads = set()
    source = encoded(contents, called=lambda i: threads.add(threading.get_ident()))
    rows = [13, *range(13)]
    found = list(sources.read(source, rows))
    assert len(threads) > 1
    assert isinstance(found.pop(), decode.BadImage) and not recwarn.list
    assert [item['index'] for item in found] == rows[:-1]
    for i, item in zip(rows, found):
        np.testing.assert_array_equal(item['image'], source[i]['image'])


def test_small_images_are_read_by_one_thread(monkeypatch):
    monkeypatch.setattr(sources, '_SLOW', 10.0)  # whatever else the machine does
    threads = set()
    source = encoded([encode(flat())] * 80, called=lambda i: threads.add(threading.get_ident()))
    assert len(list(sources.read(source, range(80)))) == 80
    assert threads == {threading.get_ident()}


def test_nothing_to_read():
    assert list(sources.read(encoded([]), [])) == []


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (b'', 'an empty file'),
        (b'this is text', 'not a JPEG'),
        (encode(flat().convert('P'), 'GIF'), 'not a JPEG'),
        (encode(flat(), 'TIFF'), 'not a JPEG'),
        (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'not a JPEG'),
        (encode(NOISE, 'JPEG')[:2000], 'cannot be decoded'),
        (encode(NOISE)[:2000], 'cannot be decoded'),
        (encode(NOISE, 'WEBP')[:900], 'cannot be decoded'),
        (bomb(8192, 6145), 'over the limit'),
        (bomb(12000, 9000), 'over the limit'),  # Pillow would only warn
        (bomb(60000, 60000), 'cannot be decoded'),  # Pillow's own limit
        (bomb(100, 100), 'cannot be decoded'),
    ],
)
def test_bad_files_are_refused_by_name(content, reason, recwarn):
    source = encoded([content], names=('cat/x.png',))
    (error,) = sources.read(source, [0])
    assert isinstance(error, decode.BadImage) and not recwarn.list
    assert re.match('^cat/x.png: .*' + reason, str(error)) and '\n' not in str(error)
