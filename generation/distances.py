"""How far images, or features of them, are from one another, block by block to bound memory."""

import numpy as np

_CHUNK = 1024  # rows and columns of a distance matrix at a time, of small images
_BYTES = 2**26  # that so many rows, in float64, may take
_PROJECTED = 64  # directions in which pairs of close images are looked for


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
    chunk = _rows(queries)
    for q in range(0, len(queries), chunk):
        best_d, best_rows = (part[q : q + chunk] for part in found)
        some = np.asarray(flat(queries[q : q + chunk]), np.float64)
        for r in range(0, len(among), chunk):
            d = pairwise(some, flat(references[among[r : r + chunk]]))
            d = np.concatenate([best_d, d], axis=1)
            chosen = np.argpartition(d, k - 1, axis=1)[:, :k]
            rows = np.where(
                chosen < k, np.take_along_axis(best_rows, np.minimum(chosen, k - 1), 1),
                chosen - k + r,
            )
            d = np.take_along_axis(d, chosen, 1)
            order = np.argsort(d, axis=1, kind='stable')
            best_d[:] = np.take_along_axis(d, order, 1)
            best_rows[:] = np.take_along_axis(rows, order, 1)
    return found


def neighbour_ratio(queries, references, among=None):
    """Distance to the nearest reference over that to the second nearest, and these two's places.

    Far below 1 the query is a copy: below 1/3 in Yoon et al. 2023, sec. 4. Carlini et al. 2023
    (arXiv 2301.13188, sec. 5) divide by the mean distance to the 50 nearest instead. That finds
    noisier copies, but with a few dozen images a class it is a distance between classes: at 1/3 it
    took 2 of 23 real held-out digits for copies, this rule none. What this one is blind to is a
    copy of an image that the references hold twice, near to both: every one that was planted was
    missed. So the references must be distinct; see `quality.distinct`.

    Args:
        queries, references, among: see `nearest`.
    Returns:
        (ratio [N], places in `among` [N, 2], nearest first). The ratio is 1, and the places
        mean nothing, where the references are fewer than two.
    """
    if not len(queries) or len(references if among is None else among) < 2:
        return np.ones(len(queries)), np.zeros((len(queries), 2), int)
    d, found = nearest(queries, references, 2, among)
    return np.where(d[:, 1] > 0, d[:, 0] / np.maximum(d[:, 1], 1e-12), 0), found


def class_distance(features, labels, reference_features, reference_labels, k=3):
    """Mean Euclidean distance to the k nearest reference features of the own class, [N].

    inf where the class has no reference.
    """
    out = np.full(len(labels), np.inf)
    for label in np.unique(labels):
        rows, own = labels == label, reference_features[reference_labels == label]
        if len(own):
            out[rows] = nearest(features[rows], own, min(k, len(own)))[0].mean(axis=1)
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
            for some in np.array_split(pairs, -(-len(pairs) // _rows(points)) or 1):
                gaps = points[some[:, 0]].astype(np.float64) - points[some[:, 1]]
                found.append(np.sort(some[np.square(gaps).sum(axis=1) < limit**2], axis=1))
    pairs = np.concatenate(found)
    return pairs[np.lexsort(pairs.T)]


def pairwise(a, b):
    """Euclidean distances between the rows of a [N, D] and b [M, D], float [N, M]."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)  # nearly equal squares cancel
    squared = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None] - 2 * a @ b.T
    return np.sqrt(np.maximum(squared, 0))


def _rows(points):
    """How many of them are looked at at a time."""
    return int(np.clip(_BYTES // (8 * max(1, np.prod(np.shape(points)[1:]))), 1, _CHUNK))


def flat(images):
    """Images as the rows of a matrix, [N, H * W * C]."""
    return np.asarray(images).reshape(len(images), int(np.prod(np.shape(images)[1:])))
