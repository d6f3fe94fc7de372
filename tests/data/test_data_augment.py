"""Each operation against Pillow's, on photographs, digits and glyphs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_digits, load_sample_images

from data import augment, glyphs

STRENGTHS = (0.3, -0.3, 1.0, -1.0, 0.03)
MIDDLE = (128, 128, 128)


def affine(*matrix):
    return lambda image: image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=MIDDLE
    )


def pillow(name, s, image):
    """What Pillow makes of an image at this strength, with torchvision's ranges."""
    enhancers = {
        'brightness': ImageEnhance.Brightness, 'color': ImageEnhance.Color,
        'contrast': ImageEnhance.Contrast, 'sharpness': ImageEnhance.Sharpness,
    }
    if name in enhancers:
        return enhancers[name](image).enhance(1 + 0.9 * s)
    side = image.size[0]
    return {
        'identity': lambda image: image,
        'shear_x': affine(1, 0.3 * s, 0, 0, 1, 0),
        'shear_y': affine(1, 0, 0, 0.3 * s, 1, 0),
        'translate_x': affine(1, 0, int(150 / 331 * s * side), 0, 1, 0),
        'translate_y': affine(1, 0, 0, 0, 1, int(150 / 331 * s * side)),
        'rotate': lambda image: image.rotate(
            30 * s, Image.Resampling.BILINEAR, fillcolor=MIDDLE
        ),
        'posterize': lambda image: ImageOps.posterize(image, 8 - round(4 * abs(s))),
        'solarize': lambda image: ImageOps.solarize(image, 255 * (1 - abs(s))),
        'autocontrast': ImageOps.autocontrast,
        'equalize': ImageOps.equalize,
    }[name](image)


@pytest.fixture(scope='module')
def images():
    """uint8 [N, 32, 32, 3]: photographs, a digit, a glyph, a flat image and noise of few levels."""
    photographs = [
        np.asarray(Image.fromarray(photograph[60:360, 120:420]).resize((32, 32)))
        for photograph in load_sample_images().images
    ]
    digit = np.uint8(load_digits().images[7] * 255 / 16).repeat(4, 0).repeat(4, 1)
    rest = [
        np.stack([digit] * 3, -1), glyphs.Glyphs('train', image_size=32)[5]['image'],
        np.full((32, 32, 3), 93), np.random.default_rng(0).integers(90, 140, (32, 32, 3)),
    ]
    return np.uint8([*photographs, *rest])


@pytest.fixture(scope='module')
def operate():
    return jax.jit(jax.vmap(augment.operate, (0, None, None)))


@pytest.mark.parametrize('name', augment.OPERATIONS)
def test_an_operation_is_pillows(name, images, operate):
    for s in STRENGTHS:
        found = operate(jnp.float32(images), augment.OPERATIONS.index(name), s)
        assert found.shape == images.shape
        for one, image in zip(np.asarray(found), images, strict=True):
            expected = np.asarray(pillow(name, s, Image.fromarray(image)), float)
            np.testing.assert_allclose(one, expected, atol=1, err_msg=f'{name} {s}')


def test_small_images_are_equalized_as_pillow_does(images):
    small = images[:, :20, :20]
    found = jax.jit(jax.vmap(augment.COLOURS['equalize'], (0, None)))(jnp.float32(small), 1.0)
    expected = [np.asarray(ImageOps.equalize(Image.fromarray(image))) for image in small]
    np.testing.assert_array_equal(found, expected)


def grey_square(image):
    """(top, left, height, width) of the places that are mid grey in a white image."""
    rows, columns = np.nonzero((image == 0).all(-1))
    assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    return rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1


@pytest.fixture(scope='module')
def cut():
    white = jnp.ones((64, 16, 16, 3))
    keys = jax.random.split(jax.random.key(0), 64)
    return np.asarray(augment.rand_augment(keys, white, ops=0, magnitude=9, cutout=0.25))


