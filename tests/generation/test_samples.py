"""What a run is told of its generator: planted copies, honest images, and where they are drawn."""

import numpy as np
import pytest
from PIL import Image

from generation import quality, samples

CLASSES, SHAPE = 3, (6, 6, 3)


def random_images(rng, n):
    return rng.integers(20, 236, (n, *SHAPE), np.uint8)


@pytest.fixture
def reference():
    rng = np.random.default_rng(0)
    labels, held_labels = np.arange(60) % CLASSES, np.arange(20) % CLASSES
    return quality.Reference(
        random_images(rng, 60), labels, rng.normal(size=(60, 4)),
        random_images(rng, 20), held_labels, rng.normal(size=(20, 4)),
    )


def make(folder, reference, copied=0, said=None, **changes):
    """A watch over a generator whose first `copied` images are training images."""
    asked = []

    def draw(params, labels, seeds):
        asked.append((labels, seeds))
        images = random_images(np.random.default_rng(1), len(labels))
        images[:copied] = reference.images[:copied]
        images[0, 0, 0] = params
        return images

    def judge(images, labels):  # right about all but the first
        probabilities = np.eye(CLASSES)[labels]
        probabilities[0] = np.roll(probabilities[0], 1)
        return probabilities, images.reshape(len(images), -1)[:, :4] / 255

    options = {'num_classes': CLASSES, 'each': 4, 'first_step': 5, 'copy_ratio': 1 / 3,
               'max_copy_rate': 0.2} | changes
    watch = samples.make_watch(
        folder, draw, judge, reference, lambda a, b, of_a, of_b: float(len(of_a) * len(of_b)),
        say=(said if said is not None else []).append, **options,
    )
    return watch, asked


def test_an_honest_sample(tmp_path, reference):
    said = []
    watch, asked = make(tmp_path, reference, said=said)
    row, loss = watch(7, 5)
    assert row == {'sample_copy_rate': 0.0, 'sample_accuracy': pytest.approx(11 / 12),
                   'real_heldout_copy_rate': 0.0, 'sample_kernel_distance': 240.0}
    assert loss == 240.0 and said == []
    np.testing.assert_array_equal(asked[0][0], np.arange(12) % CLASSES)
    np.testing.assert_array_equal(asked[0][1], np.arange(12))  # class = seed % classes, as in fill
    assert 'real_heldout_copy_rate' not in watch(7, 10)[0]
    assert watch(7, 10) == watch(7, 10)


def test_the_alarm_is_one_line_and_rules_the_step_out(tmp_path, reference):
    said = []
    row, loss = make(tmp_path, reference, 3, said)[0](7, 10)
    assert row['sample_copy_rate'] == 3 / 12 and loss == np.inf
    assert said == [f'  {row["alarm"]}'] and '\n' not in row['alarm']
    assert '25.0%' in row['alarm'] and 'step 10' in row['alarm'] and '0.0%' in row['alarm']
    row, loss = make(tmp_path, reference, 3, max_copy_rate=0.25)[0](7, 10)  # not above it
    assert 'alarm' not in row and loss == 240.0


def test_real_images_that_look_like_copies_raise_the_bar(tmp_path, reference):
    """A set of near repeats: the sample must hold over twice as many copies as real images do."""
    reference.held_out_images[:3] = reference.images[:3]  # 15% of 20
    for copied, alarmed in ((3, False), (4, True)):  # 25%, 33% of 12
        assert ('alarm' in make(tmp_path, reference, copied)[0](7, 5)[0]) == alarmed


def test_one_validation_image_gives_no_distance(tmp_path, reference):
    one = quality.Reference(
        reference.images, reference.labels, reference.features, reference.held_out_images[:1],
        reference.held_out_labels[:1], reference.held_out_features[:1],
    )
    row, loss = make(tmp_path, one)[0](7, 10)
    assert 'sample_kernel_distance' not in row and loss == np.inf


def test_one_image_of_the_only_validation_class_gives_no_distance(tmp_path, reference):
    one = quality.Reference(
        reference.images, reference.labels, reference.features, reference.held_out_images[::3],
        reference.held_out_labels[::3], reference.held_out_features[::3],
    )
    row, loss = make(tmp_path, one, each=1)[0](7, 10)
    assert 'sample_kernel_distance' not in row and loss == np.inf
    assert 'sample_kernel_distance' in make(tmp_path, one, each=2)[0](7, 10)[0]


def test_the_sheet_has_a_column_a_class(tmp_path, reference):
    watch, _ = make(tmp_path, reference)
    watch(7, 1000)
    with Image.open(tmp_path / 'samples' / 'step_00001000.png') as image:
        pixels = np.asarray(image)
    side = samples.TILE // 6 * 6 + 2
    assert pixels.shape == (4 * side, 3 * side, 3)
    assert tuple(pixels[1, 1]) == (7, 7, 7)


def test_a_sheet_that_is_not_full_ends_in_white():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 64, 64, 3), np.uint8)
    found = samples.sheet(images, 3)
    assert found.shape == (132, 198, 3)
    middles = found[33::66, 33::66, 0]
    np.testing.assert_array_equal(middles, [[0, 1, 2], [3, 4, 255]])
