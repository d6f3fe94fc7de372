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

    Attributes:
        values: float [S].
        slopes: float [G], how the mean of values changes by how often each test image counts, or
            each cluster of them.
        hidden: variance that the slopes cannot show.
        independent: test images of these classes, or clusters of them.
        known: whether these are so many that they say how they vary.
    """
    values: np.ndarray
    slopes: np.ndarray
    hidden: float
    independent: int
    known: bool

    def __sub__(self, other: 'Mean') -> 'Mean':
        return dataclasses.replace(
            self, values=self.values - other.values, slopes=self.slopes - other.slopes,
            hidden=self.hidden + other.hidden)

    def interval(self) -> tuple[float, float]:
        """The 95% interval of the mean over seeds, as far as Student's t has it reach. (low, high).

        Source: its variance is that by the choice of images, or of clusters of them, and that of
            the mean of S seeds; degrees of freedom are `student_t`'s. Where nothing varies it
            reaches as far as so many images fail to show, see `statistics.unseen`.
        """
        mean, seeds = self.values.mean(), len(self.values)
        variance = self.slopes @ self.slopes + self.hidden
        error = np.sqrt(variance + (self.values.var(ddof=1) / seeds if seeds > 1 else 0))
        images = np.inf if self.known else self.independent
        reach = student_t.quantile(student_t.freedom(self.values, error, images)) * error
        if error < student_t.TINY:
            reach = statistics.unseen(self.independent)
        return float(mean - reach), float(mean + reach)


def by_group(labels: np.ndarray, probabilities: np.ndarray, masks: Mapping[str, np.ndarray],
             clusters: np.ndarray | None = None) -> tuple[dict[str, Mean], np.ndarray]:
    """Means over the classes with test images, `ALL` and of each group, and of each class.

    Args: labels: int [N]; probabilities: float [S, N, C]; masks: group -> bool [C]; clusters: see
        `statistics`.
    Returns: a group without test images is left out; the classes' own are float [S, C], NaN without
        test images. The slopes of a class of n images or clusters are sqrt(n / (n - 1)) times as
        steep, as for few of them the sum of their squares is too small, as is that of a sample. A
        single one shows nothing of how others would vary: hidden is the variance of 1/4 then, the
        largest of a share.
    """
    seeds, images, classes = probabilities.shape
    own = labels == np.arange(classes)[:, None]
    count = statistics.independent(own, clusters)
    groups = {ALL: count > 0} | {name: mask & (count > 0) for name, mask in masks.items()}
    groups = {name: mask for name, mask in groups.items() if mask.any()}
    values, slopes = np.full((seeds, classes), np.nan), np.zeros((len(groups), images))
    shares = np.stack([mask / mask.sum() for mask in groups.values()])
    steeper = shares * np.sqrt(count / np.maximum(1, count - 1)) / seeds
    for k in np.flatnonzero(count):
        for seed in range(seeds):
            values[seed, k], slope = average_precision(own[k], probabilities[seed, :, k])
            slopes += steeper[:, k, None] * slope
    if clusters is not None:
        slopes = np.stack([np.bincount(clusters, slope) for slope in slopes])
    hidden = (shares**2)[:, count == 1].sum(axis=1) / 4
    return {name: Mean(
        values[:, mask].mean(axis=1), slopes[group], hidden[group],
        int(statistics.independent(own[mask].any(axis=0), clusters)), clusters is None)
        for group, (name, mask) in enumerate(groups.items())}, values


def _from_here_on(values):
    return values[::-1].cumsum()[::-1]
