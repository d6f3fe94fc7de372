"""Which images of a split are not on their own? Those of one person, and copies of one picture."""

import numpy as np
import scipy  # its parts are imported when they are first used

from data import cuts, image_sets


def of_test(parts, pattern):
    """`find`, of the test images of a `Splits`."""
    test = parts.test
    return find(test.names, test.labels, pattern, parts.duplicates, 'test', test.groups)


def find(names, labels, pattern, copies, split, given=()):
    """Which images belong together, by their names or groups, or as copies of each other.

    What `eval.statistics.bootstrap_interval` takes as `clusters`.

    Args:
        names, labels: of the split's images, [N]; pattern, given: see `cuts.shared`.
        copies: the records of `Splits.duplicates`; see `image_sets.is_one_picture`.
        split: whose images these are: of 'train', 'validation', 'test'.
    Returns:
        int [N] below the number of clusters; None where each image is on its own.
    """
    groups, first, links = cuts.group(names, pattern, given), {}, []
    if groups is not None:
        links += [(row, first.setdefault(group, row)) for row, group in enumerate(groups)]
    counts = np.bincount(labels)
    row_of = {name: row for row, name in enumerate(names)}
    for entry in copies:
        rows = image_sets.rows_in(split, entry, row_of)
        if len(rows) > 1 and image_sets.is_one_picture(entry, len(rows), counts[labels[rows[0]]]):
            links += [(row, rows[0]) for row in rows]
    if not links:
        return None
    shape = len(names), len(names)
    graph = scipy.sparse.coo_array((np.ones(len(links)), np.transpose(links)), shape)
    return scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
