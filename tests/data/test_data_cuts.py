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
)
def test_malformed_imbalance_is_refused(imbalance):
    with pytest.raises(ValueError, match='exp:100 or range:12-60'):
        cuts.long_tail(LABELS, imbalance, 0)


def test_groups_are_what_the_pattern_finds_the_same():
    names = ['a/ann_1.png', 'a/bob_1.png', 'b/ann_2.png', 'b/x.png', 'b/y.png']
    assert cuts.group(names, '/([a-z]+)_').tolist() == [0, 1, 0, 2, 3]  # the rest alone
    assert cuts.group(names, '_[0-9]').tolist() == [0, 0, 1, 2, 3]  # without brackets, all of it
    assert cuts.group(names, '^(.)/([a-z]+)_').tolist() == [0, 1, 2, 3, 4]  # both brackets
    assert cuts.group(names, '') is None
    files = ['x/big_cat/1_1.png', 'x/big_cat/1_2.png', 'big_dog\\1_1.png', 'big_dog/2.png']
    assert cuts.group(files, '(.*/.*)_').tolist() == [0, 0, 1, 2]  # README's, of each class
    assert cuts.group(files, '/(.*)_').tolist() == [0, 0, 0, 1]  # and of all
    assert cuts.group(files, '^big_cat').tolist() == [0, 0, 1, 2]  # however classes are wrapped
    sites = ['x/fox/north/1.png', 'fox/north/2.png', 'hare/north/1.png', 'fox/south/1.png']
    assert cuts.group(sites, '(.*)/.*/').tolist() == [0, 0, 1, 0]  # three parts: the class
    assert cuts.group(sites, '(north|south)/.*').tolist() == [0, 0, 0, 1]
    wrapped = ['photos/cat/p1_x.jpg', 'photos/dog/p1_y.jpg']
    assert cuts.group(wrapped, '^[^/]+/([^_]+)_').tolist() == [0, 0]  # of one slash
    assert cuts.group(files, '(z)?').tolist() == [0, 1, 2, 3]  # finds nothing, everywhere
    with pytest.raises(ValueError, match='no regular expression: missing'):
        cuts.group(files, '(a')


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('fraction', [0.1, 0.3, 0.6])
def test_a_grouped_cut_keeps_groups_whole_and_comes_near_the_fraction(fraction, seed):
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(90), rng.integers(1, 9, 90)))
    labels = rng.integers(0, 4, len(groups))  # most groups are of several classes
    kept, cut = cuts.grouped_cut(labels, groups, fraction, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, cut])), np.arange(len(labels)))
    assert not set(groups[kept]) & set(groups[cut])
    np.testing.assert_array_equal(cut, cuts.grouped_cut(labels, groups, fraction, seed)[1])
    np.testing.assert_allclose(np.bincount(labels[cut]) / np.bincount(labels), fraction, atol=0.07)


def test_a_group_is_one_however_its_umlauts_are_written():
    """macOS takes them apart, others do not."""
    names = [f'{form}/{number}.jpg' for number in (1, 2)
             for form in ('a\u0308pfel', '\u00e4pfel')]
    groups = cuts.group(names, r'^(\w+)/')
    np.testing.assert_array_equal(groups, 0)


def test_a_grouped_cut_of_few_groups_leaves_every_class_some():
    labels, groups = np.repeat([0, 1, 2], [20, 20, 5]), np.repeat(range(5), [8, 12, 15, 5, 5])
    for seed in range(5):
        _, cut = cuts.grouped_cut(labels, groups, 0.1, seed)
        assert set(groups[cut]) == {0, 3}  # the smaller of two; class 2 is one group, and stays


def test_of_three_groups_each_split_has_one():
    labels, groups = np.repeat([0, 1], 100), np.repeat(range(6), [10, 10, 80] * 2)
    for seed in range(4):
        rows = cuts.choose_rows(labels, None, 0.3, 0.1, '', seed, groups)
        assert [len(set(groups[part])) for part in rows.values()] == [2, 2, 2]


