"""Which images show the same picture? Equal pixels, or the same encoded, sized or mirrored anew.

Two images are near when their thumbnails, or one and the other's mirror image, correlate by more
than a limit; light and contrast do not count. Of large sets some images at a time are in memory.
"""

import hashlib
import itertools

import numpy as np
import scipy  # its parts are imported when they are first used

_SIDE = 8  # of a thumbnail: the grain of a JPEG and the blur of a smaller copy do not reach it
_FLAT = 2.0  # standard deviation of a thumbnail's values below which it shows nothing to compare
_AXES = 8  # of the space in which near thumbnails are looked for
_NEAREST = 4  # neighbours of an image in each set that are compared with it
_CHUNK = 4096  # images at a time, to bound memory


def digest(image):
    """SHA-256 of the decoded pixels and their shape, as hex."""
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


def find(parts, correlation):
    """Groups of images that are one picture, each with whether all its pixels are equal.

    What is near to something near is in its group, too. Of many images that are all near to one
    another each is compared with the nearest few of every part; that ties them together in all
    but contrived cases, and needs memory for few pairs.

    Args:
        parts: arrays of images, uint8 [N, S, S, 3] of one S, or `store.Rows` of such.
        correlation: of thumbnails, above which they are near, in (0, 1]; 1: equal pixels only.
    Returns:
        [([(part, row), ...] in order, bool), ...], by their first image.
    """
    starts = np.cumsum([0, *map(len, parts)])
    every = (digest(image).encode() for image in itertools.chain(*parts))
    digests = np.fromiter(every, 'S64', starts[-1])
    _, first, same = np.unique(digests, return_index=True, return_inverse=True)
    links = [np.stack([np.arange(len(same)), first[same]])]  # each image and the first equal one
    if correlation < 1:
        links += [pairs + [[starts[a]], [starts[b]]] for a, b, pairs in _near(parts, correlation)]
    a, b = np.concatenate(links, axis=1)
    graph = scipy.sparse.coo_array((np.ones(len(a), bool), (a, b)), shape=(len(same),) * 2)
    _, group = scipy.sparse.csgraph.connected_components(graph, directed=False)
    repeated = np.flatnonzero(np.bincount(group)[group] > 1)
    order = repeated[np.argsort(group[repeated], kind='stable')]
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(order) else []
    found = sorted(groups, key=lambda members: members[0])
    part_of = [np.searchsorted(starts, members, 'right') - 1 for members in found]
    return [
        (list(zip(at.tolist(), (members - starts[at]).tolist())), len(set(same[members])) == 1)
        for members, at in zip(found, part_of)
    ]


def _near(parts, correlation):
    """Yields (part, other part, rows in each [2, P]) of near images.

    Thumbnails are unit vectors, whose distance is sqrt(2 - 2 correlation). It is no less between
    their projections on a few axes, in which a k-d tree finds candidates.
    """
    parts = {number: images for number, images in enumerate(parts) if len(images)}
    if not parts:
        return
    some = [images[:: -(-len(images) // _CHUNK)] for images in parts.values()]
    thumbnails = np.concatenate([_flat(_thumbnails(images)[0]) for images in some])
    axes = np.linalg.svd(thumbnails.T @ thumbnails)[0][:, :_AXES]  # where they differ most
    limit = np.sqrt(2 - 2 * correlation) + 1e-4  # and what float32 loses
    shadows = {number: _shadows(images, axes) for number, images in parts.items()}
    trees = {
        number: scipy.spatial.cKDTree(plain[shown]) for number, (plain, _, shown) in shadows.items()
    }
    for (a, (plain, mirrored, shown)), b in itertools.product(shadows.items(), parts):
        rows, others = np.flatnonzero(shown), np.flatnonzero(shadows[b][2])
        for queries, flip in ((plain, False), (mirrored, True)):
            count = _NEAREST + (a == b)  # an image is its own nearest
            found = trees[b].query(queries[rows], count, distance_upper_bound=limit)[1]
            pairs = np.argwhere(found < len(others))  # where there is none, the tree says its size
            pairs = np.stack([rows[pairs[:, 0]], others[found[tuple(pairs.T)]]])
            if a == b:
                pairs = pairs[:, pairs[0] != pairs[1]]
            yield a, b, pairs[:, _correlate(parts[a], parts[b], pairs, flip) > correlation]


def _shadows(images, axes):
    """Projections of the thumbnails and of their mirror images [N, A], and which show something."""
    made = []
    for i in range(0, len(images), _CHUNK):
        plain, shown = _thumbnails(images[i : i + _CHUNK])
        made.append((*(_flat(one) @ axes for one in (plain, _mirrored(plain))), shown))
    return [np.concatenate(values) for values in zip(*made)]


def _correlate(images, others, pairs, flip):
    """Correlations of the thumbnails of pairs [2, P], of the mirrored first if `flip`, [P]."""
    made = [np.zeros(0)]
    for i in range(0, pairs.shape[1], _CHUNK):
        rows, other_rows = pairs[:, i : i + _CHUNK]
        first, second = _thumbnails(images[rows])[0], _thumbnails(others[other_rows])[0]
        made.append((_flat(_mirrored(first) if flip else first) * _flat(second)).sum(axis=1))
    return np.concatenate(made)


def _thumbnails(images):
    """Centred, of unit length, float32 [N, 3, columns, rows]; which are not flat, bool [N]."""
    pool = _pooling(images.shape[1])
    values = np.tensordot(np.asarray(images, np.float32), pool, (2, 1))
    values = np.tensordot(values, pool, (1, 1))
    values -= values.mean(axis=(1, 2, 3), keepdims=True)
    deviation = values.std(axis=(1, 2, 3))
    length = deviation * np.float32(values[0].size) ** 0.5 if len(values) else deviation
    return values / np.maximum(length, 1e-6)[:, None, None, None], deviation > _FLAT


def _pooling(side):
    """The share that each of `side` pixels has in each of _SIDE cells of a row, [_SIDE, side]."""
    cells, pixels = np.arange(_SIDE + 1) * side / _SIDE, np.arange(side)
    first = np.maximum(cells[:-1, None], pixels)
    last = np.minimum(cells[1:, None], pixels + 1)
    return (np.maximum(last - first, 0) * _SIDE / side).astype(np.float32)


def _mirrored(thumbnails):
    return thumbnails[:, :, ::-1]


def _flat(thumbnails):
    return thumbnails.reshape(len(thumbnails), -1)
