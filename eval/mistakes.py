"""Which test images two arms are right and wrong about, one by one: as a table and as a sheet."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data.store import Rows
from eval import sheets

SHOWN = 10  # images a row of the sheet


def write_table(path: Path, names: Sequence[str], class_names: Sequence[str], labels: np.ndarray,
                probabilities: Mapping[str, np.ndarray]):
    """A CSV with a line a test image: file, label and, for each arm, what its classifiers' mean
    predicts, how probable that is to it, and how many of the classifiers are right.

    Args: labels: int [N]; probabilities: arm -> float [S, N, C], one a classifier.
    """
    header, columns = ['file', 'label'], [names, [class_names[label] for label in labels]]
    for arm, own in probabilities.items():
        mean = own.mean(axis=0)
        header += [arm, f'{arm}_probability', f'{arm}_right']
        columns += [[class_names[label] for label in mean.argmax(-1)],
                    [f'{value:.4f}' for value in mean.max(-1)],
                    (own.argmax(-1) == labels).sum(axis=0).tolist()]
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(zip(*columns, strict=True))


def pick(labels: np.ndarray, means: Mapping[str, np.ndarray]) -> dict[str, tuple]:
    """What a sheet shows: heading -> (rows, of the clearest first; the class each is taken for).

    Of two arms the images that one alone is right about, by how far the probability of the class
    moved; of every arm its mistakes, the surest first.

    Args: labels: int [N]; means: one or two arms -> mean probabilities, float [N, C].
    """
    rows = np.arange(len(labels))
    taken = {arm: mean.argmax(-1) for arm, mean in means.items()}
    found, last_first = {}, list(means)[::-1]
    for arm in last_first:
        for other in (name for name in means if name != arm):
            alone = np.flatnonzero((taken[arm] == labels) & (taken[other] != labels))
            moved = (means[arm] - means[other])[alone, labels[alone]]
            order = alone[np.argsort(-moved, kind='stable')]
            found[f'right by\n{arm}\nalone'] = order, taken[other][order]
    for arm in last_first:
        wrong = np.flatnonzero(taken[arm] != labels)
        sure = means[arm][rows, taken[arm]][wrong]
        order = wrong[np.argsort(-sure, kind='stable')]
        found[f'mistakes of\n{arm}'] = order, taken[arm][order]
    return {heading: one for heading, one in found.items() if len(one[0])}


def sheet(images: np.ndarray | Rows, class_names: Sequence[str], labels: np.ndarray,
          probabilities: Mapping[str, np.ndarray]) -> bytes | None:
    """PNG of what `pick` finds, SHOWN images a row, or None without any.

    Below an image its class, and the one that it is taken for.

    Args: images: uint8 [N, H, W, 3]; labels, probabilities: as of `write_table`, of one or two
        arms.
    """
    rows = {}
    means = {arm: own.mean(axis=0) for arm, own in probabilities.items()}
    for heading, (found, taken) in pick(labels, means).items():
        rows[f'{heading}: {len(found):,}'] = [
            (f'{class_names[labels[row]]}\nnot {class_names[wrong]}', np.asarray(images[row]))
            for row, wrong in zip(found[:SHOWN], taken)]
    return sheets.named(rows, tile=96) if rows else None
