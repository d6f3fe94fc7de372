"""How far a score, or the difference of two, can be believed. Pure functions; no files.

Arm `a` is the baseline: every difference is b - a. Arms are paired: row s of both prediction arrays
comes from the same seed, column i is the same test image.
"""

import math
from collections.abc import Mapping

import numpy as np
import scipy  # its parts are imported when they are first used

from eval import student_t
from eval.resampling import each, percentiles, resampled

FEWEST = 6  # test images on which arms must differ for p < 0.05: 2 * 0.5^5 is 0.0625


def bootstrap_interval(labels, predictions, num_classes: int, *,
                       groups: Mapping[str, np.ndarray] | None = None, clusters=None,
                       samples: int = 2000, seed: int = 0) -> dict[str, dict]:
    """Mean over seeds of every metric of one arm, with its 95% interval.

    Args: labels: int [N]; predictions: int [S, N]; groups: name -> bool [C], each of which adds
        `<name>_accuracy`; clusters: int [N], the same for test images that belong together, as of
        one person, and are drawn so; None: each is drawn on its own.
    Returns: metric -> {'mean', 'ci95': (low, high)}: floats, and arrays [C] and [C, 2] for
        `per_class_f1` and `per_class_recall`. Metrics as in `resampling.scores`.
    Raises: ValueError on shapes that do not fit.
    Source: images and seeds are drawn independently with replacement (pigeonhole bootstrap, Owen
        2007, arXiv 0712.1111), of S > 1 seeds S - 1, without which their mean would vary by a share
        of 1 / S too little (Rao & Wu 1988), and so of clusters. The percentiles of the draws, less
        their bias (Efron & Tibshirani 1993, ch. 10: F1 of an image drawn twice is lower), are an
        interval with one seed, which knows only how test images vary; with more, or with clusters,
        see `student_t.interval`. Where all draws are alike, as when every image is right, it is the
        exact one of a share (Clopper & Pearson 1934).
    """
    labels, predictions = _checked(labels, predictions, num_classes)
    own = each(labels, predictions, num_classes, groups)
    draws = resampled(labels, predictions, num_classes, groups, samples, seed, clusters=clusters)
    result = {}
    for name, values in own.items():
        mean, error = values.mean(axis=0), np.nanstd(draws[name], axis=-1)
        inside = _inside(name, labels, num_classes, groups)
        images = _uncertain(inside, clusters)
        # of a class it would be of the draws that lack it
        bias = 0.0 if mean.ndim else np.nanmean(draws[name]) - mean
        drawn = np.asarray(percentiles(draws[name])) - bias
        ci95 = np.clip(student_t.interval(drawn, values, error, images), 0, 1)
        if not mean.ndim and error < student_t.TINY:
            hidden = unseen(independent(inside, clusters))
            ci95 = mean * (1 - hidden), mean + (1 - mean) * hidden
        ci95 = ci95 if mean.ndim else tuple(map(float, ci95))
        result[name] = {'mean': _plain(mean), 'ci95': ci95}
    return result


def paired_bootstrap(labels, predictions_a, predictions_b, num_classes: int, *,
                     groups: Mapping[str, np.ndarray] | None = None, clusters=None,
                     samples: int = 2000, seed: int = 0) -> dict[str, dict]:
    """Difference b - a of every metric, with its 95% interval and two-sided p.

    Args, raises, source: as in `bootstrap_interval`; both arms see the same draws.
    Returns: metric -> {'mean', 'ci95', 'p', 'standard_error'}. `p` cannot fall below
        2 / (samples + 1), and is too small for a class, or a group, of under about ten test images:
        prefer `mcnemar_over_seeds` there. Where the arms differ in being right on under `FEWEST`
        test images or clusters (of the group, or the class), no exact test tells them apart: the
        interval is made to hold 0, as it would if the difference were known to within what `FEWEST`
        images could make it. Where all draws are alike it reaches as far as so many images fail to
        show in one of 40 cases.
    """
    labels, *arms = _checked_pair(labels, predictions_a, predictions_b, num_classes)
    each_a, each_b = (each(labels, arm, num_classes, groups) for arm in arms)
    # The same seed makes the same draws: this is what pairs the arms.
    draws_a, draws_b = (resampled(labels, arm, num_classes, groups, samples, seed,
                                  clusters=clusters) for arm in arms)
    differ = ((arms[0] == labels) != (arms[1] == labels)).any(axis=0)
    result = {}
    for name in each_a:
        # Rounded, so that equal scores summed in another order do not differ by 1e-17.
        draws = np.round(draws_b[name] - draws_a[name], 12)
        tail = np.minimum((draws <= 0).sum(-1), (draws >= 0).sum(-1))
        known = samples - np.isnan(draws).sum(-1)
        differences, error = each_b[name] - each_a[name], np.nanstd(draws, axis=-1)
        mean = differences.mean(axis=0)
        inside = _inside(name, labels, num_classes, groups)
        images = _uncertain(inside, clusters)
        ci95 = student_t.interval(percentiles(draws), differences, error, images)
        p = np.minimum(1.0, 2 * (1 + tail) / (known + 1))
        if len(differences) > 1 or clusters is not None:
            p = np.maximum(p, student_t.p(differences, error, images))
        count = independent(inside & differ, clusters)
        hidden = np.where(error < student_t.TINY, unseen(independent(inside, clusters)), 0.0)
        ci95 = _widened(ci95, mean, count, hidden)
        p = np.where(count < FEWEST, np.maximum(p, 0.5 ** (FEWEST - 2)), p)
        result[name] = {'mean': _plain(mean), 'ci95': ci95, 'p': _plain(p),
                        'standard_error': _plain(error)}
    return result


