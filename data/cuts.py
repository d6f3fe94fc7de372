"""Which rows are train, validation and test, and what a long tail leaves, before any is read."""

import re
import unicodedata
import warnings

import numpy as np


def choose_rows(labels, test_source, test_fraction, validation_fraction, imbalance, seed,
                groups=None, fold=''):
    """{split: row numbers}, before duplicates are parted; see `splits.prepare`.

    The rows of a given test set count in `test_source`. `groups`: see `group`, of all of `labels`
    and then of the given test set, whose groups leave the pool; None: each row is on its own.
    `fold`: see `parse_fold`; its part is the test set, whatever `test_fraction` says.

    Raises:
        ValueError: fractions, classes or groups leave nothing to cut.
    """
    of_folds = parse_fold(fold)
    if of_folds and test_source is not None:
        raise ValueError(
            f'config.splits.fold={fold!r} cuts the test set from the training images, and this set '
            'has one of its own'
        )
    seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(3)]
    labels = np.asarray(labels)

    def cut(rows, fraction, seed):
        if groups is None:
            return stratified_cut(labels[rows], fraction, seed)
        return grouped_cut(labels[rows], groups[rows], fraction, seed)

    pool = np.arange(len(labels))
    if of_folds:
        part, parts = of_folds
        pool, test = fold_cut(labels, groups, part, parts, seeds[0])
    elif test_source is None:
        pool, test = cut(pool, test_fraction, seeds[0])
    else:
        test = np.arange(len(test_source))
        if groups is not None:
            pool = np.flatnonzero(~np.isin(groups[: len(labels)], groups[len(labels) :]))
            if len(np.unique(labels[pool])) < 2:
                raise ValueError(
                    f'{len(labels) - len(pool)} of {len(labels)} images are of groups '
                    '(config.splits.group_by, or the column of a table) that lie in '
                    'config.data.test, and with them left out fewer than two classes have images; '
                    'let a group be what no two days, persons or objects share'
                )
    pool = pool[long_tail(labels[pool], imbalance, seeds[1])]
    kept, held_out = cut(pool, validation_fraction, seeds[2])
    return {'train': pool[kept], 'validation': pool[held_out], 'test': test}


def group(names, pattern, given=()):
    """Which images belong together, int [N]: those that have the same in common.

    Args: as of `shared`. What has nothing in common with others is a group of its own. Without a
        pattern and groups: returns None.

    Raises:
        ValueError: `pattern` is no regular expression.
    """
    if not (pattern or given):
        return None
    number: dict[tuple | int, int] = {}
    return np.array([number.setdefault(i if found is None else found, len(number))
                     for i, found in enumerate(shared(names, pattern, given))], np.int64)


def shared(names, pattern, given=()):
    """What each image may have in common with others, a tuple, or None where that is nothing: the
    group that a table has `given` it, [N], or else what `pattern` finds in its name.

    Args:
        names: of files, [N], of which <class>/<file> counts, however they are wrapped, or as many
            folders more as the pattern has slashes more.
        pattern: a regular expression; what counts is the parts in brackets or, without any, all
            that it finds.

    Raises:
        ValueError: `pattern` is no regular expression.
    """
    if given:
        return [(own,) if own else None for own in given]
    try:
        search = re.compile(unicodedata.normalize('NFC', pattern)).search
    except re.error as error:
        raise ValueError(
            f'config.splits.group_by={pattern!r} is no regular expression: {error}'
        ) from error
    of_path = re.sub(r'\[\^?\]?[^\]]*\]', '', pattern).count('/') + 1  # not those in [^/]
    result, parts = [], max(2, of_path)
    for name in names:
        name = unicodedata.normalize('NFC', name)  # macOS and others write an umlaut differently
        match = search('/'.join(name.replace('\\', '/').split('/')[-parts:]))
        found = match.groups() or (match.group(),) if match else ()
        result.append(found if any(found) else None)
    return result


def stratified_cut(labels, fraction, seed):
    """Split row numbers per class: (kept, cut), both sorted int64.

    A class of two or more gives at least one row and keeps at least one; a class of one keeps it.
    What is cut from a class depends on its own rows and the seed only.

    Raises:
        ValueError: under two classes, or a fraction outside [0, 1).
    """
    sizes = _sizes(labels, fraction)
    return _parted(len(labels), [_choose(labels, k, n, seed) for k, n in sizes.items()])


