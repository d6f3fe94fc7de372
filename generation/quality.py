"""Which synthetic images stay? Pure rules: scores in, reasons out.

Scores rest on a judge, a classifier trained on the training split alone, and on the pixels of the
training images. Thresholds that need a yardstick take it from the validation images.
"""

import dataclasses

import numpy as np

from generation import distances

REASONS = ('blank', 'saturated', 'copy', 'duplicate', 'off_class', 'far')
_CHUNK = 1024  # images at a time, to bound memory
_SAMPLE = 1024  # images of a class, enough for a median


@dataclasses.dataclass(frozen=True)
class Reference:
    """Real images that synthetic ones are measured against.

    Attributes:
        images, labels: the training split, uint8 [M, H, W, C] and int [M].
        features: the judge's features of them, float [M, F].
        held_out_*: the same of the validation split.
        distinct: bool [M], training images that do not repeat an earlier one; see
            `distances.neighbour_ratio`. None: all.
    """

    images: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    held_out_images: np.ndarray
    held_out_labels: np.ndarray
    held_out_features: np.ndarray
    distinct: np.ndarray | None = None


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
    near = neighbours(images, features, reference)
    return {
        'relevance': probabilities[np.arange(len(labels)), labels],
        'distance': distances.class_distance(
            features, labels, reference.features, reference.labels
        ),
        'pixel_ratio': near['pixels'][0],
        'feature_ratio': near['features'][0],
        'nearest': near['pixels'][1][:, 0],
        **extremes(images),
    }


def extremes(images):
    """'contrast' and 'saturated' of images, as `score` has them."""
    flat = distances.flat(images)
    return {
        'contrast': images.mean(axis=-1).reshape(len(images), -1).std(axis=1),
        'saturated': ((flat == 0) | (flat == 255)).mean(axis=1),
    }


def extreme_limits(reference, quantile, *, min_contrast, max_saturated):
    """The two thresholds, or as far as the share `quantile` of the held-out images goes.

    Line drawings and silhouettes are black and white nearly everywhere: whatever is common among
    the real images is no reason to reject a synthetic one.

    Returns:
        {'min_contrast', 'max_saturated'}, for `decide`.
    """
    if len(reference.held_out_images):
        starts = range(0, len(reference.held_out_images), _CHUNK)
        some = [extremes(reference.held_out_images[i : i + _CHUNK]) for i in starts]
        real = {name: np.concatenate([one[name] for one in some]) for name in some[0]}
        min_contrast = min(min_contrast, float(np.quantile(real['contrast'], 1 - quantile)))
        max_saturated = max(max_saturated, float(np.quantile(real['saturated'], quantile)))
    return {'min_contrast': min_contrast, 'max_saturated': max_saturated}


def decide(scores, duplicate, *, min_relevance, max_distance, copy_ratio, min_contrast,
           max_saturated):
    """The first reason to reject each image, '' where there is none; array of str [N].

    Args:
        scores: from `score`.
        duplicate: bool [N], from `duplicates`.
        min_relevance: of all images, or of each [N].
        max_distance: in the unit of scores['distance']; see `distance_limit`.
        copy_ratio: of the nearest distance to the second nearest, below which it is a copy.
        min_contrast: in grey levels of 255; max_saturated: a share of the values, in [0, 1].
    """
    tests = {
        'blank': scores['contrast'] < min_contrast,
        'saturated': scores['saturated'] > max_saturated,
        'copy': np.minimum(scores['pixel_ratio'], scores['feature_ratio']) < copy_ratio,
        'duplicate': duplicate,
        'off_class': scores['relevance'] < min_relevance,
        'far': scores['distance'] > max_distance,
    }
    return np.select([tests[name] for name in REASONS], REASONS, '')


def neighbours(images, features, reference):
    """What the copy test rests on, in each space: {'pixels', 'features': (ratio [N], rows [N, 2])}.

    Rows of the two nearest training images; see `distances.neighbour_ratio`.
    """
    rows = _compared(reference)
    ratio, found = distances.neighbour_ratio(features, reference.features, rows)
    return {'pixels': pixel_neighbours(images, reference), 'features': (ratio, rows[found])}


def pixel_neighbours(images, reference):
    """(ratio [N], rows [N, 2]) of `neighbours` in pixels.

    An image counts as it is or mirrored, whichever has the lower ratio: a generator that was told
    of flips can do either.
    """
    rows = _compared(reference)
    ratio, found = distances.neighbour_ratio(images, reference.images, rows)
    for start in range(0, len(images), _CHUNK):
        some = slice(start, start + _CHUNK)
        mirrored = distances.neighbour_ratio(images[some][:, :, ::-1], reference.images, rows)
        lower = mirrored[0] < ratio[some]
        ratio[some] = np.where(lower, mirrored[0], ratio[some])
        found[some] = np.where(lower[:, None], mirrored[1], found[some])
    return ratio, rows[found]


