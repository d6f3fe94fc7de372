"""Which images show the same picture? Equal pixels, or the same encoded, sized or mirrored anew.

Two images of a class are near when their thumbnails, or one and the other's mirror image, correlate
by more than a limit; light and contrast do not count. Not found: crops, shifts, rotations. Of large
sets some images at a time are in memory.
"""

import hashlib
import itertools

import numpy as np
import scipy  # its parts are imported when they are first used

from data import store

_SIDE = 8  # of a thumbnail: the grain of a JPEG and the blur of a smaller copy do not reach it
_MIN_STD = 2.0  # standard deviation in its channels below which a thumbnail has nothing to compare
_SHAPES = 0.9  # least correlation without the colour that all cells share; copies have 0.96
_AXES = 8  # of the space in which near thumbnails are looked for
_NEAREST = 4  # neighbours of an image in each set that are compared with it
_SAMPLE = 4096  # images of a set that tell the axes
_BYTES = 2**25  # of pixels as float32 at a time, to bound memory


def digest(image):
    """SHA-256 of the decoded pixels and their shape, as hex."""
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


def find(parts, labels, correlation):
    """Groups of images that are one picture, each with whether all its pixels are equal.

    What is near to something near is in its group, too. Each image is compared with the nearest few
    of every part, which bounds the memory; many that are all alike are tied together by these.

    Args:
        parts: arrays of images, uint8 [N, S, S, 3] of one S, or `store.Rows` of such.
        labels: of each part, int [N]. Near are only images of one class: one of another does not
            tell the answer, and a mirrored arrow is another arrow. Equal ones may be of any.
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
        near = _near(parts, labels, correlation)
        links += [pairs + [[starts[a]], [starts[b]]] for a, b, pairs in near]
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


def _near(parts, labels, correlation):
    """Yields (part, other part, rows in each [2, P]) of near images of a class.

    Thumbnails are unit vectors, whose distance is sqrt(2 - 2 correlation). It is no less between
    their projections on a few axes, in which a k-d tree finds candidates.
    """
    numbers = [number for number, images in enumerate(parts) if len(images)]
    if not numbers:
        return
    axes = _axes([parts[number] for number in numbers])
    limit = np.sqrt(2 - 2 * correlation) + 1e-4  # and what float32 loses
    shadows = {number: _shadows(parts[number], axes) for number in numbers}
    for label in np.unique(np.concatenate(labels)):
        rows = {k: np.flatnonzero(shadows[k][2] & (labels[k] == label)) for k in numbers}
        trees = {k: scipy.spatial.cKDTree(shadows[k][0][own]) for k, own in rows.items()}
        for a, b, flip in itertools.product(numbers, numbers, (False, True)):
            count = _NEAREST + (a == b)  # an image is its own nearest
            queries = shadows[a][1 if flip else 0][rows[a]]
            found = trees[b].query(queries, count, distance_upper_bound=limit)[1]
            pairs = np.argwhere(found < len(rows[b]))  # where there is none, it says the size
            pairs = np.stack([rows[a][pairs[:, 0]], rows[b][found[tuple(pairs.T)]]])
            if a == b:
                pairs = pairs[:, pairs[0] != pairs[1]]
            yield a, b, pairs[:, _are_near(parts[a], parts[b], pairs, flip, correlation)]


def _axes(parts):
    """The directions in which the thumbnails of some of the images differ most, [D, A]."""
    some = [store.pick(own, slice(None, None, -(-len(own) // _SAMPLE))) for own in parts]
    made = [_flat(_thumbnails(chunk)[0]) for images in some for chunk in _chunks(images)]
    thumbnails = np.concatenate(made)
    thumbnails -= thumbnails.mean(axis=0)
    return np.linalg.svd(thumbnails.T @ thumbnails)[0][:, :_AXES]


def _shadows(images, axes):
    """Projections of the thumbnails and of their mirror images [N, A], and which show something."""
    made = []
    for chunk in _chunks(images):
        plain, shown = _thumbnails(chunk)
        made.append((*(_flat(one) @ axes for one in (plain, _mirrored(plain))), shown))
    return [np.concatenate(values) for values in zip(*made)]


def _are_near(images, others, pairs, flip, correlation):
    """Which pairs [2, P] are near, the first one mirrored if `flip`, bool [P]."""
    found = [np.zeros(0, bool)]
    for first, second in zip(_chunks(images, pairs[0]), _chunks(others, pairs[1])):
        first, second = _thumbnails(first)[0], _thumbnails(second)[0]
        first = _mirrored(first) if flip else first
        shapes = [one - one.mean(axis=(2, 3), keepdims=True) for one in (first, second)]
        found.append((_cosine(first, second) > correlation) & (_cosine(*shapes) > _SHAPES))
    return np.concatenate(found)


def _cosine(a, b):
    lengths = [np.linalg.norm(_flat(one), axis=1) for one in (a, b)]
    return (_flat(a) * _flat(b)).sum(axis=1) / np.maximum(lengths[0] * lengths[1], 1e-12)


def _chunks(images, rows=None):
    """The images, or those at `rows`, some at a time."""
    count = len(images) if rows is None else len(rows)
    some = max(_BYTES // (4 * int(np.prod(images.shape[1:]))), 1)
    for i in range(0, count, some):
        yield images[i : i + some] if rows is None else images[rows[i : i + some]]


def _thumbnails(images):
    """Centred, of unit length, float32 [N, 3, columns, rows]; which are not flat, bool [N]."""
    pool = _pooling(images.shape[1])
    values = np.tensordot(np.asarray(images, np.float32), pool, (2, 1))
    values = np.tensordot(values, pool, (1, 1))  # [N, 3, columns, rows]
    shown = np.sqrt(values.var(axis=(2, 3)).mean(axis=1)) > _MIN_STD
    values -= values.mean(axis=(1, 2, 3), keepdims=True)
    length = np.linalg.norm(_flat(values), axis=1)
    return values / np.maximum(length, 1e-6)[:, None, None, None], shown


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
