"""Which synthetic images stay? Pure rules: scores in, reasons out.

Scores rest on a judge, a classifier trained on the training split alone, and on the pixels of the
training images. Thresholds that need a yardstick take it from the validation images.
"""

import dataclasses

import numpy as np

REASONS = ('blank', 'saturated', 'copy', 'duplicate', 'off_class', 'far')
_CHUNK = 1024  # rows of a distance matrix at a time, to bound memory


@dataclasses.dataclass(frozen=True)
class Reference:
    """Real images that synthetic ones are measured against.

    Attributes:
        images, labels: the training split, uint8 [M, H, W, C] and int [M].
        features: the judge's features of them, float [M, F].
        held_out_*: the same of the validation split.
    """

    images: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    held_out_images: np.ndarray
    held_out_labels: np.ndarray
    held_out_features: np.ndarray


def score(images, labels, probabilities, features, reference):
    """Everything the rules need to know about each image.

    Args:
        images: uint8 [N, H, W, C]; labels: int [N], the classes they were made for.
        probabilities, features: the judge's, [N, num_classes] and [N, F].
    Returns:
        {'relevance': judge's probability of the label; 'distance': to the label's training images
        in feature space; 'pixel_ratio', 'feature_ratio': nearest over second-nearest training
        image; 'nearest': row of the nearest training image in pixels; 'contrast': standard
        deviation of the grey values; 'saturated': share of extreme values}, each [N].
    """
    flat = _flat(images)
    pixel_ratio, nearest = neighbour_ratio(flat, _flat(reference.images))
    feature_ratio, _ = neighbour_ratio(features, reference.features)
    return {
        'relevance': probabilities[np.arange(len(labels)), labels],
        'distance': class_distance(features, labels, reference.features, reference.labels),
        'pixel_ratio': pixel_ratio,
        'feature_ratio': feature_ratio,
        'nearest': nearest,
        'contrast': images.mean(axis=-1).reshape(len(images), -1).std(axis=1),
        'saturated': ((flat == 0) | (flat == 255)).mean(axis=1),
    }


def decide(scores, duplicate, *, min_relevance, max_distance, copy_ratio, min_contrast,
           max_saturated):  # fmt: skip
    """The first reason to reject each image, '' where there is none; array of str [N].

    Args:
        scores: from `score`.
        duplicate: bool [N], from `duplicates`.
        max_distance: in the unit of scores['distance']; see `distance_limit`.
    """
    copy = (scores['pixel_ratio'] < copy_ratio) | (scores['feature_ratio'] < copy_ratio)
    tests = {
        'blank': scores['contrast'] < min_contrast,
        'saturated': scores['saturated'] > max_saturated,
        'copy': copy,
        'duplicate': duplicate,
        'off_class': scores['relevance'] < min_relevance,
        'far': scores['distance'] > max_distance,
    }
    return np.select([tests[name] for name in REASONS], REASONS, '')


def neighbour_ratio(queries, references):
    """Distance to the nearest reference over that to the second nearest; (ratio [N], nearest [N]).

    Far below 1 the query is a copy (Yoon et al. 2023, sec. 4: below 1/3). 1 where the references
    are fewer than two.
    """
    if len(references) < 2:
        return np.ones(len(queries)), np.zeros(len(queries), int)
    ratios, nearest = [], []
    for first in range(0, len(queries), _CHUNK):
        d = distances(queries[first : first + _CHUNK], references)
        two = np.argpartition(d, 1, axis=1)[:, :2]
        d_two = np.take_along_axis(d, two, axis=1)
        order = np.argsort(d_two, axis=1)
        two, d_two = np.take_along_axis(two, order, 1), np.take_along_axis(d_two, order, 1)
        ratios.append(np.where(d_two[:, 1] > 0, d_two[:, 0] / np.maximum(d_two[:, 1], 1e-12), 0))
        nearest.append(two[:, 0])
    return np.concatenate(ratios), np.concatenate(nearest)


