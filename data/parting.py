"""Copies that lie in more than one split, and what is done with them."""

import numpy as np

from data import duplicates, store
from data.image_sets import DISAGREE, MOVED, SPLITS, ImageSet


def part_duplicates(sets, class_names, test_given, correlation, grouped=False):
    """No picture in two splits: (the new {split: ImageSet}, a record of every group of copies).

    When we cut the splits, all copies go to train. If they were `grouped` they cannot, as what they
    belong to lies elsewhere: those of one split stay, train or else test, and the others leave. A
    given test set stays as it is: its copies leave the training pool.
    """
    leave, join = ({split: [] for split in SPLITS} for _ in range(2))
    records = []
    groups = duplicates.find(
        [sets[split].images for split in SPLITS], [sets[split].labels for split in SPLITS],
        correlation,
    )
    for members, equal in groups:
        members = [(SPLITS[part], row) for part, row in members]
        found = {split for split, _ in members}
        stays = 'test' if test_given and 'test' in found else 'train'
        if grouped and stays not in found:
            stays = 'test'
        outside = [(split, row) for split, row in members if split != stays]
        if len(found) == 1:
            action, outside = f'kept: all in {members[0][0]}', []
        else:
            moves = stays == 'train' and not grouped
            action = MOVED if moves else f'dropped: one lies in {stays}'
            for split, row in outside:
                leave[split].append(row)
                if moves:
                    join[split].append(row)
        labels = sorted({class_names[sets[split].labels[row]] for split, row in members})
        if len(labels) > 1:
            action += f'{DISAGREE}{", ".join(labels)}'
        names = [f'{split}:{sets[split].names[row]}' for split, row in members]
        records.append({
            'names': names, 'pixels': 'equal' if equal else 'near', 'action': action,
            'parted': len(outside),
        })
    return _regroup(sets, leave, join), records


def _regroup(sets, leave, join):
    """`sets` without the rows {split: rows} `leave`, and with those of `join` at train's end."""
    result = {
        split: one.take(np.setdiff1d(np.arange(len(one)), leave[split])) if leave[split] else one
        for split, one in sets.items()
    }
    if any(join.values()):
        moved = [one.take(join[split]) for split, one in sets.items()]
        parts = [part for part in (result['train'], *moved) if len(part)]
        result['train'] = ImageSet(
            store.concatenate([part.images for part in parts]),
            np.concatenate([part.labels for part in parts]),
            tuple(name for part in parts for name in part.names),
            tuple(group for part in parts for group in part.groups),
        )
    empty = result['train'].take(slice(0))  # an empty split has the shape of the others
    return {split: one if len(one) else empty for split, one in result.items()}