def test_cutout_is_a_grey_square_about_any_place(cut):
    squares = np.array([grey_square(image) for image in cut])
    assert squares[:, 2:].max() == 4 and squares[:, 2:].min() >= 2
    inside = (squares[:, :2] > 0).all(1) & (squares[:, :2] < 12).all(1)
    assert (squares[inside, 2:] == 4).all() and 20 < inside.sum() < 64
    assert len({tuple(square) for square in squares}) > 40


def test_rand_augment_depends_on_the_images_key_alone(images):
    batch = augment.to_float(jnp.asarray(images))
    keys = jax.random.split(jax.random.key(1), len(images))
    options = {'ops': 2, 'magnitude': 9, 'cutout': 0.25}
    rand_augment = jax.jit(lambda keys, batch: augment.rand_augment(keys, batch, **options))
    whole = np.asarray(rand_augment(keys, batch))
    assert whole.dtype == np.float32 and np.abs(whole).max() <= 1
    np.testing.assert_allclose(whole[::-1], rand_augment(keys[::-1], batch[::-1]), atol=1e-6)
    assert not np.allclose(whole, rand_augment(jax.random.split(keys[0], len(images)), batch))


def test_rand_augment_is_the_same_one_by_one_and_all_at_once(monkeypatch):
    """As a CPU does it and as a GPU does, but for roundings to the next grey level."""
    some = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3)) / 127.5 - 1
    keys = jax.random.split(jax.random.key(3), 64)

    def made(backend):
        monkeypatch.setattr(jax, 'default_backend', lambda: backend)
        work = jax.jit(lambda keys, images: augment.rand_augment(  # a program of its own
            keys, images, ops=2, magnitude=9.0, cutout=0.5))
        return np.asarray(work(keys, some.astype(np.float32)))

    apart = np.abs(made('cpu') - made('gpu'))
    assert apart.max() < 0.008 and (apart > 0).mean() < 1e-3


def test_rand_augment_draws_every_operation_at_its_strength(images):
    """One operation an image, of a photograph: each is one of those that `operate` makes at 0.3."""
    batch = jnp.broadcast_to(augment.to_float(jnp.asarray(images[0])), (64, 32, 32, 3))
    keys = jax.random.split(jax.random.key(2), 64)
    draw = functools.partial(augment.rand_augment, ops=1, magnitude=9, cutout=0)
    found = jax.jit(draw)(keys, batch)
    which, strengths = np.divmod(np.arange(2 * len(augment.OPERATIONS)), 2)
    operate = jax.jit(jax.vmap(augment.operate, (None, 0, 0)))
    known = operate(jnp.float32(images[0]), which, jnp.float32(0.6 * strengths - 0.3))
    gaps = np.abs((np.asarray(found)[:, None] + 1) * 127.5 - known).mean((2, 3, 4))
    assert (gaps.min(1) < 0.1).all()
    drawn = which[gaps.argmin(1)]
    assert len(set(drawn)) >= len(augment.OPERATIONS) - 4  # some look like the identity
    assert len(set(gaps.argmin(1))) > 12  # both directions
    one_way = {'identity', 'posterize', 'solarize', 'autocontrast', 'equalize'}
    two_ways = [i for i, name in enumerate(augment.OPERATIONS) if name not in one_way]
    upwards = gaps.argmin(1)[np.isin(drawn, two_ways)] % 2
    assert len(upwards) > 30 and 0.3 < upwards.mean() < 0.7  # each as often


SQUARE = np.random.default_rng(5).uniform(-1, 1, (8, 8, 3)).astype('f4')


def similar(degrees=0.0, zoom=1.0, offset=(0.0, 0.0)):
    matrix = augment._similarity(degrees, zoom, jnp.array(offset), 8, 8)
    return np.asarray(augment._warp(SQUARE, matrix, fill=None))


