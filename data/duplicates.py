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
    order = np.argsort(group, kind='stable')
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    found = sorted((members for members in groups if len(members) > 1), key=lambda own: own[0])
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
    thumbnails = np.concatenate([_thumbnails(images)[0] for images in some])
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
        some = images[i : i + _CHUNK]
        plain, shown = _thumbnails(some)
        made.append((plain @ axes, _thumbnails(some[:, :, ::-1])[0] @ axes, shown))
    return [np.concatenate(values) for values in zip(*made)]


def _correlate(images, others, pairs, flip):
    """Correlations of the thumbnails of pairs [2, P], of the mirrored first if `flip`, [P]."""
    made = [np.zeros(0)]
    for i in range(0, pairs.shape[1], _CHUNK):
        first, second = images[pairs[0, i : i + _CHUNK]], others[pairs[1, i : i + _CHUNK]]
        first = first[:, :, ::-1] if flip else first
        made.append((_thumbnails(first)[0] * _thumbnails(second)[0]).sum(axis=1))
    return np.concatenate(made)


def _thumbnails(images):
    """Centred, scaled to unit length, float32 [N, D]; which are not flat, bool [N]."""
    images = np.asarray(images, np.float32)
    side = images.shape[1]
    edges = np.arange(min(side, _SIDE)) * side // min(side, _SIDE)
    sizes = np.diff(edges, append=side).astype(np.float32)
    sums = np.add.reduceat(np.add.reduceat(images, edges, axis=1), edges, axis=2)
    values = (sums / np.outer(sizes, sizes)[None, :, :, None]).reshape(len(images), -1)
    values -= values.mean(axis=1, keepdims=True)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.maximum(length, 1e-6), length[:, 0] > _FLAT * values.shape[1] ** 0.5
