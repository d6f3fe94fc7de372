import numpy as np
import pytest

from data import clusters, image_sets

NAMES = [f'a/{person}_{i}.png' for person in 'xyz' for i in range(4)]  # of three persons
LABELS = np.zeros(12, int)


def copies(*rows, pixels='equal'):
    return {'names': [f'test:{NAMES[row]}' for row in rows], 'pixels': pixels}


def find(*records, pattern='', labels=LABELS):
    return clusters.find(NAMES, labels, pattern, records, 'test')


def test_without_copies_or_a_pattern_each_is_on_its_own():
    assert find() is None
    elsewhere = {'names': ['train:b/1.png', f'train:{NAMES[0]}', f'test:{NAMES[0]}'],
                 'pixels': 'equal'}
    assert find(elsewhere) is None  # of which one is left here


def test_copies_of_one_picture_are_one():
    assert find(copies(0, 5), copies(2, 7, 11)).tolist() == [0, 1, 2, 3, 4, 0, 5, 2, 6, 7, 8, 2]


def test_copies_that_were_moved_to_train_are_one_there():
    moved = {'names': [f'train:{NAMES[3]}', f'validation:{NAMES[8]}'], 'pixels': 'equal',
             'action': image_sets.MOVED}
    assert clusters.find(NAMES, LABELS, '', [moved], 'train').tolist() == [
        0, 1, 2, 3, 4, 5, 6, 7, 3, 8, 9, 10]
    assert clusters.find(NAMES, LABELS, '', [moved], 'validation') is None
    assert clusters.find(NAMES, LABELS, '', [moved | {'action': 'kept'}], 'train') is None


def test_copies_tie_the_groups_that_they_are_of():
    persons = find(pattern='(.)_')
    assert persons.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert find(copies(0, 5), pattern='(.)_').tolist() == [0] * 8 + [1] * 4


@pytest.mark.parametrize('pixels, count', [('near', image_sets.LOOK), ('equal', image_sets.LOOK),
                                           ('near', image_sets.LOOK - 1)])
def test_what_a_class_looks_like_is_no_copy(pixels, count):
    record = copies(*range(count), pixels=pixels)
    found = find(record, labels=np.repeat([0, 1], [count, 12 - count]))
    assert (found is None) == (pixels == 'near' and count == image_sets.LOOK)
    assert find(record).max() == 12 - count  # not most of its class