def _compared(reference):
    """The rows of the training images that images are compared with."""
    distinct = reference.distinct
    return np.arange(len(reference.labels)) if distinct is None else np.flatnonzero(distinct)


def distance_limit(reference, quantile):
    """The distance that the share `quantile` of the held-out images does not exceed."""
    if not len(reference.held_out_labels):
        return np.inf
    d = distances.class_distance(
        reference.held_out_features, reference.held_out_labels, reference.features, reference.labels
    )
    return float(np.quantile(d, quantile))


def copies(rows, reference, copy_ratio):
    """Share of copies in pixels, in features, and in either.

    Args:
        rows: of `synthesize.fill`.
    Returns:
        {'made': of all synthetic images, before any was dropped; 'accepted': of those that stay,
        0 because copies are dropped; 'real_held_out': of the validation images, which is the
        rule's rate of false alarms}; each {'pixels', 'features', 'either'}, None without images.
    """

    def rates(pixel_ratio, feature_ratio):
        if not len(pixel_ratio):
            return dict.fromkeys(('pixels', 'features', 'either'))
        pixels, features = pixel_ratio < copy_ratio, feature_ratio < copy_ratio
        found = {'pixels': pixels, 'features': features, 'either': pixels | features}
        return {space: float(flags.mean()) for space, flags in found.items()}

    ratios = [rows.get(name, np.empty(0)) for name in ('pixel_ratio', 'feature_ratio')]
    stay = rows.get('reasons', np.empty(0)) == ''
    real = neighbours(reference.held_out_images, reference.held_out_features, reference)
    return {
        'made': rates(*ratios),
        'accepted': rates(*(ratio[stay] for ratio in ratios)),
        'real_held_out': rates(real['pixels'][0], real['features'][0]),
    }


def suspects(rows, count):
    """Row numbers of the lowest ratios among images accepted or rejected as copies, lowest first.

    Args:
        rows: of `synthesize.fill`.
    """
    if not rows:
        return np.empty(0, int)
    ratio = np.minimum(rows['pixel_ratio'], rows['feature_ratio'])
    eligible = np.flatnonzero(np.isin(rows['reasons'], ('', 'copy')) & (ratio < 1))
    return eligible[np.argsort(ratio[eligible], kind='stable')][:count]


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
        own = distances.flat(earlier[earlier_labels == label])
        pool, before = np.concatenate([own, distances.flat(images[rows])]), len(own)
        dropped = np.zeros(len(pool), bool)  # what is dropped makes nothing else a duplicate
        for first, second in distances.close_pairs(pool, limits[label]):
            if second >= before and not dropped[first]:
                dropped[second] = True
        out[rows] = dropped[before:]
    return out


def distinct(images, labels, limits):
    """Which images do not repeat an earlier one of their class, bool [N]; see `duplicates`."""
    return ~duplicates(images, labels, images[:0], labels[:0], limits)


def duplicate_limits(images, labels, num_classes, ratio):
    """`ratio` times the median distance between nearest training neighbours of a class, [C].

    In grey levels, at least 1; of a class with fewer than two images the median of the others.
    """
    limits = np.full(num_classes, np.nan)
    for label in range(num_classes):
        own = distances.flat(images[labels == label])
        if len(own) > 1:
            some = own[:: -(-len(own) // _SAMPLE)]
            d, _ = distances.nearest(some, own, 2)
            limits[label] = ratio * np.median(d[:, 1])  # the first is the image itself
    typical = np.nanmedian(limits) if np.isfinite(limits).any() else 0.0
    return np.maximum(np.where(np.isnan(limits), typical, limits), 1.0)  # the same pixels: below 1


def summarise(rows, plan, class_names):
    """Counts of what was made, accepted, rejected by reason and left unfilled, for quality.json."""
    if not rows:
        return {'made': 0, 'accepted': 0, 'rejected': {}, 'unfilled': {}}
    reasons = rows['reasons']
    accepted = np.bincount(rows['labels'][reasons == ''], minlength=len(plan))
    return {
        'made': len(reasons),
        'accepted': int(accepted.sum()),
        'rejected': {r: int((reasons == r).sum()) for r in (*REASONS, 'surplus')},
        'unfilled': {
            class_names[c]: int(plan[c] - accepted[c]) for c in np.flatnonzero(plan > accepted)
        },
    }