def images_error(labels, predictions_a, predictions_b, num_classes: int, *,
                 groups: Mapping[str, np.ndarray] | None = None, clusters=None,
                 samples: int = 2000, seed: int = 0) -> dict:
    """Standard error of the difference b - a, mean over the seeds, that test images contribute.

    Args, raises: as in `bootstrap_interval`. Returns: metric -> float; arrays [C] per class. That
        of clusters is so large that its normal interval is as wide as Student's.
    """
    labels, *arms = _checked_pair(labels, predictions_a, predictions_b, num_classes)
    draws_a, draws_b = (resampled(labels, arm, num_classes, groups, samples, seed, vary=False,
                                  clusters=clusters) for arm in arms)
    result = {}
    for name in draws_a:
        images = _uncertain(_inside(name, labels, num_classes, groups), clusters)
        wider = student_t.quantile(np.maximum(1, images - 1)) / student_t.quantile(np.inf)
        result[name] = wider * np.nanstd(draws_b[name] - draws_a[name], axis=-1)
    return result


def mcnemar(labels, predictions_a, predictions_b) -> float:
    """Two-sided exact p of McNemar's test: are a and b right equally often? All arrays int [N]."""
    right_a, right_b = np.equal(predictions_a, labels), np.equal(predictions_b, labels)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(scipy.stats.binomtest(only_b, only_a + only_b, 0.5).pvalue)


def mcnemar_over_seeds(labels, predictions_a, predictions_b) -> dict:
    """McNemar's p of each seed pair, and one for all: min(1, 2 * median), or p itself for one seed.

    Args: labels: int [N]; predictions: int [S, N]. Returns: {'per_seed': [S], 'combined': float}.
    Source: twice the median is a p-value under any dependence (Rueschendorf 1982; Vovk & Wang
        2020, arXiv 1212.4966). It is about these classifiers, not about seeds yet to be drawn.
    """
    per_seed = [mcnemar(labels, a, b) for a, b in zip(predictions_a, predictions_b, strict=True)]
    combined = per_seed[0] if len(per_seed) == 1 else min(1.0, 2 * float(np.median(per_seed)))
    return {'per_seed': per_seed, 'combined': combined}


def mcnemar_per_class(labels, predictions_a, predictions_b, num_classes: int,
                      clusters=None) -> np.ndarray:
    """`mcnemar_over_seeds` among each class's own test images: a test of its recall. float [C].

    Where the arms differ on under `FEWEST` of the `clusters` it is that of so few images or larger.
    """
    labels, a, b = _checked_pair(labels, predictions_a, predictions_b, num_classes)
    own = labels == np.arange(num_classes)[:, None]
    p = [mcnemar_over_seeds(labels[i], a[:, i], b[:, i])['combined'] for i in own]
    differ = ((a == labels) != (b == labels)).any(axis=0)
    few = clusters is not None and independent(own & differ, clusters) < FEWEST
    return np.where(few, np.maximum(p, 0.5 ** (FEWEST - 2)), p)


def student_per_class(labels, predictions_a, predictions_b, num_classes: int,
                      standard_error, clusters=None) -> np.ndarray:
    """Two-sided p of each class's difference in recall, which knows how seeds vary. float [C].

    Args: labels: int [N]; predictions: int [S, N]; standard_error: [C], of the mean difference
        over test images and seeds, from `paired_bootstrap`, whose p has a floor; clusters: as
        there.
    Source: `student_t.p`.
    """
    recall_a, recall_b = (
        each(np.asarray(labels), arm, num_classes, None)['per_class_recall']
        for arm in (predictions_a, predictions_b))
    images = _uncertain(_inside('per_class_recall', labels, num_classes, None), clusters)
    return student_t.p(recall_b - recall_a, standard_error, images)


