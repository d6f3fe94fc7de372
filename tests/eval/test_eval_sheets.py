import io

import numpy as np
import pytest
from PIL import Image

from eval import sheets

NAMES = ['<b>&"x', '$not_math', 'a' * 60]


def opened(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.format == 'PNG'
    return image


def test_sheet_shows_each_class_in_its_row_and_half():
    pixels = np.arange(6, dtype=np.uint8)[:, None, None, None] * 40 + np.zeros((6, 16, 16, 3), 'u1')
    labels = np.array([0, 0, 1, 1, 2, 2])
    page = opened(sheets.sheet(pixels, labels, 255 - pixels, labels, NAMES, k=2, tile=64))
    page = np.asarray(page)
    right, pitch, top = page.shape[1] - 2 * 66, 66, 26
    left = right - 14 - 2 * pitch
    assert page.shape[0] == top + 3 * pitch
    for i in range(6):
        y, x = top + (i // 2) * pitch, (i % 2) * pitch
        assert (page[y:y + 64, left + x:left + x + 64] == 40 * i).all()
        assert (page[y:y + 64, right + x:right + x + 64] == 255 - 40 * i).all()


def test_sheet_enlarges_without_blur_and_shrinks_large_images():
    checker = np.indices((16, 16)).sum(0) % 2 * 255
    images = np.repeat(checker[None, ..., None].astype(np.uint8), 3, axis=-1)
    page = np.asarray(opened(sheets.sheet(images, [0], images, [0], ['a'], k=1)))
    tile = page[26:26 + 64, -66:-2]
    assert set(np.unique(tile)) == {0, 255}
    large = np.zeros((1, 512, 512, 3), np.uint8)
    assert opened(sheets.sheet(large, [0], large, [0], ['a'], k=1)).height < 200
    between = np.repeat(np.indices((96, 96)).sum(0)[None, ..., None] % 2 * 255, 3, axis=-1)
    page = np.asarray(opened(sheets.sheet(*2 * (between.astype(np.uint8), [0]), ['a'], k=1)))
    assert (page[26:26 + 96, -98:-2] == between[0]).all()  # as it is, not some pixels twice


def test_sheet_takes_rows_in_order_and_classes_without_images():
    images = np.zeros((1, 16, 16, 3), np.uint8)
    page = opened(sheets.sheet(images, [1], images[:0], [], NAMES, classes=[1, 0], k=3))
    assert page.height == 26 + 2 * 66


@pytest.mark.parametrize('count', [1, 4])
def test_copies_show_each_image_beside_its_neighbours(count):
    shades = np.arange(3 * count, dtype=np.uint8).reshape(count, 3) * 10 + 7
    tiles = np.broadcast_to(shades[:, :, None, None, None], (count, 3, 16, 16, 3))
    page = np.asarray(opened(sheets.copies(
        tiles[:, 0], tiles[:, 1:], [0.1] * count, ['pixels'] * count, ['$a'] * count,
        [False] * count)))
    corners = [page[26 + k // 3 * 112 + 20, 10 + k % 3 * 228 + i * 66 + 20]
               for k in range(count) for i in range(3)]
    np.testing.assert_array_equal(np.array(corners)[:, 0], shades.ravel())
    assert page.shape[0] == 26 + 112 * (1 if count == 1 else 2)


def test_rejected_images_stand_in_the_row_of_their_reason():
    def tiles(*shades):
        return [(NAMES[2], np.full((16, 16, 3), shade, np.uint8)) for shade in shades]
    page = np.asarray(opened(sheets.named({'copy\n2 in all': tiles(10, 20),
                                              'far\n900 in all': tiles(30, 40, 50)})))
    left = page.shape[1] - 3 * 70
    for row, shades in enumerate([(10, 20), (30, 40, 50)]):
        for column, shade in enumerate(shades):
            y, x = 8 + row * 90, left + column * 70
            assert (page[y:y + 64, x:x + 64] == shade).all()
            assert (page[y:y + 90, x + 64:x + 70] == 255).all()  # no name runs into the next
            assert (page[y + 64:y + 90, x:x + 64] < 255).any()
    assert (page[8:72, left + 140:] == 255).all()  # the first row is shorter


def test_sheet_refuses_floats():
    with pytest.raises(ValueError, match='uint8'):
        sheets.sheet(np.zeros((1, 4, 4, 3)), [0], np.zeros((1, 4, 4, 3)), [0], ['a'])
