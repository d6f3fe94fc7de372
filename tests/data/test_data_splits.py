import dataclasses
import pathlib

import numpy as np
import pytest

from data import image_sets, splits
from data.decode import BadImage
from data.sources import ArraySource, open_source

LABELS = np.repeat([0, 1, 2, 3], [40, 10, 2, 1])
SHARED = pathlib.Path(__file__).parents[3] / 'shared' / 'data'


class FakeSource(ArraySource):
    """Images in memory that count their reads; rows in `bad` cannot be decoded."""

    def __getitem__(self, i):
        self.reads.append(i)
        if i in self.bad:
            raise BadImage(self.names[i], 'cannot be decoded: really')
        return super().__getitem__(i)


def fake(labels, *, seed=0, images=None, bad=(), prefix='', classes=None):
    labels = np.array(labels, np.int32)
    if images is None:
        images = np.random.default_rng(seed).integers(0, 256, (len(labels), 4, 4, 3), np.uint8)
    class_names = tuple('abcdefgh'[: classes or labels.max() + 1])
    names = tuple(f'{prefix}{class_names[k]}/{i}' for i, k in enumerate(labels))
    source = FakeSource(class_names, labels, names, images)
    object.__setattr__(source, 'reads', [])
    object.__setattr__(source, 'bad', bad)
    return source


def prepare(train, test=None, **options):
    options = {'test_fraction': 0.2, 'validation_fraction': 0.2, 'imbalance': '', **options}
    return splits.prepare(train, test, **options)


# Prepare ----------------------------------------------------------------------------------------


def test_prepare_parts_the_pool_and_decodes_each_image_once():
    source, seen = fake(LABELS), []
    result = prepare(source, progress=lambda done, total: seen.append((done, total)))
    assert sorted(source.reads) == list(range(len(LABELS)))
    assert seen == [(i + 1, len(LABELS)) for i in range(len(LABELS))]
    names = [name for s in image_sets.SPLITS for name in getattr(result, s).names]
    assert sorted(names) == sorted(source.names)
    for split in image_sets.SPLITS:
        one = getattr(result, split)
        assert one.images.dtype == np.uint8 and one.labels.dtype == np.int32
        for image, label, name in zip(one.images, one.labels, one.names):
            row = source.names.index(name)
            np.testing.assert_array_equal(image, source.images[row])
            assert label == source.labels[row]


def test_prepare_is_deterministic_in_its_seed():
    first, again, other = (prepare(fake(LABELS), seed=s).train.names for s in (3, 3, 4))
    assert first == again != other


def test_a_given_test_set_is_kept_whole_and_the_tail_is_cut_before_validation():
    train, test = fake(np.repeat([0, 1], 100)), fake([0, 1, 1], seed=9, prefix='t/')
    result = prepare(train, test, imbalance='exp:10')
    assert result.test.names == test.names
    counts = np.bincount(np.concatenate([result.train.labels, result.validation.labels]))
    np.testing.assert_array_equal(counts, [100, 10])
    np.testing.assert_array_equal(np.bincount(result.validation.labels), [20, 2])
    assert len(train.reads) == 110


def test_no_validation_gives_an_empty_set_of_the_same_shape():
    result = prepare(fake(LABELS), validation_fraction=0)
    assert result.validation.images.shape == (0, 4, 4, 3) and result.validation.names == ()


def test_prepare_refuses_what_cannot_work():
    with pytest.raises(ValueError, match='needs two'):
        prepare(fake([0, 0, 0]))
    with pytest.raises(ValueError, match=r"no training image left: .'e'."):
        prepare(fake(LABELS, classes=5))
    with pytest.raises(ValueError, match='on_bad_image'):
        prepare(fake(LABELS), on_bad_image='ignore')
    with pytest.raises(ValueError, match='no test image'):
        prepare(fake([0, 1]))


