"""The distribution that images of a class begin from, against images of a known one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from generation import priors


def keys(count):
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(1), jnp.arange(count))


def images_of(shades):
    return np.asarray(np.clip(np.round((shades + 1) * 127.5), 0, 255), np.uint8)


@pytest.fixture(scope='module')
def many():
    """(uint8 images 8x8, labels, means of the classes, covariance of 4x4 blocks of 2x2)."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], (400, 300, 100))
    means = rng.uniform(-0.4, 0.4, (3, 8, 8, 3))
    root = 0.12 * rng.standard_normal((48, 48)) / 48**0.5
    coarse = (rng.standard_normal((len(labels), 48)) @ root.T).reshape(-1, 4, 4, 3)
    fine = 0.1 * rng.standard_normal((len(labels), 4, 2, 4, 2, 3))
    fine -= fine.mean(axis=(2, 4), keepdims=True)  # no block's mean is moved by it
    around = fine.reshape(-1, 8, 8, 3) + coarse.repeat(2, axis=1).repeat(2, axis=2)
    return images_of(means[labels] + around), labels, means, root @ root.T


def test_a_fit_has_the_mean_and_the_covariance_of_a_class(many):
    images, labels, means, covariance = many
    prior = priors.fit(images, labels, 3)
    assert prior.mean.shape == (3, 8, 8, 3) and prior.mean.dtype == np.float32
    for label in range(3):
        exact = images[labels == label].mean(axis=0) / 127.5 - 1
        np.testing.assert_allclose(prior.mean[label], exact, atol=1e-5)
    found = prior.root @ prior.root.T
    size = np.sqrt(np.outer(covariance.diagonal(), covariance.diagonal()))
    assert (np.abs(found - covariance) / size).max() < 5 / 797**0.5


def test_what_is_drawn_has_them_too(many):
    images, labels, _, _ = many
    prior = priors.fit(images, labels, 3)
    drawn = np.asarray(priors.draw(prior, jnp.full(4000, 1), keys(4000)))
    assert drawn.shape == (4000, 8, 8, 3)
    np.testing.assert_allclose(drawn.mean(axis=0), prior.mean[1], atol=0.02)
    about = drawn - prior.mean[1]
    np.testing.assert_allclose(about[:, ::2, ::2], about[:, 1::2, 1::2], atol=1e-6)  # one a block
    coarse = about[:, ::2, ::2].reshape(len(drawn), -1)
    np.testing.assert_allclose(np.cov(coarse.T), prior.root @ prior.root.T, atol=2e-3)


def test_an_image_is_its_own_key_s_and_class_s(many):
    images, labels, _, _ = many
    prior = priors.fit(images, labels, 3)
    drawn = np.asarray(priors.draw(prior, jnp.array([0, 1, 2, 0]), keys(4)))
    alone = np.asarray(priors.draw(prior, jnp.array([2]), keys(4)[2:3]))
    np.testing.assert_allclose(drawn[2:3], alone, atol=1e-6)
    other = np.asarray(priors.draw(prior, jnp.array([1]), keys(4)[2:3]))
    np.testing.assert_allclose(other - alone, prior.mean[1:2] - prior.mean[2:], atol=1e-6)


@pytest.mark.parametrize('shape', [(1, 3), (2, 1), (6, 3), (7, 3), (32, 3)])
def test_one_image_a_class_and_any_size_will_do(shape):
    side, channels = shape
    images = np.full((2, side, side, channels), [[[[51]]], [[[204]]]], np.uint8)
    prior = priors.fit(images, np.array([0, 1]), 2)
    drawn = np.asarray(priors.draw(prior, jnp.array([0, 1] * 8), keys(16)))
    assert drawn.shape == (16, side, side, channels)
    np.testing.assert_allclose(drawn[::2], -0.6, atol=0.01)
    np.testing.assert_allclose(drawn[1::2], 0.6, atol=0.01)


def test_of_a_large_class_some_images_from_all_over_it_are_enough():
    """Names begin with a day, or a person: the first are no sample."""
    images = np.zeros((2 * priors.MOST, 4, 4, 1), np.uint8)
    images[1::2] = 128  # every other is left out
    images[priors.MOST :: 2] = 255
    prior = priors.fit(images, np.zeros(len(images), int), 1)
    np.testing.assert_array_equal(prior.mean, 0)
