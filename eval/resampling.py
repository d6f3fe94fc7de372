"""Every metric of many seeds on many resamples of the test images at once. Pure functions.

Rows of predictions are seeds, columns are test images; images and seeds are drawn independently.
"""

from collections.abc import Mapping

import numpy as np
import scipy  # its parts are imported when they are first used

CHUNK = 100  # resamples held in memory at once: [N, CHUNK] weights


def scores(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray, num_classes: int,
           groups: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """scikit-learn's scores for many seeds and many weightings of the test images at once.

    Args: labels: int [N]; predictions: int [S, N]; weights: [N, B], how often each image counts.
    Returns: `accuracy`, `macro_*`, `weighted_f1`, `<group>_accuracy` [S, B]; `per_class_f1`,
        `per_class_recall` [S, C, B]. 0 / 0 is 0, but NaN in a group that a weighting happens to
        lack. Macro means are over the classes that have test images; one that a weighting lacks
        counts as it does with every image once, or they would be over other classes: without the
        rare ones, which are recognised worst.
    """
    seeds = len(predictions)
    weights = np.concatenate([weights, np.ones((len(labels), 1))], axis=1)  # and each image once
    support = _totals(labels[None], None, weights, num_classes)  # [1, C, B]
    predicted = _totals(predictions, None, weights, num_classes)  # [S, C, B]
    hits = _totals(predictions, predictions == labels, weights, num_classes)
    precision, recall = _ratio(hits, predicted), _ratio(hits, support)
    f1 = _ratio(2 * hits, predicted + support)
    counted = support > 0  # a class without test images, in all or in this draw, is unknown, not 0
    tested = counted[..., -1:]

    def macro(per_class):
        return (np.where(counted, per_class, per_class[..., -1:]) * tested).sum(1) / tested.sum(1)

    result = {'accuracy': hits.sum(1) / support.sum(1), 'macro_precision': macro(precision),
              'macro_recall': macro(recall), 'macro_f1': macro(f1),
              'weighted_f1': (f1 * support).sum(1) / support.sum(1),
              'per_class_f1': f1, 'per_class_recall': recall}
    for name, mask in (groups or {}).items():
        inside = np.broadcast_to(support[:, mask].sum(1), (seeds, weights.shape[1]))
        found = _ratio(hits[:, mask].sum(1), inside)
        unknown = (inside == 0) & mask[labels].any()
        result[f'{name}_accuracy'] = np.where(unknown, np.nan, found)
    return {name: values[..., :-1] for name, values in result.items()}


def each(labels, predictions, num_classes, groups) -> dict[str, np.ndarray]:
    """Every metric of each seed, [S], or [S, C] per class."""
    once = np.ones((len(labels), 1))
    found = scores(labels, predictions, once, num_classes, groups)
    return {name: value[..., 0] for name, value in found.items()}


def resampled(labels, predictions, num_classes, groups, samples, seed,
              vary=True, clusters=None) -> dict[str, np.ndarray]:
    """Every metric [..., samples], averaged over the seeds of each draw, or all if not `vary`.

    Args: clusters: int [N] below their number, of test images that are drawn together, one less
        than there are, as of seeds; None: each is drawn on its own.
    """
    rng = np.random.default_rng(seed)
    seeds, images = predictions.shape
    count = 0 if clusters is None else clusters.max() + 1
    parts = []
    for start in range(0, samples, CHUNK):
        size = min(CHUNK, samples - start)
        if clusters is None:
            image_weights = _draws(rng, images, images, size)
        else:
            image_weights = _draws(rng, count, max(1, count - 1), size)[clusters]
        if vary:
            drawn_seeds = max(1, seeds - 1)
            seed_weights = _draws(rng, seeds, drawn_seeds, size) / drawn_seeds
        else:
            seed_weights = np.full((seeds, size), 1 / seeds)
        drawn = scores(labels, predictions, image_weights, num_classes, groups)
        parts.append({name: np.einsum('s...b,sb->...b', value, seed_weights)
                      for name, value in drawn.items()})
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}


def _draws(rng: np.random.Generator, n: int, draws: int, size: int) -> np.ndarray:
    """How often each of n items comes up in draws with replacement, `size` times. [n, size]."""
    return np.stack([np.bincount(rng.integers(n, size=draws), minlength=n).astype(np.float64)
                     for _ in range(size)], axis=1)


def _totals(classes, values, weights, num_classes) -> np.ndarray:
    """Weight of the images in each class. classes [S, N], values [S, N] or None -> [S, C, B]."""
    seeds, images = classes.shape
    rows = (classes + num_classes * np.arange(seeds)[:, None]).ravel()
    columns = np.tile(np.arange(images), seeds)
    entries = np.ones(rows.size) if values is None else values.ravel().astype(np.float64)
    shape = (seeds * num_classes, images)
    indicator = scipy.sparse.csr_array((entries, (rows, columns)), shape=shape)
    return (indicator @ weights).reshape(seeds, num_classes, -1)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return numerator / np.where(denominator > 0, denominator, 1.0)


def percentiles(draws: np.ndarray):
    """The 95% percentile interval of draws [..., samples]: [..., 2], or (low, high)."""
    percentile = np.nanpercentile if np.isnan(draws).any() else np.percentile
    low, high = percentile(draws, [2.5, 97.5], axis=-1)
    return np.stack([low, high], axis=-1) if low.ndim else (float(low), float(high))