def test_bad_images_stop_or_are_noted():
    with pytest.raises(BadImage, match='/(3|45): cannot be decoded: really'):
        prepare(fake(LABELS, bad={3, 45}))
    result = prepare(fake(LABELS, bad={3, 45}), on_bad_image='skip')
    assert sorted(entry['name'] for entry in result.bad_images) == ['a/3', 'b/45']
    assert result.bad_images[0]['error'] == 'cannot be decoded: really'
    assert sum(len(getattr(result, split)) for split in image_sets.SPLITS) == len(LABELS) - 2
    with pytest.raises(ValueError, match='no training image left'):
        prepare(fake(LABELS, bad=set(range(len(LABELS)))), on_bad_image='skip')


# Duplicates -------------------------------------------------------------------------------------


def copies(images, *pairs):
    for source, target in pairs:
        images[target] = images[source]
    return images


def random_images(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3), np.uint8)


def test_copies_go_to_train_when_the_splits_are_ours():
    # Six copies in a pool of twelve: at these fractions some land in every split.
    images = copies(random_images(24), *[(0, i) for i in (*range(1, 6), *range(12, 18))])
    labels = np.repeat([0, 1], 12)
    result = prepare(fake(labels, images=images), test_fraction=0.4, validation_fraction=0.4)
    assert len(result.duplicates) == 1
    entry = result.duplicates[0]
    assert len(entry['names']) == 12
    assert entry['action'] == 'moved to train; labels disagree: a, b'
    assert {name.partition(':')[0] for name in entry['names']} == set(image_sets.SPLITS)
    moved = {name.partition(':')[2] for name in entry['names']}
    assert moved <= set(result.train.names)
    names = [name for s in image_sets.SPLITS for name in getattr(result, s).names]
    assert len(names) == len(set(names)) == 24
    for name, label in zip(result.train.names, result.train.labels):
        assert 'ab'[label] == name[0]


def test_images_that_belong_together_stay_together_and_their_copies_are_dropped():
    images = copies(random_images(48), (0, 25), (1, 30))  # of another class, and of other groups
    source = fake(np.repeat([0, 1], 24), images=images)
    source = dataclasses.replace(source, names=tuple(f'p{i // 3}_{i}' for i in range(48)))
    object.__setattr__(source, 'reads', [])
    object.__setattr__(source, 'bad', ())
    seen = set()
    for seed in range(12):
        result = prepare(source, test_fraction=0.4, seed=seed, group_by='p[0-9]+')
        people = [{name.partition('_')[0] for name in getattr(result, split).names}
                  for split in image_sets.SPLITS]
        assert all(people) and sum(map(len, people)) == 16
        kept = [name for split in image_sets.SPLITS for name in getattr(result, split).names]
        assert len(kept) == 48 - sum(entry['parted'] for entry in result.duplicates)
        for entry in result.leaks:  # one of two stays, where the record says
            [stays] = {name.partition('_')[2] for name in kept} & {
                name.partition('_')[2] for name in entry['names']}
            split = entry['action'].partition(';')[0].rpartition(' ')[2]
            assert f'{split}:p{int(stays) // 3}_{stays}' in entry['names'], entry
            seen.add(tuple(sorted(name.partition(':')[0] for name in entry['names'])))
    assert ('test', 'validation') in seen and ('test', 'train') in seen


def test_a_class_whose_only_test_image_was_a_copy_is_named_though_groups_stay_where_they_are():
    images = random_images(12)
    names = tuple(f'{"ab"[i // 6]}/p{i}_{i}' for i in range(12))
    for seed in range(20):
        source = fake(np.repeat([0, 1], 6), images=images)
        object.__setattr__(source, 'names', names)
        cut = prepare(source, test_fraction=0.2, seed=seed, group_by='p[0-9]+')
        [tested], [learnt, *_] = ([name for name in part.names if name[0] == 'a']
                                  for part in (cut.test, cut.train))
        again = images.copy()
        again[names.index(tested)] = images[names.index(learnt)]
        source = fake(np.repeat([0, 1], 6), images=again)
        object.__setattr__(source, 'names', names)
        result = prepare(source, test_fraction=0.2, seed=seed, group_by='p[0-9]+')
        assert result.untested_for_copies == ['a'] and tested not in result.train.names