def class_distance(features, labels, reference_features, reference_labels, k=3):
    """Mean Euclidean distance to the k nearest reference features of the own class, [N]."""
    out = np.full(len(labels), np.inf)
    for label in np.unique(labels):
        rows, own = labels == label, reference_features[reference_labels == label]
        if len(own):
            d = np.sort(distances(features[rows], own), axis=1)
            out[rows] = d[:, :k].mean(axis=1)
    return out


def distance_limit(reference, quantile):
    """The distance that the share `quantile` of the held-out images does not exceed."""
    if not len(reference.held_out_labels):
        return np.inf
    d = class_distance(
        reference.held_out_features, reference.held_out_labels, reference.features, reference.labels
    )
    return float(np.quantile(d, quantile))


def held_out_copy_rate(reference, copy_ratio):
    """Share of real held-out images that the copy rule would reject: its false alarms."""
    if not len(reference.held_out_labels):
        return None
    pixel, _ = neighbour_ratio(_flat(reference.held_out_images), _flat(reference.images))
    feature, _ = neighbour_ratio(reference.held_out_features, reference.features)
    return float(((pixel < copy_ratio) | (feature < copy_ratio)).mean())


def duplicates(images, labels, earlier, earlier_labels, limits):
    """Which images repeat an earlier one of their class, bool [N].

    Args:
        images, earlier: uint8 [N, H, W, C], [M, H, W, C]; those already accepted come first.
        limits: pixel distance per class below which two images are one, [num_classes]; see
            `duplicate_limits`.
    """
    out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        pool = np.concatenate([_flat(earlier[earlier_labels == label]), _flat(images[rows])])
        before = len(pool) - len(rows)
        close = distances(pool[before:], pool) < limits[label]
        for i in range(len(rows)):
            close[i, before + i :] = False  # only earlier ones count
            out[rows[i]] = close[i].any()
            if out[rows[i]]:
                close[:, before + i] = False  # what is dropped makes nothing else a duplicate
    return out


def duplicate_limits(images, labels, num_classes, ratio):
    """`ratio` times the median distance between nearest training neighbours of a class, [C]."""
    limits = np.full(num_classes, np.nan)
    for label in range(num_classes):
        own = _flat(images[labels == label])
        if len(own) > 1:
            d = distances(own, own)
            np.fill_diagonal(d, np.inf)
            limits[label] = ratio * np.median(d.min(axis=1))
    typical = np.nanmedian(limits) if np.isfinite(limits).any() else 0.0
    return np.maximum(np.where(np.isnan(limits), typical, limits), 1.0)  # the same pixels: below 1


def distances(a, b):
    """Euclidean distances between the rows of a [N, D] and b [M, D], float [N, M]."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)  # nearly equal squares cancel
    squared = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None] - 2 * a @ b.T
    return np.sqrt(np.maximum(squared, 0))


def _flat(images):
    return np.asarray(images).reshape(len(images), int(np.prod(np.shape(images)[1:])))


def summarise(rows, plan, class_names):
    """Counts of what was made, accepted, rejected by reason and left unfilled, for quality.json."""
    if not rows:
        return {'made': 0, 'accepted': 0, 'rejected': {}, 'unfilled': {}, 'copy_rate': None}
    reasons = rows['reasons']
    accepted = np.bincount(rows['labels'][reasons == ''], minlength=len(plan))
    judged = (reasons != 'surplus').sum()
    return {
        'made': len(reasons),
        'accepted': int(accepted.sum()),
        'rejected': {r: n for r in (*REASONS, 'surplus') if (n := int((reasons == r).sum()))},
        'unfilled': {
            class_names[c]: int(plan[c] - accepted[c]) for c in np.flatnonzero(plan > accepted)
        },
        'copy_rate': float((reasons == 'copy').sum() / max(judged, 1)),
    }