def test_a_quarter_turn_is_clockwise():
    np.testing.assert_allclose(similar(90.0), np.rot90(SQUARE, -1), atol=1e-5)
    np.testing.assert_allclose(similar(-180.0), np.rot90(SQUARE, 2), atol=1e-5)


def test_a_whole_shift_moves_pixels_and_repeats_the_edge():
    found = similar(offset=(2.0, -1.0))  # down, right
    np.testing.assert_allclose(found[2:, :-1], SQUARE[:-2, 1:], atol=1e-5)
    np.testing.assert_allclose(found[0, :-1], SQUARE[0, 1:], atol=1e-5)


def test_a_zoom_keeps_the_middle_and_interpolates():
    """At 3 the pixel p shows (p - 3.5) / 3 + 3.5, and a ramp a third of its slope."""
    ramp = jnp.broadcast_to(jnp.arange(8.0)[:, None, None], (8, 8, 1))
    matrix = augment._similarity(0.0, 3.0, jnp.zeros(2), 8, 8)
    found = augment._warp(ramp, matrix, fill=None)[:, 0, 0]
    np.testing.assert_allclose(found, (np.arange(8) - 3.5) / 3 + 3.5, atol=1e-5)


def turned(**fields):
    keys = jax.random.split(jax.random.key(0), 64)
    images = jnp.broadcast_to(SQUARE, (64, *SQUARE.shape))
    options = {'flip': True, 'shift': 0.2, 'probability': 0.7} | fields
    return (np.asarray(x) for x in augment.flip_shift(keys, images, **options))


def test_flip_and_shift_are_the_same_beside_a_turn():
    images, told = turned()
    beside, told_beside = turned(rotate=1e-4)
    np.testing.assert_allclose(beside, images, atol=1e-4)
    np.testing.assert_array_equal(told_beside[:, :3], told[:, :3])
    assert not told[:, 3:].any() and not told_beside[:, 4].any()


def test_flips_and_shifts_are_told():
    """Left-right, and down and right by what is told of two pixels at most."""
    images, told = turned()
    for image, (flipped, down, right) in zip(images, told[:, :3]):
        start = SQUARE[:, ::-1] if flipped else SQUARE
        start = np.pad(start, ((2, 2), (2, 2), (0, 0)), 'edge')
        top, left = 2 - round(2 * down), 2 - round(2 * right)
        np.testing.assert_array_equal(image, start[top : top + 8, left : left + 8])
    assert abs(told[:, 0].mean() - 0.35) < 0.2  # half of those with a flip
    assert len(np.unique(told[:, 1:3], axis=0)) > 15


def test_what_is_told_is_what_was_done():
    images, told = turned(rotate=20.0, scale=0.2, flip=False, shift=0.0)
    for image, (turn, zoom) in zip(images[:8], told[:8, 3:]):
        np.testing.assert_allclose(image, similar(20 * turn, 1.2**zoom), atol=1e-4)
    used = told[:, 3:] != 0
    assert np.abs(told).max() <= 1 and np.all(np.abs(used.mean(0) - 0.7) < 0.2)
    untouched = ~used.any(axis=1)
    assert untouched.any()
    np.testing.assert_allclose(images[untouched], np.broadcast_to(SQUARE, images.shape)[untouched],
                               atol=1e-5)


def test_no_place_or_colour_is_a_matrix_product():
    """Whose factors a TPU rounds to 8 bits by default: at 256 pixels a whole pixel off."""
    keys, batch = jax.random.split(jax.random.key(0), 2), jnp.zeros((2, 8, 8, 3))
    moved = lambda *args: augment.flip_shift(  # noqa: E731
        *args, flip=True, shift=0.1, rotate=9.0, scale=0.1
    )
    strong = lambda *args: augment.rand_augment(  # noqa: E731
        *args, ops=2, magnitude=9.0, cutout=0.25
    )
    for function in (moved, strong):
        assert 'dot_general' not in str(jax.make_jaxpr(function)(keys, batch))
