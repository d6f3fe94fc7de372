import io

import numpy as np
import pytest
from PIL import Image

from eval import figures
from train.arms import ARMS

NAMES = ['<b>&"x', '$not_math', 'a' * 60]
COUNTS = np.array([5, 40, 12])


def opened(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.format == 'PNG'
    return image


@pytest.mark.parametrize('png', [
    lambda: figures.class_counts(NAMES, COUNTS),
    lambda: figures.class_counts(NAMES, COUNTS, 40 - COUNTS),
    lambda: figures.per_class_f1(NAMES, COUNTS, {'original': np.zeros(3), 'augmented': np.ones(3)}),
    lambda: figures.confusion_matrices(NAMES, COUNTS, {'original': np.zeros((3, 3), int),
                                                       'augmented': np.eye(3)}),
    lambda: figures.generator_curve([[{'step': i, 'loss': 1 / (i + 1)} for i in range(90)]
                                     + [{'step': 50, 'val_loss': 0.1}]]),
    lambda: figures.generator_curve([[{'step': 1, 'loss': float('nan')}], []]),
    lambda: figures.classifier_curves(
        {'original': [[{'step': 1, 'loss': 2.0}, {'step': 1, 'val_loss': 2.1, 'val_accuracy': 0.2}],
                      []]}),
    lambda: figures.reliability({arm: {'images': np.array([0, 30, 5]), 'accuracy': np.ones(3),
                                       'confidence': np.ones(3)} for arm in ('$a', 'b')}),
], ids=['counts', 'counts-synthetic', 'f1', 'confusion', 'generator', 'generator-nan', 'curves',
        'reliability'])
def test_figures_are_pictures_of_readable_size(png):
    width, height = opened(png()).size
    assert 400 < width < 2000 and 100 < height < 1500


def test_every_arm_has_a_colour_of_its_own():
    assert len(set(figures.COLORS)) >= len(ARMS)


def test_a_figure_grows_with_the_classes():
    names = [f'class {i}' for i in range(20)]
    small = opened(figures.class_counts(names[:5], np.arange(5)))
    large = opened(figures.class_counts(names, np.arange(20)))
    assert large.height > small.height + 15 * 12


def test_by_count_is_stable():
    assert figures.by_count([3, 9, 3, 1]).tolist() == [1, 0, 2, 3]


def test_sheet_shows_each_class_in_its_row_and_half():
    pixels = np.arange(6, dtype=np.uint8)[:, None, None, None] * 40 + np.zeros((6, 16, 16, 3), 'u1')
    labels = np.array([0, 0, 1, 1, 2, 2])
    page = opened(figures.sheet(pixels, labels, 255 - pixels, labels, NAMES, k=2, tile=64))
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
    page = np.asarray(opened(figures.sheet(images, [0], images, [0], ['a'], k=1)))
    tile = page[26:26 + 64, -66:-2]
    assert set(np.unique(tile)) == {0, 255}
    large = np.zeros((1, 512, 512, 3), np.uint8)
    assert opened(figures.sheet(large, [0], large, [0], ['a'], k=1)).height < 200


def test_sheet_takes_rows_in_order_and_classes_without_images():
    images = np.zeros((1, 16, 16, 3), np.uint8)
    page = opened(figures.sheet(images, [1], images[:0], [], NAMES, classes=[1, 0], k=3))
    assert page.height == 26 + 2 * 66


@pytest.mark.parametrize('count', [1, 4])
def test_copies_show_each_image_beside_its_neighbours(count):
    shades = np.arange(3 * count, dtype=np.uint8).reshape(count, 3) * 10 + 7
    tiles = np.broadcast_to(shades[:, :, None, None, None], (count, 3, 16, 16, 3))
    page = np.asarray(opened(figures.copies(
        tiles[:, 0], tiles[:, 1:], [0.1] * count, ['pixels'] * count, ['$a'] * count,
        [False] * count)))
    corners = [page[26 + k // 3 * 112 + 20, 10 + k % 3 * 228 + i * 66 + 20]
               for k in range(count) for i in range(3)]
    np.testing.assert_array_equal(np.array(corners)[:, 0], shades.ravel())
    assert page.shape[0] == 26 + 112 * (1 if count == 1 else 2)


def test_rejected_images_stand_in_the_row_of_their_reason():
    def tiles(*shades):
        return [(NAMES[2], np.full((16, 16, 3), shade, np.uint8)) for shade in shades]
    page = np.asarray(opened(figures.rejected({'copy\n2 in all': tiles(10, 20),
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
        figures.sheet(np.zeros((1, 4, 4, 3)), [0], np.zeros((1, 4, 4, 3)), [0], ['a'])
