import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from configs import augmented
from train import preparing


def config_of(tmp_path, files):
    """`:folder` for a zip with these files."""
    with zipfile.ZipFile(tmp_path / 'images.zip', 'w') as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    config = augmented.get_config('folder')
    config.data.train = str(tmp_path / 'images.zip')
    return config


def test_an_image_that_cannot_be_used_is_named_with_the_ways_out(tmp_path):
    config = config_of(tmp_path, {f'{name}/{i}.png': b'' for name in 'ab' for i in range(3)})
    with pytest.raises(ValueError, match='png: an empty file; mend.*on_bad_image=skip.*doctor'):
        preparing.read_splits(config)


def pictures(count):
    """{name: PNG} of so many different images of two classes."""
    rng, files = np.random.default_rng(0), {}
    for name in [f'{kind}/{i}.png' for kind in 'ab' for i in range(count)]:
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(file := io.BytesIO(), 'PNG')
        files[name] = file.getvalue()
    return files


def test_no_validation_image_is_explained_by_the_copies(tmp_path):
    files = pictures(9)
    parts = preparing.read_splits(config_of(tmp_path, files))
    files |= dict.fromkeys(parts.validation.names, files[parts.train.names[0]])
    message = 'spare for validation.*copies, as of train:a/'
    with pytest.raises(ValueError, match=message):
        preparing.read_splits(config_of(tmp_path, files))


def test_images_that_are_left_out_are_said(tmp_path, monkeypatch):
    config = config_of(tmp_path, pictures(9) | {'a/7.png': b'', 'b/7.png': b''})
    config.data.on_bad_image = 'skip'
    said = []
    monkeypatch.setattr(preparing, 'say', said.append)
    preparing.prepare_data(tmp_path, config)
    left_out = '2 unusable images left out, see data/bad_images.json; the first: a/7.png: an empty'
    assert left_out in said[1]


def test_a_class_name_with_a_line_break_is_refused(tmp_path):
    config = config_of(tmp_path, {'a\nb/1.png': b'', 'c/1.png': b''})
    with pytest.raises(ValueError, match=r"'a\\nb' has a line break"):
        preparing.read_splits(config)
