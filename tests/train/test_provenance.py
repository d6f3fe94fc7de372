import json

import ml_collections
import pytest
from PIL import Image

from train import preparing, provenance


@pytest.mark.parametrize(('source', 'train', 'name'), [
    ('glyphs', '', 'glyphs'), ('tfds:mnist', '/data', 'tfds:mnist'),
    ('folder', 'photos.zip', 'photos'), ('folder', '/data/pets/train.zip', 'pets/train'),
    ('folder', 'my.images/', 'my.images'), ('folder', '/photos', 'photos'),
])
def test_a_data_set_is_called_what_its_owner_calls_it(source, train, name):
    data = ml_collections.ConfigDict({'source': source, 'train': train})
    assert provenance.dataset_name(data) == name


def test_the_working_directory_is_called_by_its_name(tmp_path, monkeypatch):
    (tmp_path / 'pets' / 'dog').mkdir(parents=True)
    for here, way in (('pets', '.'), ('pets/dog', '..')):
        monkeypatch.chdir(tmp_path / here)
        data = ml_collections.ConfigDict({'source': 'folder', 'train': way})
        assert provenance.dataset_name(data).endswith('/pets')


@pytest.mark.parametrize('content', ['', '[]', '{}', '{"config": {"a"'])
def test_a_damaged_record_of_the_config_is_made_again(tmp_path, content):
    config = ml_collections.FrozenConfigDict({'arms': ('original',)})
    path = tmp_path / 'config.json'
    path.write_text(content)
    provenance.write_config(tmp_path, config, True)
    written = path.read_text('utf-8')
    assert json.loads(written)['config'] == {'arms': ['original']}
    path.write_text(written.replace('"date": "', '"date": "then: '))
    provenance.write_config(tmp_path, config, True)  # it stands there: who made it, and when, stays
    assert '"date": "then: ' in path.read_text('utf-8')


def test_the_record_of_the_config_names_the_commit_that_works(tmp_path, monkeypatch):
    config = ml_collections.FrozenConfigDict({'arms': ('original',)})
    provenance.write_config(tmp_path, config, True)
    monkeypatch.setattr(provenance, 'commit', lambda: 'another')
    provenance.write_config(tmp_path, config, False)  # nothing was made by it
    other = ml_collections.FrozenConfigDict({'arms': ('original', 'classical')})
    provenance.write_config(tmp_path, other, False)
    found = provenance.saved(tmp_path)
    assert found['commit'] != 'another' and found['config']['arms'] == ['original', 'classical']
    provenance.write_config(tmp_path, config, True)
    assert provenance.saved(tmp_path)['commit'] == 'another'


def test_however_a_path_is_written_it_is_one_setting(tiny_config, tmp_path):
    ways = 'photos', './photos', 'photos/'
    configs = [tiny_config(**{'data.train': way}) for way in ways]
    read = [preparing.depends(config, tmp_path)['reads']['data'] for config in configs]
    assert read == read[:1] * 3 and read[0]['test'] == ''


def test_a_class_name_too_long_for_a_file_is_refused_at_once(tiny_config, tmp_path):
    for name in ('x' * 210, 'a'):
        (tmp_path / name).mkdir()
        Image.new('RGB', (8, 8)).save(tmp_path / name / '0.png')
    config = tiny_config(**{'data.source': 'folder', 'data.train': str(tmp_path)})
    with pytest.raises(ValueError, match="the class name 'x{40}'... is too long"):
        preparing.read_splits(config)
