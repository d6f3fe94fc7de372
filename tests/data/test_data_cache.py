import dataclasses
import json

import numpy as np
import pytest

from data import cache, duplicates, image_sets, splits
from data.sources import ArraySource


@pytest.fixture
def parts():
    labels = np.repeat(np.arange(4, dtype=np.int32), [40, 10, 2, 1])
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 4, 4, 3), np.uint8)
    names = tuple(f'{label}/{i}' for i, label in enumerate(labels))
    source = ArraySource(tuple('abcd'), labels, names, images)
    return splits.prepare(source, None, test_fraction=0.2, validation_fraction=0)


def test_save_and_load_round_trip(tmp_path, parts):
    parts = dataclasses.replace(parts, bad_images=[{'name': 'a/x', 'error': 'empty'}])
    cache.save(parts, tmp_path / 'data')
    again = cache.load(tmp_path / 'data')
    assert again.class_names == parts.class_names
    assert again.duplicates == parts.duplicates and again.bad_images == parts.bad_images
    for split in image_sets.SPLITS:
        one, other = getattr(parts, split), getattr(again, split)
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)
        assert one.names == other.names
        assert other.labels.dtype == np.int32 and isinstance(other.images, np.memmap)
    listing = json.loads((tmp_path / 'data' / 'splits.json').read_text())
    assert listing['counts']['train']['d'] == 1
    name, sha, label = listing['train'][0]
    assert sha == duplicates.digest(parts.train.images[0]) and label == parts.train.labels[0]
    assert name == parts.train.names[0]


def test_a_damaged_cache_is_one_clear_line(tmp_path, parts):
    with pytest.raises(ValueError, match='delete it and run again'):
        cache.load(tmp_path)
    cache.save(parts, tmp_path)
    path = tmp_path / 'train_images.npy'
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match='delete it and run again'):
        cache.load(tmp_path)
