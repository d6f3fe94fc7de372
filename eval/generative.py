"""How good are the synthetic images? Sets of features in, numbers out. Pure functions; no files.

All of them compare two sets of feature vectors, float [N, D] and [M, D]. Which features is the
caller's choice, and figures from different features cannot be compared.
"""

from collections.abc import Callable

import numpy as np
import scipy  # its parts are imported when they are first used

MEASURES = {'frechet_distance': 'Fréchet distance: lower is nearer',
            'kernel_distance': 'Kernel distance: about 0 where both are alike',
            'precision': 'Precision: share that looks real',
            'recall': 'Recall: share of the real variety',
            'density': 'Density: crowding near real images',
            'coverage': 'Coverage: share of real images with one near'}
MIN_IMAGES = 10  # of each set; below it `measures` has no figure to give
MAX_IMAGES = 10_000  # of each set that `compare` takes: time and memory are quadratic
_CHUNK = 1024  # rows of a kernel matrix at a time, to bound memory
_MEBIBYTES = 64  # of a distance matrix at a time


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared 2-Wasserstein distance of the Gaussians with the means and covariances of two sets.

    |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)): Heusel et al. 2017, eq. 6 (arXiv
    1706.08500). Never below 0; grows as the sets get smaller, so only sets of one size compare.

    Args: a, b: features [N, D] and [M, D].
    Raises: ValueError if a set has fewer than two rows.
    """
    _need(2, a, b)
    means, roots = zip(*map(_mean_and_root, (a, b)))
    # With S = R'R, tr (S_a S_b)^(1/2) is the sum of the singular values of R_a R_b'. No square is
    # formed, so the zero eigenvalues of N < D stay at rounding error and not at its square root.
    fidelity = scipy.linalg.svdvals(roots[0] @ roots[1].T).sum()
    spread = sum(np.square(root).sum() for root in roots)
    return float(max(np.square(means[0] - means[1]).sum() + spread - 2 * fidelity, 0.0))


def _mean_and_root(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean [D], and R [min(N, D), D] with R'R the unbiased covariance."""
    x = np.asarray(x, np.float64)
    mean = x.mean(axis=0)
    return mean, np.linalg.qr((x - mean) / np.sqrt(len(x) - 1), mode='r')


