import io
import threading
import time
from concurrent import futures

import numpy as np
import pytest
from image_files import S, encode, flat
from PIL import Image

from data import decode


def decoded(image, kind='PNG', size=S, **options):
    return decode.decode(encode(image, kind, **options), 'x', size)


def test_same_size_is_untouched_and_the_centre_is_kept():
    pixels = np.random.default_rng(0).integers(0, 256, (S, S, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decoded(Image.fromarray(pixels)), pixels)
    wide = np.zeros((S, 3 * S, 3), np.uint8)
    wide[:, S : 2 * S] = pixels
    np.testing.assert_array_equal(decoded(Image.fromarray(wide)), pixels)


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'WEBP', 'BMP'])
@pytest.mark.parametrize('size', [(1, 1), (300, 200), (7, 900)])
def test_any_size_becomes_one_square(kind, size):
    image = decoded(flat((200, 100, 50), size), kind)
    assert image.shape == (S, S, 3) and image.dtype == np.uint8
    np.testing.assert_allclose(image, np.broadcast_to([200, 100, 50], image.shape), atol=6)


def test_exif_orientation_is_applied():
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255  # white above; orientation 3 is upside down
    exif = Image.Exif()
    exif[0x0112] = 3
    image = decoded(Image.fromarray(pixels), 'JPEG', exif=exif, quality=95)
    assert image[0].mean() < 30 and image[-1].mean() > 225


@pytest.mark.filterwarnings('ignore:Corrupt EXIF')
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP'])
@pytest.mark.parametrize('exif', [b'Exif\0\0garbage', b'Exif\0\0MM\0*\0\0\0\x08\xff\xff'])
def test_damaged_exif_is_of_no_matter(kind, exif):
    np.testing.assert_allclose(decoded(flat((9, 9, 9)), kind, exif=exif), 9, atol=1)


def test_sixteen_bits_are_scaled():
    grey = Image.fromarray(np.full((9, 9), 32768, np.uint16))
    assert grey.mode == 'I;16'
    np.testing.assert_array_equal(decoded(grey), 128)
    white = Image.fromarray(np.full((9, 9), 65535, np.uint16))
    np.testing.assert_array_equal(decoded(white), 255)


def test_transparency_lies_on_white():
    clear_red = flat((255, 0, 0, 0), mode='RGBA')
    np.testing.assert_array_equal(decoded(clear_red), 255)
    np.testing.assert_array_equal(decoded(flat((0, 0), mode='LA')), 255)
    half = decoded(flat((0, 0, 0, 128), mode='RGBA'))
    np.testing.assert_allclose(half, 127, atol=1)
    palette = flat((10, 20, 30)).quantize(4)
    np.testing.assert_array_equal(decoded(palette)[0, 0], [10, 20, 30])
    np.testing.assert_array_equal(decoded(palette, transparency=palette.getpixel((0, 0))), 255)
    np.testing.assert_array_equal(decoded(flat(7, mode='L'), transparency=7), 255)
    deep = Image.fromarray(np.full((9, 9), 2570, np.uint16))
    np.testing.assert_array_equal(decoded(deep, transparency=2570), 255)
    np.testing.assert_array_equal(decoded(deep, transparency=2571), 10)


def test_other_modes_become_rgb():
    np.testing.assert_allclose(
        decoded(flat((0, 255, 255, 0), mode='CMYK'), 'JPEG')[0, 0], [255, 0, 0], atol=4
    )
    np.testing.assert_array_equal(decoded(flat(77, mode='L')), 77)
    np.testing.assert_array_equal(decoded(flat(1, mode='1')), 255)


@pytest.mark.parametrize('kind', ['PNG', 'WEBP'])
def test_animations_are_refused(kind):
    frames = [flat((80 * i, 0, 0)) for i in range(3)]
    content = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(decode.BadImage, match=r'^cat/a.png: animated \(3 frames\)'):
        decode.decode(content, 'cat/a.png', S)


def test_a_phone_photo_with_a_preview_is_one_still():
    image = decoded(flat((200, 0, 0)), 'MPO', save_all=True, append_images=[flat((0, 0, 200))])
    np.testing.assert_allclose(image[0, 0], [200, 0, 0], atol=4)


def test_of_a_progressive_photograph_all_pixels_count(monkeypatch):
    """The decoder holds them all, however small the image that is asked for."""
    asked = []
    room = decode._room
    monkeypatch.setattr(decode, '_room', lambda pixels: (asked.append(pixels), room(pixels))[1])
    for options in ({}, {'progressive': True}):
        decoded(flat(size=(800, 800)), 'JPEG', **options)
    assert asked == [100 * 100, 800 * 800]


def test_threads_decode_no_more_pixels_at_once_than_one_image_may_have(monkeypatch):
    now, most, lock = [], [], threading.Lock()

    def load(image, side):
        with lock:
            now.append(image.width * image.height)
            most.append(sum(now))
        time.sleep(0.01)
        with lock:
            now.remove(image.width * image.height)

    monkeypatch.setattr(decode, '_to_square', load)
    monkeypatch.setattr(decode, 'MAX_PIXELS', 1000)
    sizes = [(30, 30), (20, 20), (10, 50), (10, 10)] * 8
    contents = [encode(flat(size=size)) for size in sizes]
    with futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda data: decode.decode(data, 'x', S), contents))
    assert len(most) == len(sizes) and 900 < max(most) <= 1000


def test_no_image_is_to_blame_where_memory_is_short(monkeypatch):
    def fail(image, side):
        raise MemoryError
    monkeypatch.setattr(decode, '_to_square', fail)
    with pytest.raises(MemoryError):
        decoded(flat())


def test_a_jpeg_is_not_decoded_smaller_than_it_will_be():
    """Pillow can decode a half or an eighth of a JPEG, which is faster and blurs."""
    rows, columns = np.mgrid[:256, :256]
    board = np.where((columns // 4 + rows // 4) % 2, 255, 0).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.stack([board] * 3, axis=-1)).save(file, 'JPEG', quality=95)
    assert decode.decode(file.getvalue(), 'x', 64).std() > 40