def test_copies_leave_the_pool_when_the_test_set_is_given():
    images = random_images(20)
    test_images = copies(random_images(4, seed=1))
    test_images[0] = images[0]
    result = prepare(
        fake(np.repeat([0, 1], 10), images=images),
        fake([0, 0, 1, 1], images=test_images, prefix='t/'),
    )
    assert len(result.test) == 4 and len(result.train) + len(result.validation) == 19
    assert 'a/0' not in result.train.names + result.validation.names
    [entry] = result.duplicates
    assert entry['action'] == 'dropped: one lies in test'
    assert entry['names'][0] in ('train:a/0', 'validation:a/0')
    assert entry['names'][1] == 'test:t/a/0'


def test_copies_inside_one_split_stay_and_are_named():
    images = copies(random_images(6), (4, 5))
    test = fake([0, 0, 0, 0, 1, 1], images=images)
    result = prepare(fake(LABELS, seed=3), test)
    assert result.duplicates == [
        {'names': ['test:b/4', 'test:b/5'], 'pixels': 'equal', 'action': 'kept: all in test',
         'parted': 0},
    ]
    assert result.leaks == []


def near_copies(image, count):
    """Mirrored, and a little darker each."""
    shades = [(image * (1 - k / 50)).astype(np.uint8) for k in range(1, count + 1)]
    return [shade[:, :: (-1) ** k] for k, shade in enumerate(shades)]


def test_near_copies_are_parted_like_equal_ones():
    images = random_images(24)
    images[1:12] = near_copies(images[0], 11)
    pool = fake(np.repeat([0, 1], 12), images=images)
    result = prepare(pool, duplicate_correlation=0.99)
    [entry] = result.leaks
    assert entry['pixels'] == 'near' and entry['action'] == 'moved to train'
    assert len(entry['names']) == result.train_counts[0] == 12 and 0 < entry['parted'] < 12
    exact = prepare(pool)
    assert exact.duplicates == [] and exact.train_counts[0] < 12


def test_near_copies_of_a_given_test_image_leave_the_pool():
    images, test_images = random_images(24), random_images(4, seed=1)
    [test_images[0]] = near_copies(images[3], 1)
    result = prepare(
        fake(np.repeat([0, 1], 12), images=images), fake([0, 0, 1, 1], images=test_images),
        duplicate_correlation=0.99,
    )
    [entry] = result.leaks
    assert entry['action'] == 'dropped: one lies in test' and entry['pixels'] == 'near'
    assert len(result.train) + len(result.validation) == 23 and len(result.test) == 4
    assert 'a/3' not in result.train.names + result.validation.names


def test_a_training_image_repeats_others_of_its_own_source_alone():
    """Not those of the test set, whose names may be the same."""
    images, test_images = random_images(24), random_images(6, seed=1)
    images[5], test_images[5] = images[2], test_images[2]
    train = fake(np.repeat([0, 1], 12), images=images)
    test = fake(np.zeros(6, int), classes=2, images=test_images)
    result = prepare(train, test, validation_fraction=0)
    assert [entry['action'] for entry in result.duplicates] == ['kept: all in train',
                                                                'kept: all in test']
    assert [n for n, is_one in zip(result.train.names, result.repeats) if is_one] == ['a/5']

    images[7] = test_images[4]  # which leaves train
    assert prepare(train, test, validation_fraction=0).repeats.sum() == 1
    cut = prepare(train, validation_fraction=0.3)  # the copies were moved, or lie in train
    assert cut.repeats.sum() == 1 and {'a/2', 'a/5'} <= set(cut.train.names)
    assert cut.repeats.shape == (len(cut.train),)
    moved = [one for one in (prepare(train, seed=seed) for seed in range(9)) if one.leaks]
    assert moved and all(one.repeats.sum() == 1 for one in moved)


