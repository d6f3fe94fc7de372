"""What the folds of one set say together: every image is a test image of one of them.

Of one split of a small set most images are never tested, and of a rare class hardly any. Each fold
trains all anew, so an image is classified by networks that have not seen it.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from data import cuts
from eval import calibration, results

FIELD = 'splits.fold'


def are(points: Sequence[Mapping]) -> bool:
    """Whether the runs of a sweep are all folds of a set, and differ in seeds besides at most.

    Not in the seed of the split, of which the folds are parts.
    """
    if len(points) < 2 or not all(point.get(FIELD) for point in points):
        return False
    others = {name for name in itertools.chain(*points) if name != FIELD}
    found = sorted(cuts.parse_fold(point[FIELD]) for point in points)
    return found == [(fold, len(points)) for fold in range(len(points))] and all(
        name.endswith('seed') and name != 'splits.seed' for name in others)


def pool(found: Sequence[Mapping], predictions, belonging) -> dict:
    """The comparison on the test images of all folds, or {} where it cannot be made.

    Seeds are combined over the folds in their order: what is compared is what as many trainings of
    each arm say of all images. That the training images of two folds are mostly the same makes
    trainings more alike than those on other images would be, of which the intervals know nothing.

    Args:
        found: `leaderboard.rows` of all folds.
        predictions: (row, arm) -> the files of its predictions, one a seed.
        belonging: row -> which of its test images belong together, see `statistics`, or None.
    Returns:
        `arms`, `differences` and `adjusted` as of a report, the columns of groups of classes within
        each difference, too, and `std` between folds where all have one of the same classes; what
        else `eval.wording` asks of metrics.json.
    """
    first = found[0]
    arms = [arm for arm in first['scores'] if all(arm in row['scores'] for row in found)]
    if len({row['seeds'] for row in found}) > 1 or len(arms) < 2:
        return {}
    runs, moved = [], []
    for row in found:
        files, counts = {arm: predictions(row, arm) for arm in arms}, row['train_counts']
        labels, own = results.read(files, first['classes'])
        runs.append((labels, own, belonging(row)))
        moved.append({arm: calibration.adjusted(own[arm], by, counts)
                      for arm, by in results.calibrations(files, counts).items()})
    labels, together, clusters = concatenate(runs)
    known = [arm for arm in arms if all(arm in own for own in moved)]
    counts = np.mean([row['train_counts'] for row in found], axis=0).round().astype(int)
    said_of = first['class_names'], counts, first['groups'], clusters
    whole = results.compare(labels, together, *said_of)
    whole['adjusted'] = results.adjusted(labels, _joined_arms(known, moved), *said_of)
    same = all(np.array_equal(row['masks'][group], first['masks'][group])
               for row in found for group in first['masks'])
    for pair, entry in whole['differences'].items():
        runs = [row['differences'][pair] for row in found]
        entry |= {group: own['accuracy'] for group, own in entry['groups'].items()}
        for key in (*results.DECIDING, *(entry['groups'] if same else ())):
            if all(key in run for run in runs):
                std = np.std([run[key]['mean'] for run in runs], ddof=1)
                entry[key] = entry[key] | {'std': float(std)}
    training = {arm: {'accuracy': {'per_seed': [
        share for row in found for share in row['training'][arm]['accuracy']['per_seed']]}}
        for arm in arms}
    return {**whole, 'test_images': len(labels), 'seeds': first['seeds'], 'training': training,
            'groups': first['groups'], 'controls': first['controls'],
            'test_clusters': None if clusters is None else len(np.unique(clusters))}


def concatenate(runs):
    """(labels [N], {arm: probabilities [S, N, C]}, clusters [N] or None) of the test images of all
    runs, each of which is such a triple; see `statistics` for clusters.
    """
    labels, probabilities, clusters = zip(*runs, strict=True)
    whole = _joined_arms(probabilities[0], probabilities)
    return np.concatenate(labels), whole, _joined(clusters, list(map(len, labels)))


def _joined_arms(arms, probabilities):
    return {arm: np.concatenate([own[arm] for own in probabilities], axis=1) for arm in arms}


def _joined(clusters, sizes):
    """The clusters of one fold after those of another; None if all images are on their own."""
    if all(own is None for own in clusters):
        return None
    found, start = [], 0
    for own, size in zip(clusters, sizes, strict=True):
        own = np.arange(size) if own is None else own
        found.append(own + start)
        start += own.max() + 1
    return np.concatenate(found)


