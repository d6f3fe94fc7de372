import ml_collections
import pytest

from train import provenance


@pytest.mark.parametrize(('source', 'train', 'name'), [
    ('glyphs', '', 'glyphs'), ('tfds:mnist', '/data', 'tfds:mnist'),
    ('folder', 'photos.zip', 'photos'), ('folder', '/data/pets/train.zip', 'pets/train'),
    ('folder', 'my.images/', 'my.images'), ('folder', '/photos', 'photos'),
])  # fmt: skip
def test_a_data_set_is_called_what_its_owner_calls_it(source, train, name):
    data = ml_collections.ConfigDict({'source': source, 'train': train})
    assert provenance.dataset_name(data) == name