def kernel_distance(a: np.ndarray, b: np.ndarray, labels_a: np.ndarray | None = None,
                    labels_b: np.ndarray | None = None) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x.y / D + 1)^3.

    The kernel inception distance of Binkowski et al. 2018 (arXiv 1801.01401). Zero on average for
    two samples of one distribution, whatever their sizes, so it can be negative.

    With labels the same of samples with a fixed number of images a class, in which two images are
    of one class less often than chance has it: such pairs are weighted as often as chance has it.
    Where either set has one image of a class and so no pair, that class is compared with the others
    alone. The classes count as in b; those that one set lacks are left out.

    Args: a, b: features [N, D] and [M, D]; labels_a, labels_b: int [N] and [M].
    Raises: ValueError if a set has fewer than two rows, of classes that both have.
    """
    if labels_a is None or labels_b is None:
        return _kernel_distance(a, b)
    shared = np.intersect1d(labels_a, labels_b)
    a, b = (np.asarray(x)[np.isin(of, shared)] for x, of in ((a, labels_a), (b, labels_b)))
    of_a, of_b = (np.searchsorted(shared, of[np.isin(of, shared)]) for of in (labels_a, labels_b))
    _need(2, a, b)
    shares = np.bincount(of_b) / len(b)
    weights = np.concatenate([(shares / np.bincount(of_a))[of_a], -np.ones(len(b)) / len(b)])
    everything, of = np.concatenate([a, b]), np.concatenate([of_a, of_b])
    total = _kernel_form(everything, weights)
    for label, share in enumerate(shares):  # pairs of one class: as they count, less as they did
        total -= _kernel_form(everything[of == label], weights[of == label])
        own_a, own_b = a[of_a == label], b[of_b == label]
        if min(len(own_a), len(own_b)) > 1:
            total += share**2 * _kernel_distance(own_a, own_b)
    return total


def _kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """`kernel_distance` without classes."""
    _need(2, a, b)
    n, m = len(a), len(b)
    own = [(_kernel_sum(x, x) - _kernel(np.square(x, dtype=np.float64).sum(1), x.shape[1]).sum())
           / (len(x) * (len(x) - 1)) for x in (a, b)]
    return float(sum(own) - 2 * _kernel_sum(a, b) / (n * m))


def _kernel(products: np.ndarray, dimension: int) -> np.ndarray:
    return (products / dimension + 1) ** 3


def _kernel_sum(a: np.ndarray, b: np.ndarray) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    parts = (a[i:i + _CHUNK] for i in range(0, len(a), _CHUNK))
    return sum(float(_kernel(part @ b.T, a.shape[1]).sum()) for part in parts)


def _kernel_form(x: np.ndarray, weights: np.ndarray) -> float:
    """The sum of w_i w_j k(x_i, x_j) over all pairs, x: [N, D], w: [N]."""
    x = np.asarray(x, np.float64)
    parts = (slice(i, i + _CHUNK) for i in range(0, len(x), _CHUNK))
    return sum(float(weights[part] @ _kernel(x[part] @ x.T, x.shape[1]) @ weights)
               for part in parts)


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> tuple[float, float]:
    """Share of the fakes on the manifold of the real images, and the other way round, in [0, 1].

    A set's manifold: balls around its points that reach to their k-th neighbour in the set.
    Kynkaanniemi et al. 2019, eq. 1 and 2 (arXiv 1904.06991).

    Args: real, fake: features [N, D] and [M, D].
    Raises: ValueError if a set has no more than k rows.
    """
    _need(k + 1, real, fake)
    precision = _balls_around(fake, real, _radii(real, k)) > 0
    recall = _balls_around(real, fake, _radii(fake, k)) > 0
    return float(precision.mean()), float(recall.mean())


def density_coverage(real: np.ndarray, fake: np.ndarray, k: int = 5) -> tuple[float, float]:
    """How densely fakes lie among real images (about 1 is right) and the share that has one near.

    Density: the mean number of the real images' balls that a fake lies in, over k. Coverage: the
    share of these balls with a fake in them, in [0, 1]; of one distribution with M = N >> k it is
    1 - 2^-k on average. Naeem et al. 2020, sec. 3 and lemma 2 (arXiv 2002.09797).

    Args: real, fake: features [N, D] and [M, D].
    Raises: ValueError if there are no more than k real rows, or no fake one.
    """
    _need(k + 1, real)
    _need(1, fake)
    radii = _radii(real, k)
    held = _per_row(real, fake, lambda away, row: (away <= radii[row:row + len(away), None]).sum(1))
    return float(held.sum() / (len(fake) * k)), float((held > 0).mean())


def _radii(features: np.ndarray, k: int) -> np.ndarray:
    """Distance of each row to its k-th neighbour, itself not counted, [N]."""
    # from 0, which is the row itself
    return _per_row(features, features, lambda away, row: np.partition(away, k, axis=1)[:, k])


def _balls_around(points: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """In how many of the balls each point lies, int [N]."""
    return _per_row(points, centres, lambda away, row: (away <= radii).sum(axis=1))


def _per_row(points: np.ndarray, centres: np.ndarray, reduce: Callable) -> np.ndarray:
    """`reduce(distances [n, M], number of their first row)` of all Euclidean distances, [N].

    Some rows at a time; the diagonal is 0 for one array.
    """
    from sklearn.metrics import pairwise_distances_chunked  # half a second, and few stages need it

    chunks = pairwise_distances_chunked(points, centres, reduce_func=reduce,
                                        working_memory=_MEBIBYTES)
    return np.concatenate(list(chunks))


def _need(rows: int, *sets: np.ndarray):
    if min(map(len, sets)) < rows:
        raise ValueError(f'need {rows} or more images a set, got {[len(one) for one in sets]}')


def measures(real: np.ndarray, fake: np.ndarray, real_labels: np.ndarray | None = None,
             fake_labels: np.ndarray | None = None) -> dict[str, float | None]:
    """Each of MEASURES; all None where a set is smaller than MIN_IMAGES."""
    if min(len(real), len(fake)) < MIN_IMAGES:
        return dict.fromkeys(MEASURES)
    values = (frechet_distance(real, fake), kernel_distance(real, fake, real_labels, fake_labels),
              *precision_recall(real, fake), *density_coverage(real, fake))
    return dict(zip(MEASURES, values))


def compare(synthetic: tuple, validation: tuple, train: tuple, seed: int = 0) -> dict:
    """Synthetic images against real ones, and the same of real ones as the yardstick.

    Synthetic images fill the rare classes, and small sets look worse than large ones; so the
    synthetic and the validation images that are compared are as many as each other in every
    class, drawn by `seed`, and the training images are those of the same classes. Of a set larger
    than MAX_IMAGES so many are drawn.

    Args: each (features float [N, D], labels int [N]), arrays.
    Returns: `images` and `classes` compared; `measures` of `synthetic_train`,
        `validation_train` (the yardstick) and `synthetic_validation`.
    """
    rng = np.random.default_rng(seed)
    chosen = ([], [])
    shared = np.intersect1d(synthetic[1], validation[1])
    for label in shared:
        rows = [np.flatnonzero(labels == label) for _, labels in (synthetic, validation)]
        count = min(map(len, rows))
        for part, own in zip(chosen, rows):
            part.extend(rng.choice(own, count, replace=False))
    paired = _some(np.arange(len(chosen[0])), rng)
    rows = [np.array(own, int)[paired] for own in chosen]
    rows.append(_some(np.flatnonzero(np.isin(train[1], shared)), rng))
    (fake, of_fake), (held_out, of_held_out), (real, of_real) = (
        (features[own], labels[own])
        for (features, labels), own in zip((synthetic, validation, train), rows))
    return {'images': len(fake), 'classes': len(shared),
            'synthetic_train': measures(real, fake, of_real, of_fake),
            'validation_train': measures(real, held_out, of_real, of_held_out),
            'synthetic_validation': measures(held_out, fake, of_held_out, of_fake)}


def _some(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The rows, or MAX_IMAGES of them."""
    return rows if len(rows) <= MAX_IMAGES else rng.choice(rows, MAX_IMAGES, replace=False)
