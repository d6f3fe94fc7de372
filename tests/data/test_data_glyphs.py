import numpy as np
import pytest

from data import glyphs


def test_an_image_depends_on_seed_split_and_index_alone():
    train, again = glyphs.Glyphs('train', seed=3), glyphs.Glyphs('train', seed=3)
    again[7]  # whatever was drawn before
    np.testing.assert_array_equal(train[5]['image'], again[5]['image'])
    for other in (glyphs.Glyphs('train', seed=4), glyphs.Glyphs('test', seed=3)):
        assert (train[5]['image'] != other[5]['image']).any()
    assert (train[5]['image'] != train[6]['image']).any()


@pytest.fixture(scope='module')
def grey():
    """The test images without their colours, [37, 100, 16, 16]: class by class."""
    test = glyphs.Glyphs('test')
    images = np.stack([test[i]['image'].mean(-1) for i in range(len(test))])
    return images.reshape(37, 100, 16, 16)


def test_each_class_shows_its_letter(grey):
    """The mean of its images is darkest where its letter is, and no other letter fits as well."""
    means = grey.mean(1)
    rng = np.random.default_rng(0)
    inks = np.stack([
        np.mean([glyphs._ink_mask(name, 16, rng) for _ in range(20)], axis=0)
        for name in glyphs.CLASS_NAMES
    ])
    images = *(means.mean(0) - means), *(inks - inks.mean(0))
    fit = np.corrcoef([image.ravel() for image in images])[:37, 37:]
    assert (fit.argmax(1) == np.arange(37)).all() and np.diag(fit).min() > 0.8


def test_the_ground_is_most_of_an_image(grey):
    """What tells classes apart is a small share of the images' variance."""
    level = grey - grey.mean((2, 3), keepdims=True)
    assert 0.02 < level.mean(1).var(0).sum() / level.var((0, 1)).sum() < 0.2


@pytest.mark.parametrize('size', [16, 32, 64])
def test_the_ground_is_as_coarse_at_every_size(size):
    rng, shift = np.random.default_rng(0), size // 16 * 2  # an eighth of the side
    rough = np.stack([glyphs._roughness(size, rng) for _ in range(100)])
    np.testing.assert_allclose(rough.std((1, 2)), 1)
    assert abs(rough.mean()) < 1e-9  # neither lighter nor darker
    neighbours = (rough * np.roll(rough, shift, axis=1)).mean()
    # Of white noise between two blurs, in the plane: a sum of three Gaussians, at 2 of 16 pixels.
    powers = ((1, 1.3**2), (-2, (1.3**2 + 4**2) / 2), (1, 4**2))
    expected = [sum(c / a * np.exp(-(r**2) / (4 * a)) for c, a in powers) for r in (2, 0)]
    assert neighbours == pytest.approx(expected[0] / expected[1], abs=0.04)
