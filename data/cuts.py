"""Which rows are train, validation and test, and which a long tail leaves: from labels alone."""

import numpy as np


def choose_rows(labels, test_source, test_fraction, validation_fraction, imbalance, seed):
    """{split: row numbers}, before duplicates are parted; see `splits.prepare`.

    The rows of a given test set count in `test_source`.
    """
    if test_source is None and not test_fraction > 0:
        raise ValueError('without a test set, test_fraction must be above 0')
    seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(3)]
    labels = np.asarray(labels)
    if test_source is None:
        pool, test = stratified_cut(labels, test_fraction, seeds[0])
    else:
        pool, test = np.arange(len(labels)), np.arange(len(test_source))
    pool = pool[long_tail(labels[pool], imbalance, seeds[1])]
    kept, cut = stratified_cut(labels[pool], validation_fraction, seeds[2])
    return {'train': pool[kept], 'validation': pool[cut], 'test': test}


def stratified_cut(labels, fraction, seed):
    """Split row numbers per class: (kept, cut), both sorted int64.

    A class of two or more gives at least one row and keeps at least one; a class of one keeps it.
    What is cut from a class depends on its own rows and the seed only.
    """
    if not 0 <= fraction < 1:
        raise ValueError(
            f'a split fraction must be in [0, 1), not {fraction}: training images would be gone'
        )
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        raise ValueError(
            f'a classifier needs two classes with images, a folder each; found {len(classes)}'
        )
    chosen = [np.zeros(0, np.int64)]
    for k, n in zip(classes, counts):
        size = min(max(round(fraction * n), 1), n - 1) if fraction > 0 else 0
        chosen.append(_choose(labels, k, size, seed))
    cut = np.sort(np.concatenate(chosen))
    return np.setdiff1d(np.arange(len(labels)), cut), cut


def long_tail(labels, imbalance, seed):
    """Sorted row numbers of an imbalanced subset; never more of a class than there is.

    Args:
        imbalance: '' keeps all; 'exp:100' keeps n_max * 100^(-k / (C - 1)) images of class k
            (Cui et al. 2019, imbalance factor 100); 'range:12-60' keeps counts evenly spread
            from 12 to 60 over the classes, which count goes to which class drawn by `seed`.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if not imbalance:
        return np.arange(len(labels))
    kind, _, value = imbalance.partition(':')
    sizes = None
    try:
        if kind == 'exp' and 1 <= (factor := float(value)) < float('inf'):
            exponents = np.arange(len(classes)) / max(len(classes) - 1, 1)
            sizes = np.floor(np.max(counts) * factor**-exponents + 1e-9)
        elif kind == 'range':
            low, high = (int(number) for number in value.split('-'))
            if 1 <= low <= high:
                sizes = np.rint(np.linspace(low, high, len(classes)))
                sizes = np.random.default_rng(seed).permutation(sizes)
    except ValueError:
        pass  # no numbers: as bad as numbers out of range
    if sizes is None:
        raise ValueError(
            f"config.data.imbalance={imbalance!r} must be '', 'exp:<factor of at least 1>' or "
            "'range:<low>-<high>', such as exp:100 or range:12-60"
        )
    sizes = np.clip(sizes, 1, counts).astype(int)
    return np.sort(np.concatenate([_choose(labels, k, n, seed) for k, n in zip(classes, sizes)]))


def _choose(labels, k, size, seed):
    rows = np.flatnonzero(labels == k)
    return np.random.default_rng([seed, int(k)]).choice(rows, size, replace=False)
