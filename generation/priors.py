"""A normal distribution of x_0 for the noise that drawing starts from (Lin et al. 2023).

There, at sigma / alpha = 30 (`samplers.SIGMA_MAX`), noise hides every pixel, but not what many
pixels share: the mean of the 3,072 values of a 32x32 image has noise of 0.5 in it, and images
differ by 0.3 in their brightness. An image begun from noise alone would be one of an average of
black and white, and comes out greyer than its class, the more so the larger it is (arXiv
2305.08891). So it is begun from the normal distribution with the mean of its class's training
images and one covariance of 4x4 block means, of what differs within a class, for all classes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

GRID = 4  # blocks a side of the coarse images
MOST = 500  # images of a class that are looked at, evenly spread over all


class Prior(NamedTuple):
    """x_0 of each class: its mean, and a normal distribution about it.

    mean: [classes, H, W, C] in [-1, 1].
    root: [D, D], a Cholesky factor of the covariance of coarse images within a class, which all
        classes share; D is the blocks of an image times C.
    """

    mean: np.ndarray
    root: np.ndarray


def fit(images, labels, num_classes):
    """The `Prior` of training images uint8 [N, H, W, C], some of every class."""
    means, spread, freedom = [], np.zeros(()), 0
    for label in range(num_classes):
        rows = np.flatnonzero(labels == label)
        shades = images[rows[:: -(-len(rows) // MOST)]].astype(np.float32) / 127.5 - 1
        means.append(shades.mean(axis=0))
        coarse = _coarse(shades).astype(np.float64)
        away = coarse - coarse.mean(axis=0)
        spread, freedom = spread + away.T @ away, freedom + len(away) - 1
    covariance = spread / max(freedom, 1)
    # of few images it is singular: some 0.1 grey levels make it definite
    root = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(covariance)))
    return Prior(np.stack(means), root.astype(np.float32))


def draw(prior, labels, keys):
    """One x_0 of the prior per label [B] and key [B]: [B, H, W, C] about [-1, 1]."""
    _, height, width, channels = prior.mean.shape
    blocks = _blocks(height), _blocks(width)
    normal = jax.vmap(lambda key: jax.random.normal(key, prior.root.shape[:1]))(keys)
    coarse = (normal @ prior.root.T).reshape(len(keys), *blocks, channels)
    for axis, size in ((1, height), (2, width)):
        coarse = jnp.repeat(coarse, size // coarse.shape[axis], axis=axis)
    return prior.mean[labels] + coarse


def _coarse(images):
    """[N, H, W, C] -> [N, D], the means of blocks of pixels."""
    count, height, width, channels = images.shape
    high, wide = _blocks(height), _blocks(width)
    shape = count, high, height // high, wide, width // wide, channels
    return images.reshape(shape).mean(axis=(2, 4)).reshape(count, -1)


def _blocks(size):
    """Blocks along a side of `size` pixels: GRID where they come out even, or fewer."""
    return next(blocks for blocks in range(GRID, 0, -1) if size % blocks == 0)
