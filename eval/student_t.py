"""Student's t of a mean over seeds whose standard error is in part that of test images."""

import math

import numpy as np
import scipy  # scipy.stats is imported when it is first used

TINY = 1e-12  # below which a standard error is a rounding error


def freedom(values, error, images) -> np.ndarray:
    """Degrees of freedom of the standard error [...] of the mean of values [S, ...], one a seed.

    Of the error's variance the part of S seeds has S - 1; that of the images G - 1 if there are so
    few of them, or clusters of them, that it is not known: `images`, [...] or infinitely many
    (Satterthwaite 1946).
    """
    seeds, few = len(values), np.maximum(1, images - 1)
    own = values.std(axis=0, ddof=1) / math.sqrt(seeds) if seeds > 1 else np.zeros(np.shape(error))
    share = np.minimum(1, own / np.maximum(error, TINY)) ** 2  # of the variance, that of seeds
    unknown = share**2 / max(1, seeds - 1) + (1 - share) ** 2 / few
    return np.where(own > TINY, 1 / np.maximum(unknown, TINY), few)


def quantile(degrees):
    """Student's 97.5% quantile; of infinitely many degrees of freedom the normal one."""
    return scipy.stats.t.ppf(0.975, degrees)


def interval(ci95, values, error, images):
    """A percentile interval [..., 2] of a mean over S seeds as far as Student's t has it reach.

    Percentiles of a few seeds' draws, or of few clusters', end at the extreme ones, and take for
    known how these vary. Both halves are as many times as wide as Student's 97.5% quantile is of
    the normal one, and at least that many standard errors. With one seed, and images that are many,
    they stay as they are.
    """
    if len(values) == 1 and np.isinf(images).all():
        return ci95
    low, high = np.moveaxis(np.asarray(ci95), -1, 0)
    mean, reach = values.mean(axis=0), quantile(freedom(values, error, images))
    stretch = reach / quantile(np.inf)
    low = np.minimum(mean + (low - mean) * stretch, mean - reach * error)
    high = np.maximum(mean + (high - mean) * stretch, mean + reach * error)
    return np.stack([low, high], axis=-1)


def p(differences, error, images) -> np.ndarray:
    """Two-sided p of a mean difference over seeds by Student's t; see `freedom`."""
    t = np.abs(differences.mean(axis=0)) / np.maximum(error, TINY)
    return 2 * scipy.stats.t.sf(t, freedom(differences, error, images))
