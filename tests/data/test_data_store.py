import numpy as np
import pytest

from data import cache, image_sets, splits, store


def images(count=6, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), np.uint8)


@pytest.mark.parametrize('name', [None, 'images.npy'])
@pytest.mark.parametrize('given', [0, 1, 5, 6])
def test_what_is_written_is_read_back_also_if_fewer_came_than_were_announced(
    tmp_path, name, given
):
    out = store.Writer(name and tmp_path / name, 6)
    for image in images()[:given]:
        out.add(image)
    found = out.finish()
    assert len(found) == given and np.array_equal(found[:], images()[:given].reshape(found.shape))
    assert isinstance(found, np.memmap) == bool(name and given)


def test_rows_are_what_fancy_indexing_gives():
    array, rows = images(), np.array([5, 1, 1, 3])
    lazy = store.Rows(array, rows)
    assert (len(lazy), lazy.shape, lazy.dtype, lazy.ndim) == (4, (4, 4, 4, 3), np.uint8, 4)
    for key in (2, slice(1, 3), np.array([3, 0]), np.array([[0, 1], [2, 3]]),
                np.array([True, False, False, True])):
        assert np.array_equal(lazy[key], array[rows][key])
    assert np.array_equal(np.asarray(lazy), array[rows])
    assert [image.tolist() for image in lazy] == array[rows].tolist()
    picked = store.pick(lazy, slice(1, 4))
    assert isinstance(picked, store.Rows) and np.array_equal(picked, array[rows][1:4])


def test_rows_of_one_array_stay_rows_and_others_are_copied():
    array = images()
    one, two = store.Rows(array, [0, 1]), store.Rows(array, [4])
    joined = store.concatenate([one, two])
    assert joined.array is array and joined.rows.tolist() == [0, 1, 4]
    mixed = store.concatenate([one, images(2, seed=1)])
    assert np.array_equal(mixed, np.concatenate([array[:2], images(2, seed=1)]))


class Source:
    """Six classes of three images; the second and the last are the same pixels."""

    class_names = tuple('abcdef')
    labels = np.repeat(np.arange(6, dtype=np.int32), 3)

    def __init__(self, seed):
        self.images = images(18, seed)
        self.images[17] = self.images[1]

    def __len__(self):
        return 18

    def __getitem__(self, i):
        label = int(self.labels[i])
        return {'image': self.images[i], 'label': label, 'index': i, 'name': f'{i}.png'}


@pytest.mark.parametrize('test_given', [False, True])
def test_splits_on_disk_are_those_in_memory(tmp_path, test_given):
    sources = Source(0), Source(1) if test_given else None
    options = {'test_fraction': 0.34, 'validation_fraction': 0.34, 'seed': 3}
    expected = splits.prepare(*sources, **options)
    folder = tmp_path / 'data'
    folder.mkdir()
    cache.save(splits.prepare(*sources, **options, folder=folder), folder)
    assert sum(path.stat().st_size for path in folder.glob('*.npy')) < 3000  # each image once
    folder = folder.rename(tmp_path / 'moved')
    found = cache.load(folder)
    assert found.duplicates == expected.duplicates
    for split in image_sets.SPLITS:
        one, other = getattr(found, split), getattr(expected, split)
        assert one.names == other.names and np.array_equal(one.labels, other.labels)
        assert np.array_equal(one.images, other.images)


def test_a_file_that_lost_images_is_noticed(tmp_path):
    out = store.Writer(tmp_path / 'images.npy', 6)
    for image in images():
        out.add(image)
    place = store.save(tmp_path, 'train', store.Rows(out.finish(), [0, 5]))
    assert place == {'file': 'images.npy', 'rows': [0, 5]}
    np.save(tmp_path / 'images.npy', images(3))
    with pytest.raises(ValueError, match='fewer than are listed'):
        store.load(tmp_path, place)
