import itertools

import numpy as np
import pytest

from data import pipeline
from data.image_sets import ImageSet


def make_set(size, classes=3, offset=0):
    """Images whose every pixel is offset + row number, so that a gather can be checked."""
    values = (np.arange(size) + offset).astype(np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (size, 2, 2, 3)).copy()
    return ImageSet(images, (np.arange(size) % classes).astype(np.int32), ('',) * size)


def take(iterator, n):
    return list(itertools.islice(iterator, n))


def indices(pools, shares=None, steps=30, **options):
    options = {'batch_size': 8, 'seed': 0, **options}
    return take(pipeline.index_batches(pools, shares or [1] * len(pools), **options), steps)


@pytest.mark.parametrize('size', [1, 2, 5, 8, 13, 64])
def test_every_epoch_covers_each_index_once(size):
    pool = np.arange(100, 100 + size)
    stream = np.concatenate(indices([pool]))
    epochs = stream[: len(stream) // size * size].reshape(-1, size)
    assert len(epochs) >= 3
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), pool)
    if size > 5:
        assert not np.array_equal(epochs[0], epochs[1])


@pytest.mark.parametrize(
    ('shares', 'batch', 'expected'),
    [
        ([1, 1], 8, [4, 4]),
        ([0.7, 0.3], 10, [7, 3]),
        ([3, 1], 64, [48, 16]),
        ([1, 1, 1], 8, [3, 3, 2]),
        ([1, 0, 1], 6, [3, 0, 3]),
    ],
)
def test_ratio_is_exact_in_every_batch(shares, batch, expected):
    pools = [np.arange(1000 * k, 1000 * k + 7 + k) for k in range(len(shares))]
    for rows in indices(pools, shares, batch_size=batch):
        np.testing.assert_array_equal(np.bincount(rows // 1000, minlength=len(shares)), expected)


def test_an_empty_pool_is_left_out():
    rows = np.concatenate(indices([np.arange(5), np.zeros(0, int)], [1, 9]))
    assert set(rows) == set(range(5))


def test_every_slice_of_a_batch_keeps_the_mix():
    pools = [np.arange(100), np.arange(1000, 1100)]
    for rows in indices(pools, [3, 1], batch_size=64):
        np.testing.assert_array_equal((rows >= 1000).reshape(4, 16).sum(1), [4, 4, 4, 4])


@pytest.mark.parametrize('start', [1, 7, 29])
def test_resume_equals_going_on(start):
    pools, shares = [np.arange(13), np.arange(50, 90)], [1, 2]
    whole = indices(pools, shares, batch_size=9)
    np.testing.assert_array_equal(
        whole[start:], indices(pools, shares, batch_size=9, start_step=start)[: 30 - start]
    )


@pytest.mark.parametrize('start', [0, 3, 5, 6, 20])
def test_in_turn_switches_at_its_step_wherever_it_starts(start):
    def stream(name):
        return lambda step: ((name, t) for t in itertools.count(step))

    batches = pipeline.in_turn(stream('mixed'), stream('real'), 5, start)
    expected = [('mixed' if t < 5 else 'real', t) for t in range(start, 30)]
    assert list(itertools.islice(batches, 30 - start)) == expected


@pytest.mark.parametrize('count', [2, 4])
def test_union_of_processes_is_the_single_process(count):
    pools, shares = [np.arange(13), np.arange(50, 90)], [1, 2]
    parts = [
        indices(pools, shares, process_index=p, process_count=count) for p in range(count)
    ]
    joined = np.concatenate(parts, axis=1)
    np.testing.assert_array_equal(joined, indices(pools, shares))


def test_seeds_pools_and_epochs_differ():
    pool = np.arange(64)
    first, again, other, pair = (
        np.concatenate(rows)
        for rows in (
            indices([pool], steps=16),
            indices([pool], steps=16),
            indices([pool], steps=16, seed=1),
            indices([pool, pool], steps=16),
        )
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[64:], other[:64])  # seed + epoch would collide here
    assert not np.array_equal(pair[0::2], pair[1::2])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'batch_size': 7, 'process_count': 2}, '7 does not divide over 2'),
        ({'batch_size': 0}, 'does not divide'),
        ({'process_index': 2, 'process_count': 2}, 'process_index'),
        ({'shares': [1, 1]}, 'one share'),
        ({'shares': [-1]}, 'one share'),
        ({'shares': [float('nan')]}, 'one share'),
        ({'shares': [0]}, 'nothing to train on'),
        ({'pools': [np.arange(3), np.arange(3)], 'shares': [1, 0.001]}, 'no element in a batch'),
    ],
)
def test_what_cannot_work_is_refused_at_once(arguments, message):
    arguments = {'pools': [np.arange(3)], 'shares': [1], 'batch_size': 8, 'seed': 0, **arguments}
    with pytest.raises(ValueError, match=message):
        pipeline.index_batches(**arguments)


