import numpy as np
import pytest

from data import cuts

LABELS = np.repeat([0, 1, 2, 3], [40, 10, 2, 1])


@pytest.mark.parametrize('fraction', [0.0, 0.01, 0.2, 0.5, 0.99])
def test_stratified_cut_parts_every_class(fraction):
    kept, cut = cuts.stratified_cut(LABELS, fraction, seed=1)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, cut])), np.arange(len(LABELS)))
    if fraction == 0:
        assert len(cut) == 0
        return
    counts = np.bincount(LABELS[cut], minlength=4)
    assert counts[3] == 0 and counts[2] == 1
    assert counts[0] == min(max(round(40 * fraction), 1), 39)
    assert set(LABELS[kept]) == {0, 1, 2, 3}


def test_stratified_cut_follows_its_seed_and_only_its_class():
    same = [cuts.stratified_cut(LABELS, 0.3, seed=4)[1] for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert not np.array_equal(same[0], cuts.stratified_cut(LABELS, 0.3, seed=5)[1])
    fewer = cuts.stratified_cut(LABELS[:50], 0.3, seed=4)[1]
    np.testing.assert_array_equal(same[0][same[0] < 50], fewer)


@pytest.mark.parametrize('fraction', [-0.1, 1.0, float('nan')])
def test_fractions_that_leave_no_training_images_are_refused(fraction):
    with pytest.raises(ValueError, match='fraction'):
        cuts.stratified_cut(LABELS, fraction, seed=0)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match='needs two'):
        cuts.stratified_cut(np.zeros(9, int), 0.2, seed=0)


def test_exponential_long_tail():
    labels = np.repeat(np.arange(10), 500)
    rows = cuts.long_tail(labels, 'exp:100', seed=0)
    counts = np.bincount(labels[rows])
    expected = [500, 299, 179, 107, 64, 38, 23, 13, 8, 5]  # CIFAR-10-LT / 10 (Cui et al. 2019)
    np.testing.assert_array_equal(counts, expected)
    assert len(set(rows)) == len(rows)


def test_range_of_counts():
    labels = np.repeat(np.arange(5), 100)
    first, again, other = (
        np.bincount(labels[cuts.long_tail(labels, 'range:12-60', seed)]) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(np.sort(first), [12, 24, 36, 48, 60])
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_long_tail_never_takes_more_than_there_is():
    for imbalance in ('exp:2', 'range:5-50', 'exp:1'):
        counts = np.bincount(LABELS[cuts.long_tail(LABELS, imbalance, 0)])
        assert np.all(counts >= 1) and np.all(counts <= np.bincount(LABELS))
    np.testing.assert_array_equal(cuts.long_tail(LABELS, '', 0), np.arange(len(LABELS)))


@pytest.mark.parametrize(
    'imbalance', ['exp', 'exp:', 'exp:0.5', 'exp:inf', 'exp:nan', 'range:60-12', 'range:0-9',
                  'range:5', 'range:a-b', 'step:10', '100']
)  # fmt: skip
def test_malformed_imbalance_is_refused(imbalance):
    with pytest.raises(ValueError, match='exp:100 or range:12-60'):
        cuts.long_tail(LABELS, imbalance, 0)