def test_near_copies_that_are_most_of_a_class_do_not_repeat_each_other():
    """Frames of a fixed camera: else hardly one would be left to compare a synthetic image with."""
    images = random_images(24)
    noise = np.random.default_rng(1).integers(-3, 4, images[:12].shape)
    images[:12] = (images[0].astype(int) + noise).clip(0, 255)
    alike = prepare(fake(np.repeat([0, 1], 12), images=images), duplicate_correlation=0.99)
    assert alike.leaks and alike.train_counts[0] == 12 and not alike.repeats.any()
    assert alike.untested_for_copies == ['a']
    images[3:12] = random_images(12, seed=2)[3:]
    few = prepare(fake(np.repeat([0, 1], 12), images=images), duplicate_correlation=0.99)
    assert few.repeats.sum() == 2 and not few.untested_for_copies


def test_no_image_need_be_held_out_to_test_on():
    for group_by in ('', '[0-9]$'):
        result = prepare(fake(np.repeat([0, 1], 20)), test_fraction=0.0, group_by=group_by)
        assert len(result.test) == 0 and len(result.train) + len(result.validation) == 40
        assert result.test.images.shape[1:] == result.train.images.shape[1:]
        assert result.untested == result.untested_for_copies == []
    fold = prepare(fake(np.repeat([0, 1], 20)), test_fraction=0.0, fold='0/4')
    assert len(fold.test) == 10


def test_a_class_of_unusable_images_alone_is_refused_with_the_first_one():
    source = fake([0] * 6 + [1] * 6, bad=range(6, 12))
    with pytest.raises(ValueError, match=r"\['b'\].*unusable images: 6, the first b/\d+: ca"):
        prepare(source, on_bad_image='skip')
    test = fake([0, 1], bad=(0, 1))
    with pytest.raises(ValueError, match='no test image is left.*unusable images: 2, the first'):
        prepare(fake([0] * 6 + [1] * 6), test, on_bad_image='skip')


def test_images_that_all_look_alike_are_refused_with_the_way_out():
    images = random_images(24)
    images[1:12], images[13:] = near_copies(images[0], 11), near_copies(images[12], 11)
    labels = np.repeat([0, 1], 12)
    with pytest.raises(ValueError, match='no test image .* copies, as of .*: .*_correlation=1'):
        prepare(fake(labels, images=images), duplicate_correlation=0.99)
    test = fake([0, 1], images=images[[3, 14]] // 2 * 2, prefix='t/')
    with pytest.raises(ValueError, match='2 class.* copies, as of .*: .*_correlation=1'):
        prepare(fake(labels, images=images), test, duplicate_correlation=0.99)


@pytest.mark.skipif(not SHARED.exists(), reason='needs the shared real images')
def test_real_zip_through_to_splits():
    folder = SHARED / 'pets_partial_64'
    pool, test = open_source(
        'folder', image_size=16, train=str(folder / 'train.zip'), test=str(folder / 'test.zip')
    )
    assert (len(pool), len(test), len(pool.class_names)) == (1190, 510, 37)
    result = prepare(pool, test)
    assert len(result.test) == 510 and result.train.images.shape[1:] == (16, 16, 3)


def test_some_images_are_of_all_classes_though_these_lie_in_order():
    labels = np.repeat(np.arange(4, dtype=np.int32), 8)
    whole = image_sets.ImageSet(np.zeros((32, 1, 1, 3), np.uint8), labels, ('',) * 32)
    assert set(whole.some(16).labels.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize('images, labels, names', [
    (np.zeros((2, 4, 4, 3), np.float32), 2, 2), (np.zeros((2, 4, 4), np.uint8), 2, 2),
    (np.zeros((2, 4, 4, 3), np.uint8), 1, 2), (np.zeros((2, 4, 4, 3), np.uint8), 2, 3),
])
def test_a_set_of_other_arrays_is_refused(images, labels, names):
    """Floats would be taken for nearly black images, in silence."""
    with pytest.raises(ValueError, match=r'need images uint8 \[N, S, S, 3\], a label and a name'):
        image_sets.ImageSet(images, np.zeros(labels, np.int32), ('',) * names)
