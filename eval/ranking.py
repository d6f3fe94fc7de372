"""How well classifiers rank the test images of a class before all others, whatever they name them.

Accuracy and F1 also change where a classifier merely names some classes more often, as balance and
a corrected loss have it do. A ranking by the probability of a class hardly changes by that; of two
classes not at all. Arrays of several seeds are paired as in `statistics`.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from eval import statistics, student_t

ALL = 'all'  # the classes, among the groups of them


def average_precision(positive: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean over the positive images of the precision among those that rank as high, and its slopes.

    Args: positive: bool [N], one True at least; scores: float [N], higher is before. Images of
        equal scores are taken at once.
    Returns: scikit-learn's `average_precision_score`, in [0, 1], and its derivative by how often
        each image counts, float [N], of sum 0: the sum of their squares is the variance by the
        choice of test images (infinitesimal jackknife, Jaeckel 1972; Efron 1982, ch. 6).
    """
    _, rank = np.unique(-scores, return_inverse=True)
    hits, images = np.bincount(rank, positive), np.cumsum(np.bincount(rank))
    precision = np.cumsum(hits) / images
    value = hits @ precision / hits.sum()
    # One image more adds to the precision of those that rank no higher if it is positive, and takes
    # from it in any case.
    adds, takes = (_from_here_on(hits * by / images)[rank] for by in (1, precision))
    return float(value), (positive * (precision[rank] - value + adds) - takes) / hits.sum()


@dataclasses.dataclass(frozen=True)
class Mean:
    """Of the average precisions of some classes, seed by seed; `-` pairs two of the same classes.

    values: float [S]; slopes: float [N], of the mean of values, as of `average_precision`; inside:
    bool [N], the test images of these classes.
    """
    values: np.ndarray
    slopes: np.ndarray
    inside: np.ndarray

    def __sub__(self, other: 'Mean') -> 'Mean':
        return Mean(self.values - other.values, self.slopes - other.slopes, self.inside)

    def interval(self, clusters=None) -> tuple[float, float]:
        """The 95% interval of the mean over seeds, as far as Student's t has it reach. (low, high).

        Args: clusters: see `statistics`.
        Source: its variance is that by the choice of images, or of clusters of them, and that of
            the mean of S seeds; degrees of freedom are `student_t`'s. Where nothing varies it
            reaches as far as so many images fail to show, see `statistics.unseen`.
        """
        mean, slopes, seeds = self.values.mean(), self.slopes, len(self.values)
        independent = statistics.independent(self.inside, clusters)
        if clusters is not None:
            whole = np.bincount(clusters, slopes)
            slopes = whole * np.sqrt(len(whole) / max(1, len(whole) - 1))
        error = np.sqrt(slopes @ slopes + (self.values.var(ddof=1) / seeds if seeds > 1 else 0))
        freedom = student_t.freedom(
            self.values, error, np.inf if clusters is None else independent)
        reach = student_t.quantile(freedom) * error
        if error < student_t.TINY:
            reach = statistics.unseen(independent)
        return float(mean - reach), float(mean + reach)


def by_group(labels: np.ndarray, probabilities: np.ndarray,
             masks: Mapping[str, np.ndarray]) -> tuple[dict[str, Mean], np.ndarray]:
    """Means over the classes with test images, `ALL` and of each group, and of each class.

    Args: labels: int [N]; probabilities: float [S, N, C]; masks: group -> bool [C].
    Returns: a group without test images is left out. The slopes of a class of n images are
        sqrt(n / (n - 1)) times as steep, as for few images the sum of their squares is too small,
        as is that of a sample; the classes' own are float [S, C], NaN without test images.
    """
    seeds, images, classes = probabilities.shape
    support = np.bincount(labels, minlength=classes)
    groups = {ALL: support > 0} | {name: mask & (support > 0) for name, mask in masks.items()}
    groups = {name: mask for name, mask in groups.items() if mask.any()}
    values, slopes = np.full((seeds, classes), np.nan), np.zeros((len(groups), images))
    shares = np.stack([mask / mask.sum() for mask in groups.values()])
    shares = shares * np.sqrt(support / np.maximum(1, support - 1)) / seeds
    for k in np.flatnonzero(support):
        for seed in range(seeds):
            values[seed, k], own = average_precision(labels == k, probabilities[seed, :, k])
            slopes += shares[:, k, None] * own
    return {name: Mean(values[:, mask].mean(axis=1), slope, mask[labels])
            for (name, mask), slope in zip(groups.items(), slopes)}, values


def _from_here_on(values):
    return values[::-1].cumsum()[::-1]
