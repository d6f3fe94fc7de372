"""Copies are found however they were encoded, sized or mirrored; other images are left alone."""

import io
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from data import duplicates, sources, store

CORRELATION = 0.995


def pictures(n, side=32, seed=0):
    """Smooth colours: n pictures that no one would take for one another."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (n, 6, 6, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((side, side))) for one in small])


def find(parts, correlation, labels=None):
    """Of one class, unless there are labels."""
    labels = [np.zeros(len(part), np.int32) for part in parts] if labels is None else labels
    return duplicates.find(parts, labels, correlation)


def jpeg(image, quality=75):
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'JPEG', quality=quality)
    return np.asarray(Image.open(file))


def smaller(image):
    side = len(image)
    half = Image.fromarray(image).resize((side // 2, side // 2), Image.Resampling.LANCZOS)
    return np.asarray(half.resize((side, side), Image.Resampling.LANCZOS))


def darker(image):
    return (image * 0.8).astype(np.uint8)


COPIES = {
    'equal': lambda image: image, 'jpeg': jpeg, 'smaller': smaller, 'darker': darker,
    'mirrored': lambda image: image[:, ::-1], 'all': lambda image: jpeg(smaller(image[:, ::-1])),
}


@pytest.mark.parametrize('kind', COPIES)
def test_a_copy_in_another_part_is_found(kind):
    first, second = pictures(40), pictures(30, seed=1)
    second[7] = COPIES[kind](first[5])
    [(members, equal)] = find([first, second[:0], second], CORRELATION)
    assert members == [(0, 5), (2, 7)] and equal == (kind == 'equal')


def test_a_limit_of_one_finds_equal_pixels_only():
    first, second = pictures(40), pictures(30, seed=1)
    second[7], second[8] = jpeg(first[5]), first[6]
    found = find([first, second], 1)
    assert found == [([(0, 6), (1, 8)], True)]


def test_what_is_near_to_something_near_is_in_the_group():
    first, second = pictures(10), pictures(10, seed=1)
    shift = (pictures(1, seed=2)[0] / 255 - 0.5) * 20  # two of them go beyond the limit
    one, two, three = (np.clip(first[3] + k * shift, 0, 255).astype(np.uint8) for k in range(3))
    assert not find([one[None], three[None]], CORRELATION)
    second[1], second[2] = two, three
    assert [members for members, _ in find([first, second], CORRELATION)] == [
        [(0, 3), (1, 1), (1, 2)]
    ]


def test_a_scene_filmed_for_train_and_for_test_is_one_group():
    """More images that are alike than neighbours are looked at."""
    rng = np.random.default_rng(0)
    frames = (pictures(1)[0] * 0.9 + rng.uniform(0, 8, (60, 32, 32, 3))).astype(np.uint8)
    [(members, equal)] = find([frames[:30], frames[30:50], frames[50:]], CORRELATION)
    assert len(members) == 60 and not equal


def test_a_shared_colour_is_no_likeness():
    """Water, say: textures in one blue, whose thumbnails correlate by the blue."""
    grain = np.random.default_rng(0).normal(0, 20, (100, 64, 64, 1))
    water = np.clip((40, 60, 100) + grain, 0, 255).astype(np.uint8)
    shaped = np.clip((60, 90, 160) + (pictures(100, 64) / 255 - 0.5) * 24, 0, 255).astype(np.uint8)
    for images in (water, shaped):
        assert not find([images[:50], images[50:]], CORRELATION)
    copy = jpeg(shaped[3], 95)
    assert find([shaped, copy[None]], CORRELATION) == [([(0, 3), (1, 0)], False)]


def test_near_images_of_two_classes_are_left_alone_and_equal_ones_are_not():
    arrow = np.full((32, 32, 3), 255, np.uint8)
    arrow[13:19, 4:24] = arrow[8:24, 20:26] = 0
    images = np.stack([arrow, arrow[:, ::-1], jpeg(arrow), arrow])
    labels = np.array([0, 1, 0, 1])
    assert find([images[:3]], CORRELATION, [labels[:3]]) == [([(0, 0), (0, 2)], False)]
    [(members, equal)] = find([images], CORRELATION, [labels])
    assert members == [(0, 0), (0, 1), (0, 2), (0, 3)] and not equal
    assert find([images], 1, [labels]) == [([(0, 0), (0, 3)], True)]


def test_memory_does_not_grow_with_the_size_or_the_number_of_images():
    images = np.zeros((300, 256, 256, 3), np.uint8)
    images[:] = pictures(300, 8)[:, :1, :1]
    tracemalloc.start()
    find([images[:150], images[150:]], CORRELATION)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150e6  # as float32 the images would be 236 MB, twice


@pytest.mark.parametrize('source', ['glyphs', 'digits'])
def test_other_images_of_a_class_are_no_copies(source):
    pool, test = sources.open_source(source, image_size=16)
    rows = range(0, len(pool), 2 if test else 4)
    images, labels = np.stack([pool[i]['image'] for i in rows]), pool.labels[rows]
    cut = slice(None, None, 2), slice(1, None, 2)
    assert not find([images[one] for one in cut], CORRELATION, [labels[one] for one in cut])


def test_images_without_anything_on_them_are_only_compared_by_their_pixels():
    plain = (0, 0, 128, 255, (150, 20, 20), (120, 60, 60))
    flat = np.stack([np.full((16, 16, 3), value, np.uint8) for value in plain])
    noisy = flat[2:3] + np.random.default_rng(0).integers(0, 2, (5, 16, 16, 3), np.uint8)
    assert find([flat, noisy], CORRELATION) == [([(0, 0), (0, 1)], True)]


def test_rows_of_a_file_are_compared_like_arrays(tmp_path):
    images = pictures(20)
    images[11] = jpeg(images[2])
    np.save(tmp_path / 'images.npy', images)
    whole = np.load(tmp_path / 'images.npy', mmap_mode='r')
    parts = [store.Rows(whole, np.arange(0, 20, 2)), store.Rows(whole, np.arange(1, 20, 2))]
    assert find(parts, CORRELATION) == [([(0, 1), (1, 5)], False)]


def test_no_images_are_no_copies():
    none = np.zeros((0, 0, 0, 3), np.uint8)
    assert find([none, none], CORRELATION) == []


@pytest.mark.parametrize('side', [1, 2, 4, 10, 28])
def test_images_of_any_size(side):
    images = np.random.default_rng(0).integers(0, 256, (30, side, side, 3), np.uint8)
    images[20] = images[3]
    found = [members for members, _ in find([images[:15], images[15:]], 1 - 1e-6)]
    assert [(0, 3), (1, 5)] in found


def test_same_bytes_in_another_shape_are_another_image():
    image = np.zeros((2, 8, 3), np.uint8)
    assert duplicates.digest(image) != duplicates.digest(image.reshape(4, 4, 3))