def test_groups_of_a_given_test_set_leave_the_pool():
    labels, groups = np.repeat([0, 1], 6), np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 9, 1, 4])
    rows = cuts.choose_rows(labels, np.zeros(3), 0.3, 0.3, '', 0, groups)
    pool = np.concatenate([rows['train'], rows['validation']])
    assert sorted(groups[pool]) == [0, 0, 2, 2, 3, 3, 5, 5] and rows['test'].tolist() == [0, 1, 2]
    of_names = np.repeat([0, 1, 0, 1], [6, 6, 1, 1])  # as a pattern that finds no more than classes
    with pytest.raises(ValueError, match='12 of 12 images are of groups .* that lie in'):
        cuts.choose_rows(labels, np.zeros(2), 0.3, 0.3, '', 0, of_names)


def test_rows_of_a_group_are_in_one_split():
    labels = np.repeat([0, 1, 2], 60)
    groups = np.arange(180) // 4
    rows = cuts.choose_rows(labels, None, 0.3, 0.2, '', 0, groups)
    assert sorted(np.concatenate(list(rows.values()))) == list(range(180))
    parts = [set(groups[part]) for part in rows.values()]
    assert sum(map(len, parts)) == 45 and all(parts)


@pytest.mark.parametrize('grouped', [False, True])
def test_each_row_is_in_one_fold_and_each_class_in_every_one(grouped):
    labels = np.repeat([0, 1, 2], [50, 20, 1])
    groups = np.arange(71) // 2 if grouped else None
    cuts_of = [cuts.choose_rows(labels, None, 0.0, 0.1, '', 3, groups, f'{k}/5') for k in range(5)]
    tested = np.concatenate([rows['test'] for rows in cuts_of])
    assert sorted(tested) == list(range(70))  # but for the only one of its class
    for rows in cuts_of:
        assert sorted(np.concatenate(list(rows.values()))) == list(range(71))
        counts = np.bincount(labels[rows['test']], minlength=3)
        assert abs(counts[0] - 10) <= 2 * grouped and abs(counts[1] - 4) <= 2 * grouped
        if grouped:
            assert not {*groups[rows['test']]} & {*groups[rows['train']]}
    other = cuts.choose_rows(labels, None, 0.0, 0.1, '', 4, groups, '0/5')['test']
    assert other.tolist() != cuts_of[0]['test'].tolist()  # of another seed


@pytest.mark.parametrize('sites', [1, 2, 3])
def test_every_fold_leaves_images_of_every_class_to_train_on(sites):
    labels = np.repeat([0, 1, 2], [200, 150, 18])
    for seed in range(10):
        rng = np.random.default_rng(seed)
        groups = np.concatenate([rng.integers(12, size=350), 12 + np.arange(18) % sites])
        tested = []
        for fold in range(5):
            kept, cut = cuts.fold_cut(labels, groups, fold, 5, seed)
            assert {*labels[kept]} == {0, 1, 2} and not {*groups[kept]} & {*groups[cut]}
            tested += cut.tolist()
        assert len(tested) == len({*tested}) >= 350 + 18 - 18 // sites
        assert sites > 1 or 2 not in labels[tested]  # of one site nothing could be learnt


@pytest.mark.parametrize('fold, said', [
    ('5/5', "'0/5' to '4/5'"), ('1', 'must be'), ('0/1', 'must be'),
    ('0/9', 'config.splits.fold=0/9: n_splits=9 cannot be greater')])
def test_a_fold_that_cannot_be_cut_is_refused(fold, said):
    with pytest.raises(ValueError, match=said):
        cuts.choose_rows(np.repeat([0, 1], 8), None, 0.3, 0.1, '', 0, None, fold)
    with pytest.raises(ValueError, match='has one of its own'):
        cuts.choose_rows(np.repeat([0, 1], 8), np.zeros(4), 0.3, 0.1, '', 0, None, '0/5')