def grouped_cut(labels, groups, fraction, seed):
    """As `stratified_cut`, but rows of a group stay together: sizes come near the fraction only.

    Groups are taken in random order where that brings their classes nearer to it, all in all. Every
    class keeps two groups, or all but one if it has fewer than three; of one that lost none, a
    smallest one goes as well, where no other class needs it.

    Raises:
        ValueError: as there.
    """
    classes = np.unique(labels)
    wanted = np.array(list(_sizes(labels, fraction).values()))
    order = np.argsort(groups, kind='stable')
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    members = np.split(order, starts[1:])
    inside = [np.unique(np.searchsorted(classes, labels[rows]), return_counts=True)
              for rows in members]
    held = np.bincount(np.concatenate([k for k, _ in inside]))  # groups that have rows of a class
    left, least, taken = held.copy(), np.clip(held - 1, 1, 2), []

    def take(i):
        k, n = inside[i]
        if np.all(left[k] > least[k]):
            wanted[k] -= n
            left[k] -= 1
            taken.append(members[i])

    shuffled = np.random.default_rng(seed).permutation(len(members))
    for i in shuffled:
        k, n = inside[i]
        if np.abs(wanted[k] - n).sum() < np.abs(wanted[k]).sum():
            take(i)
    for i in sorted(shuffled, key=lambda i: len(members[i])):
        k, _ = inside[i]
        if fraction > 0 and np.any(left[k] == held[k]):
            take(i)
    return _parted(len(labels), taken)


def parse_fold(text):
    """(k, n) of 'k/n', which names part k of n, from 0; None of ''.

    Raises:
        ValueError: it is neither.
    """
    if not text:
        return None
    found = re.fullmatch(r'(\d+)/(\d+)', text)
    if not found or not int(found[1]) < int(found[2]) or int(found[2]) < 2:
        raise ValueError(
            f"config.splits.fold={text!r} must be '' or a part and their number, '0/5' to '4/5'"
        )
    return int(found[1]), int(found[2])


def fold_cut(labels, groups, fold, folds, seed):
    """As `stratified_cut`: part `fold` of `folds` is cut, and each row is in one of them.

    Rows of a group stay together. Where no row of a class would be kept, its smallest group is,
    which then is in no part.

    Raises:
        ValueError: no class has as many rows as there are folds, or there are fewer groups.
    """
    from sklearn import model_selection  # a second to import, and few runs need it

    with warnings.catch_warnings():  # of classes with fewer rows than there are folds
        warnings.simplefilter('ignore')
        if groups is None:
            cutter = model_selection.StratifiedKFold(folds, shuffle=True, random_state=seed)
        else:
            cutter = model_selection.StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        try:
            _, cut = list(cutter.split(labels, labels, groups))[fold]
        except ValueError as error:
            raise ValueError(f'config.splits.fold={fold}/{folds}: {error}') from error
    groups = np.arange(len(labels)) if groups is None else groups
    is_cut = np.isin(np.arange(len(labels)), cut)
    for k in np.unique(labels):
        own = np.flatnonzero(labels == k)
        if is_cut[own].all():
            smallest = min(np.unique(groups[own]), key=lambda group: (groups == group).sum())
            is_cut[groups == smallest] = False
    return np.flatnonzero(~is_cut), np.flatnonzero(is_cut)


def _parted(count, taken):
    """(row numbers below `count` that are in none of the arrays `taken`, those that are)."""
    cut = np.zeros(count, bool)
    for rows in taken:
        cut[rows] = True
    return np.flatnonzero(~cut), np.flatnonzero(cut)


def _sizes(labels, fraction):
    """{class: how many of its rows the fraction is}: at least one, but never all of them."""
    if not 0 <= fraction < 1:
        raise ValueError(
            f'a split fraction must be in [0, 1), not {fraction}: training images would be gone'
        )
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        raise ValueError(
            f'a classifier needs two classes with images, a folder each; found {len(classes)}'
        )
    return {
        k: min(max(round(fraction * n), 1), n - 1) if fraction > 0 else 0
        for k, n in zip(classes.tolist(), counts.tolist())
    }


def long_tail(labels, imbalance, seed):
    """Sorted row numbers of an imbalanced subset; never more of a class than there is.

    Args:
        imbalance: '' keeps all; 'exp:100' keeps n_max * 100^(-k / (C - 1)) images of class k
            (Cui et al. 2019, imbalance factor 100); 'range:12-60' keeps counts evenly spread
            from 12 to 60 over the classes, which count goes to which class drawn by `seed`.

    Raises:
        ValueError: `imbalance` is none of these.
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
            if 1 <= low <= high < 2**31:
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
