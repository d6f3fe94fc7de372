"""Which synthetic images stay? Pure rules: scores in, reasons out.

Scores rest on a judge, a classifier trained on the training split alone, and on the pixels of the
training images. Thresholds that need a yardstick take it from the validation images.
"""

import dataclasses

import numpy as np

REASONS = ('blank', 'saturated', 'copy', 'duplicate', 'off_class', 'far')
_CHUNK = 1024  # rows and columns of a distance matrix at a time, to bound memory
_PROJECTED = 64  # directions in which pairs of close images are looked for


@dataclasses.dataclass(frozen=True)
class Reference:
    """Real images that synthetic ones are measured against.

    Attributes:
        images, labels: the training split, uint8 [M, H, W, C] and int [M].
        features: the judge's features of them, float [M, F].
        held_out_*: the same of the validation split.
        distinct: bool [M], training images that do not repeat an earlier one; see
            `neighbour_ratio`. None: all.
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
        'distance': class_distance(features, labels, reference.features, reference.labels),
        'pixel_ratio': near['pixels'][0],
        'feature_ratio': near['features'][0],
        'nearest': near['pixels'][1][:, 0],
        **extremes(images),
    }


def extremes(images):
    """'contrast' and 'saturated' of images, as `score` has them."""
    flat = _flat(images)
    return {
        'contrast': images.mean(axis=-1).reshape(len(images), -1).std(axis=1),
        'saturated': ((flat == 0) | (flat == 255)).mean(axis=1),
    }


def extreme_limits(reference, quantile, *, min_contrast, max_saturated):
    """The two thresholds, or as far as the share `quantile` of the held-out images goes.

    Line drawings and silhouettes are black and white nearly everywhere: whatever is common among
    the real images is no reason to reject a synthetic one.
    """
    if len(reference.held_out_images):
        starts = range(0, len(reference.held_out_images), _CHUNK)
        some = [extremes(reference.held_out_images[i : i + _CHUNK]) for i in starts]
        real = {name: np.concatenate([one[name] for one in some]) for name in some[0]}
        min_contrast = min(min_contrast, float(np.quantile(real['contrast'], 1 - quantile)))
        max_saturated = max(max_saturated, float(np.quantile(real['saturated'], quantile)))
    return {'min_contrast': min_contrast, 'max_saturated': max_saturated}


def decide(scores, duplicate, *, min_relevance, max_distance, copy_ratio, min_contrast,
           max_saturated):  # fmt: skip
    """The first reason to reject each image, '' where there is none; array of str [N].

    Args:
        scores: from `score`.
        duplicate: bool [N], from `duplicates`.
        max_distance: in the unit of scores['distance']; see `distance_limit`.
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

    Rows of the two nearest training images; see `neighbour_ratio`. In pixels an image counts as it
    is or mirrored, whichever has the lower ratio: a generator that was told of flips can do either.
    """
    distinct = reference.distinct
    rows = np.arange(len(reference.labels)) if distinct is None else np.flatnonzero(distinct)
    ratio, found = neighbour_ratio(images, reference.images, rows)
    for start in range(0, len(images), _CHUNK):
        some = slice(start, start + _CHUNK)
        mirrored = neighbour_ratio(images[some][:, :, ::-1], reference.images, rows)
        lower = mirrored[0] < ratio[some]
        ratio[some] = np.where(lower, mirrored[0], ratio[some])
        found[some] = np.where(lower[:, None], mirrored[1], found[some])
    feature_ratio, feature_found = neighbour_ratio(features, reference.features, rows)
    return {'pixels': (ratio, rows[found]), 'features': (feature_ratio, rows[feature_found])}


def neighbour_ratio(queries, references, rows=None):
    """Distance to the nearest reference over that to the second nearest, the two nearest rows.

    Far below 1 the query is a copy: below 1/3 in Yoon et al. 2023, sec. 4. Carlini et al. 2023
    (arXiv 2301.13188, sec. 5) divide by the mean distance to the 50 nearest instead. That finds
    noisier copies, but with a few dozen images a class it is a distance between classes: at 1/3 it
    took 2 of 23 real held-out digits for copies, this rule none. What this one is blind to is a
    copy of an image that the references hold twice, near to both: every one that was planted was
    missed. So the references must be distinct; see `distinct`.

    Args:
        queries, references, rows: see `nearest`.
    Returns:
        (ratio [N], places in `rows` [N, 2], nearest first). The ratio is 1, and the places
        mean nothing, where the references are fewer than two.
    """
    if not len(queries) or len(references if rows is None else rows) < 2:
        return np.ones(len(queries)), np.zeros((len(queries), 2), int)
    d, found = nearest(queries, references, 2, rows)
    return np.where(d[:, 1] > 0, d[:, 0] / np.maximum(d[:, 1], 1e-12), 0), found


def nearest(queries, references, k, among=None):
    """The k nearest references of each query, found block by block to bound memory.

    Args:
        queries, references: [N, ...] and [M, ...], images or features.
        among: rows of the references to look at, int, at least k; None: all.
    Returns:
        (Euclidean distances [N, k], places in `among` [N, k]), nearest first.
    """
    among = np.arange(len(references)) if among is None else among
    found = np.full((len(queries), k), np.inf), np.zeros((len(queries), k), int)
    for q in range(0, len(queries), _CHUNK):
        best_d, best_rows = (part[q : q + _CHUNK] for part in found)
        for r in range(0, len(among), _CHUNK):
            d = distances(
                _flat(queries[q : q + _CHUNK]), _flat(references[among[r : r + _CHUNK]])
            )
            d = np.concatenate([best_d, d], axis=1)
            chosen = np.argpartition(d, k - 1, axis=1)[:, :k]
            rows = np.where(
                chosen < k, np.take_along_axis(best_rows, np.minimum(chosen, k - 1), 1),
                chosen - k + r,
            )  # fmt: skip
            d = np.take_along_axis(d, chosen, 1)
            order = np.argsort(d, axis=1, kind='stable')
            best_d[:] = np.take_along_axis(d, order, 1)
            best_rows[:] = np.take_along_axis(rows, order, 1)
    return found


def class_distance(features, labels, reference_features, reference_labels, k=3):
    """Mean Euclidean distance to the k nearest reference features of the own class, [N]."""
    out = np.full(len(labels), np.inf)
    for label in np.unique(labels):
        rows, own = labels == label, reference_features[reference_labels == label]
        if len(own):
            out[rows] = nearest(features[rows], own, min(k, len(own)))[0].mean(axis=1)
    return out


def distance_limit(reference, quantile):
    """The distance that the share `quantile` of the held-out images does not exceed."""
    if not len(reference.held_out_labels):
        return np.inf
    d = class_distance(
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
        pool = np.concatenate([_flat(earlier[earlier_labels == label]), _flat(images[rows])])
        before = len(pool) - len(rows)
        dropped = np.zeros(len(pool), bool)  # what is dropped makes nothing else a duplicate
        for first, second in close_pairs(pool, limits[label]):
            if second >= before and not dropped[first]:
                dropped[second] = True
        out[rows] = dropped[before:]
    return out


def close_pairs(points, limit):
    """Pairs of points nearer than `limit`, int [P, 2], the smaller row first, sorted by the other.

    No two points are nearer than their projections on a few orthogonal directions. Along the first,
    in whose order the points are taken, it tells of whole blocks that they are apart; all together
    tell it of nearly all other pairs, and the rest is measured. Block by block, to bound memory.

    Args:
        points: [N, D].
    """
    if len(points) < 2:
        return np.empty((0, 2), int)
    sample = points[:: -(-len(points) // _PROJECTED)].astype(np.float64)
    centre = sample.mean(axis=0)
    axes = np.linalg.svd(sample - centre, full_matrices=False)[2]  # most variance first
    shadows = np.concatenate([
        ((points[i : i + _CHUNK] - centre) @ axes.T).astype(np.float32)
        for i in range(0, len(points), _CHUNK)
    ])
    order = np.argsort(shadows[:, 0], kind='stable')
    shadows = shadows[order]
    squares = np.square(shadows).sum(axis=1)
    # in float32, of which a few units in the last place of the squares may be wrong
    apart = np.float32(limit**2 + 1e-5 * squares.max())
    found = []
    for i in range(0, len(points), _CHUNK):
        first = np.searchsorted(shadows[:, 0], shadows[i, 0] - np.sqrt(apart))
        for j in range(first // _CHUNK * _CHUNK, i + 1, _CHUNK):
            a, b = slice(i, i + _CHUNK), slice(j, j + _CHUNK)
            gaps = shadows[a] @ (-2 * shadows[b].T)
            gaps += squares[a, None]
            pairs = np.argwhere(gaps < apart - squares[b]) + (i, j)
            pairs = order[pairs[pairs[:, 0] > pairs[:, 1]]]
            for some in np.array_split(pairs, -(-len(pairs) // _CHUNK) or 1):
                gaps = points[some[:, 0]].astype(np.float64) - points[some[:, 1]]
                found.append(np.sort(some[np.square(gaps).sum(axis=1) < limit**2], axis=1))
    pairs = np.concatenate(found)
    return pairs[np.lexsort(pairs.T)]


def distinct(images, labels, limits):
    """Which images do not repeat an earlier one of their class, bool [N]; see `duplicates`."""
    return ~duplicates(images, labels, images[:0], labels[:0], limits)


def duplicate_limits(images, labels, num_classes, ratio):
    """`ratio` times the median distance between nearest training neighbours of a class, [C]."""
    limits = np.full(num_classes, np.nan)
    for label in range(num_classes):
        own = _flat(images[labels == label])
        if len(own) > 1:
            some = own[:: max(1, len(own) // _CHUNK)]  # enough for a median
            limits[label] = ratio * np.median(nearest(some, own, 2)[0][:, 1])  # the first is itself
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