def test_train_batches_gather_from_the_right_set():
    real, synthetic = make_set(20), make_set(30, offset=100)
    empty = make_set(0)
    batches = pipeline.train_batches(
        [real, empty, synthetic], [1, 1, 1], batch_size=8, seed=0, weights=[1, 9, 0.3]
    )
    for batch in take(batches, 20):
        image, label, weight = batch['image'], batch['label'], batch['weight']
        assert image.shape == (8, 2, 2, 3) and image.dtype == np.uint8
        assert label.dtype == np.int32 and weight.dtype == np.float32
        value = image[:, 0, 0, 0].astype(int)
        np.testing.assert_array_equal(weight, np.where(value >= 100, 0.3, 1).astype(np.float32))
        np.testing.assert_array_equal(label, value % 100 % 3)
        assert (value >= 100).sum() == 4


def test_train_batches_resume_and_union():
    sets = [make_set(20), make_set(30, offset=100)]

    def run(**options):
        batches = pipeline.train_batches(sets, [1, 3], batch_size=8, seed=5, **options)
        return np.stack([batch['image'] for batch in take(batches, 10)])

    np.testing.assert_array_equal(run()[4:], run(start_step=4)[:6])
    halves = [run(process_index=p, process_count=2) for p in range(2)]
    np.testing.assert_array_equal(run(), np.concatenate(halves, axis=1))


def test_train_batches_refuse_unlike_sets():
    with pytest.raises(ValueError, match='one weight'):
        pipeline.train_batches([make_set(4)], [1], batch_size=2, seed=0, weights=[1, 1])
    larger = ImageSet(np.zeros((3, 4, 4, 3), np.uint8), np.zeros(3, np.int32), ('',) * 3)
    with pytest.raises(ValueError, match='image shape'):
        pipeline.train_batches([make_set(4), larger], [1, 1], batch_size=2, seed=0)


@pytest.mark.parametrize('goals', [[10, 10, 10, 10], [25, 7, 9, 3]])
def test_repeated_to_any_count_a_class(goals):
    labels = np.repeat([0, 1, 2, 3], [10, 7, 3, 1])
    pool = pipeline.Repeats(labels, np.array(goals))
    rows = pool.epoch(np.random.default_rng(0))
    assert len(pool) == len(rows)
    np.testing.assert_array_equal(np.bincount(labels[rows]), goals)
    times = np.bincount(rows, minlength=len(labels))
    for k in range(4):
        assert np.ptp(times[labels == k]) <= 1 and times[labels == k].min() >= 1
    assert not np.array_equal(rows, pool.epoch(np.random.default_rng(1)))


def test_over_epochs_no_image_of_a_class_is_repeated_more_than_another():
    """A class of 21 filled to 40: in each epoch two of its images are seen once only."""
    pool = pipeline.Repeats(np.repeat([0, 1], [40, 21]), np.array([40, 40]))
    batches = pipeline.index_batches([pool], [1], batch_size=80, seed=0)
    seen = np.bincount(np.concatenate(list(itertools.islice(batches, 100))), minlength=61)
    assert (seen[:40] == 100).all() and seen[40:].sum() == 4000
    assert np.ptp(seen[40:]) < 30  # 190 in the mean; of fixed ones it would be 100


def test_batches_show_each_class_as_often_as_asked():
    one = make_set(16)
    uneven = ImageSet(one.images, np.repeat([0, 1], [12, 4]).astype(np.int32), one.names)
    batches = pipeline.train_batches([uneven], [1], batch_size=8, seed=0, class_counts=[14, 10])
    counts = np.bincount(np.concatenate([batch['label'] for batch in take(batches, 6)]))
    np.testing.assert_array_equal(counts, [28, 20])


@pytest.mark.parametrize('size', [0, 1, 3, 8, 9, 20])
@pytest.mark.parametrize('count', [1, 2])
def test_evaluation_sees_every_example_once(size, count):
    one = make_set(size)
    seen = []
    for p in range(count):
        batches = pipeline.eval_batches(one, batch_size=8, process_index=p, process_count=count)
        for batch in batches:
            assert len(batch['label']) == 8 // count
            assert batch['index'].dtype == np.int32 and batch['weight'].dtype == np.float32
            np.testing.assert_array_equal(batch['image'][:, 0, 0, 0], batch['index'])
            np.testing.assert_array_equal(batch['label'], one.labels[batch['index']])
            seen += batch['index'][batch['weight'] == 1].tolist()
    assert sorted(seen) == list(range(size))
