import io

import numpy as np
import pytest
from image_files import S, encode, flat

from data import sources


def prepare(folder, **splits):
    """A real prepared array_record set: {split: (how many images, whether they have labels)}."""
    tfds = pytest.importorskip('tensorflow_datasets')
    tfds.core.utils.gcs_utils._is_gcs_disabled = True  # no network in tests

    class TinyPets(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # one name, many sets
        VERSION = tfds.core.Version('1.0.0')

        def _info(self):
            features = {
                'image': tfds.features.Image(shape=(None, None, 3)),
                'label': tfds.features.ClassLabel(names=['cat', 'dog']),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {name: self._generate_examples(*how) for name, how in splits.items()}

        def _generate_examples(self, n, labelled):
            for i in range(n):
                image = io.BytesIO(encode(flat((10 * i, 0, 0))))
                yield i, {'image': image, 'label': i % 2 if labelled else -1}

    TinyPets(data_dir=str(folder), file_format='array_record').download_and_prepare()
    return folder


@pytest.fixture(scope='module')
def tfds_folder(tmp_path_factory):
    """Six training and four test images."""
    return prepare(tmp_path_factory.mktemp('tfds'), train=(6, True), test=(4, True))


@pytest.mark.parametrize('validation, found', [(True, 3), (False, None)])
def test_a_test_split_without_labels_is_passed_over(tmp_path, validation, found):
    prepare(tmp_path, train=(6, True), test=(4, False), validation=(3, validation))
    _, test = sources.open_source('tfds:tiny_pets', image_size=S, train=str(tmp_path))
    assert test is found or len(test) == found


def test_a_training_split_without_labels_is_refused(tmp_path):
    prepare(tmp_path, train=(6, False))
    with pytest.raises(ValueError, match="'tiny_pets': the split 'train' has no labels"):
        sources.open_source('tfds:tiny_pets', image_size=S, train=str(tmp_path))


@pytest.mark.parametrize('path', ['', 'tiny_pets/1.0.0'])
def test_tfds_is_read_without_tensorflow(tfds_folder, path):
    pool, test = sources.open_source(
        'tfds:tiny_pets', image_size=S, train=str(tfds_folder / path)
    )
    assert pool.class_names == ('cat', 'dog') and len(pool) == 6 and len(test) == 4
    assert pool.labels.dtype == np.int32
    for i in range(6):
        item = pool[i]
        assert item['image'].shape == (S, S, 3)
        assert item['image'][0, 0, 0] // 10 % 2 == item['label'] == pool.labels[i]


def test_the_paths_of_a_source_are_those_that_it_reads(tfds_folder, monkeypatch):
    from tensorflow_datasets.core.utils import file_utils

    monkeypatch.setattr(file_utils, '_REGISTERED_DATA_DIRS', {file_utils.Path(tfds_folder)})
    [found] = sources.paths('tfds:tiny_pets')
    assert str(found) == str(tfds_folder / 'tiny_pets/1.0.0')
    assert sources.paths('tfds:tiny_pets', train=str(tfds_folder)) == [found]
    assert sources.paths('folder', train='a', test='b') == ['a', 'b']
    assert sources.paths('glyphs') == []


def test_unprepared_tfds_names_the_command(tfds_folder):
    with pytest.raises(FileNotFoundError, match='tfds build mnist --file_format=array_record'):
        sources.open_source('tfds:mnist', image_size=S, train=str(tfds_folder))


def test_a_prepared_set_of_another_name_is_refused(tfds_folder):
    with pytest.raises(ValueError, match="holds the TFDS set 'tiny_pets', not 'cifar10'"):
        train = str(tfds_folder / 'tiny_pets/1.0.0')
        sources.open_source('tfds:cifar10', image_size=S, train=train)


def test_tfds_in_another_format_names_the_command(tfds_folder, tmp_path):
    source, folder = tfds_folder / 'tiny_pets/1.0.0', tmp_path / 'tiny_pets/1.0.0'
    folder.mkdir(parents=True)
    for name in ('features.json', 'label.labels.txt'):
        (folder / name).write_bytes((source / name).read_bytes())
    info = (source / 'dataset_info.json').read_text()
    (folder / 'dataset_info.json').write_text(info.replace('array_record', 'tfrecord'))
    with pytest.raises(ValueError, match='only TensorFlow reads; run: .*--overwrite'):
        sources.open_source('tfds:tiny_pets', image_size=S, train=str(tmp_path))
