"""Which images of a split are not on their own? Those of one person, and copies of one picture."""

import numpy as np

from data import cuts, splits


def find(names, labels, pattern, copies, split):
    """Which images belong together, by their names or as copies of each other; see `statistics`.

    Args:
        names, labels: of the split's images, [N]; pattern: see `cuts.shared`.
        copies: the records of `Splits.duplicates`; see `splits.is_one_picture`.
    Returns:
        int [N] below the number of clusters; None where each image is on its own.
    """
    found = cuts.group(names, pattern)
    row_of = {f'{split}:{name}': row for row, name in enumerate(names)}
    repeats = []
    for entry in copies:
        rows = [row_of[name] for name in entry['names'] if name in row_of]
        if len(rows) > 1 and splits.is_one_picture(
                entry, len(rows), np.sum(labels == labels[rows[0]])):
            repeats.append(rows)
    if found is None and not repeats:
        return None
    found = np.arange(len(names)) if found is None else found
    for rows in repeats:
        found[np.isin(found, found[rows])] = found[rows[0]]
    return np.unique(found, return_inverse=True)[1]