def over_runs(differences, image_error: float = 0.0) -> dict:
    """What R > 1 runs that differ in seeds only say together: a mean, and how well it is known.

    Args: differences: float [R], one a run, say of accuracy between two arms; image_error: of
        their mean, from `images_error`, where all runs have the same test images.
    Returns: {'mean', 'std', 'ci95'}; `std` is between runs, `ci95` that of the mean.
    Source: Student's interval over runs, about further values of the seeds alone; with it, as the
        root of the sum of squares, the normal one of `image_error`, which holds the truth at least
        as often as 95%. That of runs which agree exactly holds zero.
    """
    runs, mean, std = len(differences), np.mean(differences), np.std(differences, ddof=1)
    half = student_t.quantile(runs - 1) * std / math.sqrt(runs)
    half = math.hypot(half, student_t.quantile(np.inf) * image_error)
    if np.ptp(differences) < 1e-12:  # scores are counts: that they agree to one image is chance
        half = max(half, abs(mean))
    ci95 = float(mean - half), float(mean + half)
    return {'mean': float(mean), 'std': float(std), 'ci95': ci95}


def least_images(classes: int, seeds: int) -> int:
    """Test images of a class with fewer of which no difference in its recall can be the first that
    `mcnemar_per_class` and `holm` find among so many classes, p < 0.05.
    """
    smallest = 2 if seeds == 1 else 4  # times 0.5^n, where one arm alone is right on all n
    return math.floor(math.log2(smallest * max(1, classes) / 0.05)) + 1


def holm(p) -> np.ndarray:
    """Holm's step-down adjustment of K p-values, in their order (Holm 1979). float [K]."""
    p = np.asarray(p, np.float64)
    order = np.argsort(p)
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted


def _checked(labels, predictions, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if predictions.ndim != 2 or predictions.shape[1:] != labels.shape or not predictions.size:
        raise ValueError(f'need labels [N] and predictions [S, N], got {labels.shape} and '
                         f'{predictions.shape}')
    for name, values in (('labels', labels), ('predictions', predictions)):
        if values.min() < 0 or values.max() >= num_classes:
            raise ValueError(f'{name} must lie in [0, {num_classes}), found {values.min()} to '
                             f'{values.max()}')
    return labels, predictions


def _checked_pair(labels, predictions_a, predictions_b, num_classes: int) -> tuple:
    labels, predictions_a = _checked(labels, predictions_a, num_classes)
    _, predictions_b = _checked(labels, predictions_b, num_classes)
    if predictions_a.shape != predictions_b.shape:
        raise ValueError(f'paired arms need the same seeds and images, got {predictions_a.shape} '
                         f'and {predictions_b.shape}')
    return labels, predictions_a, predictions_b


def _plain(value):
    """An array as it is, a number as Python's."""
    return value if np.ndim(value) else float(value)


def _inside(name, labels, num_classes, groups) -> np.ndarray:
    """The test images that a metric is about, bool [N], or [C, N] of one per class."""
    if name.startswith('per_class'):
        return labels == np.arange(num_classes)[:, None]
    masks = {f'{group}_accuracy': mask for group, mask in (groups or {}).items()}
    return masks[name][labels] if name in masks else np.ones(len(labels), bool)


def independent(mask: np.ndarray, clusters) -> np.ndarray:
    """How many test images the mask [..., N] holds, or clusters of them."""
    if clusters is not None:
        order = np.argsort(clusters, kind='stable')
        starts = np.flatnonzero(np.diff(clusters[order], prepend=-1))
        mask = np.logical_or.reduceat(mask[..., order], starts, axis=-1)
    return mask.sum(axis=-1)


def _uncertain(mask: np.ndarray, clusters):
    """`student_t`'s `images`: infinitely many, or the clusters that the mask [..., N] holds."""
    return np.inf if clusters is None else independent(mask, clusters)


def unseen(count):
    """The largest share, one-sided 97.5% (Clopper & Pearson 1934), of what none of so many show."""
    return 1 - 0.025 ** (1 / np.maximum(1, count))


def _widened(ci95, mean, count, hidden):
    """An interval [..., 2], wide enough for what so few test images can tell.

    It reaches `hidden` to either side of the mean, and holds 0 where the arms differ on `count`
    [...] images below FEWEST.
    """
    low, high = np.moveaxis(np.asarray(ci95), -1, 0)
    bound = mean * (1 - np.sqrt(FEWEST / np.maximum(count, 1)))  # beyond 0: `verdict.images_needed`
    bound = np.where(count < FEWEST, bound, mean)
    low = np.maximum(-1, np.minimum(np.minimum(low, bound), mean - hidden))
    high = np.minimum(1, np.maximum(np.maximum(high, bound), mean + hidden))
    return np.stack([low, high], axis=-1) if low.ndim else (float(low), float(high))
