import csv
import io

import numpy as np
from PIL import Image

from eval import mistakes

NAMES = 'ant', 'bee', 'cat'
LABELS = np.array([0, 1, 2, 0, 1])


def sure(*rows):
    """Probabilities [N, 3] of rows of (class, its probability), the rest split evenly."""
    found = np.array([[(1 - p) / 2] * 3 for _, p in rows], np.float32)
    for row, (label, p) in zip(found, rows):
        row[label] = p
    return found


ORIGINAL = sure((0, 0.9), (2, 0.8), (0, 0.5), (1, 0.9), (1, 0.6))  # wrong in rows 1, 2 and 3
AUGMENTED = sure((1, 0.5), (1, 0.7), (2, 0.9), (2, 0.6), (1, 0.9))  # in rows 0 and 3


def test_each_image_is_listed_with_what_the_mean_of_an_arm_says(tmp_path):
    seeds = np.stack([ORIGINAL, sure(*[(0, 0.4)] * 5)])
    mistakes.write_table(tmp_path / 'p.csv', list('abcde'), NAMES, LABELS,
                         {'original': seeds, 'augmented': AUGMENTED[None]})
    with (tmp_path / 'p.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['file'] for row in rows] == list('abcde')
    assert [row['label'] for row in rows] == [NAMES[label] for label in LABELS]
    for i, row in enumerate(rows):
        mean = seeds.mean(axis=0)[i]
        assert row['original'] == NAMES[mean.argmax()]
        assert float(row['original_probability']) == round(float(mean.max()), 4)
    assert [row['original_right'] for row in rows] == ['2', '0', '0', '1', '1']
    assert [row['augmented_right'] for row in rows] == ['0', '1', '1', '0', '1']


def test_the_clearest_come_first():
    found = mistakes.pick(LABELS, {'original': ORIGINAL, 'augmented': AUGMENTED})
    listed = {heading: (rows.tolist(), taken.tolist()) for heading, (rows, taken) in found.items()}
    assert listed == {
        'right by\naugmented\nalone': ([2, 1], [0, 2]),  # from 0.25 to 0.9; from 0.1 to 0.7
        'right by\noriginal\nalone': ([0], [1]),
        'mistakes of\naugmented': ([3, 0], [2, 1]),
        'mistakes of\noriginal': ([3, 1, 2], [1, 2, 0]),
    }
    alone = mistakes.pick(LABELS, {'original': ORIGINAL})
    assert list(alone) == ['mistakes of\noriginal']


def test_the_sheet_has_a_row_for_each_kind_and_none_for_nothing():
    images = np.zeros((5, 8, 8, 3), np.uint8)
    both = {'original': ORIGINAL[None], 'augmented': AUGMENTED[None]}
    four, one = (Image.open(io.BytesIO(mistakes.sheet(images, NAMES, LABELS, arms))).height
                 for arms in (both, {'original': ORIGINAL[None]}))
    assert four - 8 == 4 * (one - 8)
    right = sure(*((label, 0.9) for label in LABELS))[None]
    assert mistakes.sheet(images, NAMES, LABELS, {'original': right}) is None
