import json
import os

import numpy as np
import pytest
from PIL import Image

from data import folders
from generation import export

NAMES = ('cat', 'a/b', '..', '.hidden', 'Äpfel 苹果', 'C:\\x*?', 'per%cent')
FACTS = {'sampler': 'ddim', 'guidance_scale': 1.5}


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    n = 3 * len(NAMES)
    return {
        'images': rng.integers(0, 256, (n, 8, 8, 3), np.uint8),
        'labels': np.arange(n) % len(NAMES),
        'seeds': np.arange(n) * 11,
        'reasons': np.full(n, '', dtype='<U9'),
        'relevance': rng.random(n).astype('f4'),
        'distance': np.full(n, np.inf),
        'nearest': np.arange(n),
    }


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*') if p.is_file())


def metadata(folder):
    text = (folder / 'images/metadata.jsonl').read_text('utf-8')
    return [json.loads(line) for line in text.splitlines()]


def test_written_images_are_read_back(tmp_path, rows):
    export.write(tmp_path, rows, NAMES, FACTS)
    images, labels, names = export.read(tmp_path)
    np.testing.assert_array_equal(np.stack(images), rows['images'])
    np.testing.assert_array_equal(labels, rows['labels'])
    assert labels.dtype == np.int32 and len(set(names)) == len(names)
    assert [line['seed'] for line in metadata(tmp_path)] == rows['seeds'].tolist()


def test_metadata_is_that_of_an_imagefolder(tmp_path, rows):
    """Hugging Face: file_name is relative to the metadata file; each line is strict JSON."""
    export.write(tmp_path, rows, NAMES, FACTS)
    lines = metadata(tmp_path)
    for i, line in enumerate(lines):
        path = tmp_path / 'images' / line['file_name']
        np.testing.assert_array_equal(np.asarray(Image.open(path)), rows['images'][i])
        assert path.parent.parent == tmp_path / 'images'
        assert line['class'] == NAMES[line['label']] and FACTS.items() <= line.items()
        assert line['relevance'] == pytest.approx(rows['relevance'][i], abs=1e-5)
        assert line['distance'] is None and line['nearest'] == i
    assert 'Infinity' not in (tmp_path / 'images/metadata.jsonl').read_text('utf-8')
    assert {p.parent.name for p in (tmp_path / 'images').rglob('*.png')} == {
        export.safe_name(name) for name in NAMES
    }


def test_no_class_name_leaves_the_folder(tmp_path, rows):
    folder = tmp_path / 'deep' / 'synthetic'
    rows['reasons'][::3] = 'copy'
    export.write(folder, rows, NAMES, FACTS)
    outside = [path for path in files(tmp_path) if not path.startswith('deep/synthetic/')]
    assert not outside
    for path in files(folder):
        parts = path.split('/')
        assert len(parts) == 3 or path == 'images/metadata.jsonl'
        assert not any(part.startswith('.') for part in parts)


def test_safe_names_are_distinct_components():
    names = [*NAMES, 'a%2Fb', '%2E.', '.', 'a\\b', 'tab\t', 'new\nline']
    safe = [export.safe_name(name) for name in names]
    assert len(set(safe)) == len(names)
    for name in safe:
        assert os.path.basename(name) == name and name not in ('', '.', '..')
        assert not set(name) & set('/\\:*?"<>|\t\n')
    assert export.safe_name('cat') == 'cat' and export.safe_name('Äpfel 苹果') == 'Äpfel 苹果'


def test_the_folder_is_a_data_source(tmp_path, rows):
    export.write(tmp_path, rows, NAMES, FACTS)
    names = tuple(export.safe_name(name) for name in NAMES)
    source = folders.open_folder(tmp_path / 'images', 8, names)
    assert len(source) == len(rows['labels'])
    found = {item['name']: item for item in map(source.__getitem__, range(len(source)))}
    for i, line in enumerate(metadata(tmp_path)):
        np.testing.assert_array_equal(found[line['file_name']]['image'], rows['images'][i])
        assert found[line['file_name']]['label'] == rows['labels'][i]


def test_the_folder_is_a_data_source_when_a_class_needed_no_image(tmp_path, rows):
    """With fill='largest' the largest class gets none: the rest must still open."""
    keep = rows['labels'] != 0
    export.write(tmp_path, {name: values[keep] for name, values in rows.items()}, NAMES, FACTS)
    assert len(folders.open_folder(tmp_path / 'images', 8)) == keep.sum()


@pytest.mark.parametrize('line', ['{', '{}', '[]', '{"file_name": "../../secret", "label": 0}',
                                  '{"file_name": "/etc/hostname", "label": 0}'])
def test_a_list_of_images_that_is_damaged_or_leads_out_is_refused(tmp_path, rows, line):
    export.write(tmp_path, rows, NAMES, FACTS)
    with (tmp_path / 'images' / 'metadata.jsonl').open('a') as file:
        file.write(line + '\n')
    with pytest.raises(OSError, match='metadata.jsonl is damaged; delete'):
        export.read(tmp_path)


def test_rejected_images_lie_under_their_reason(tmp_path, rows):
    rows['reasons'][:4] = ['copy', 'blank', 'copy', 'surplus']
    export.write(tmp_path, rows, NAMES, FACTS)
    images, labels, _ = export.read(tmp_path)
    np.testing.assert_array_equal(np.stack(images), rows['images'][4:])
    rejected = tmp_path / 'rejected'
    assert files(rejected) == sorted([
        'copy/cat_00000000.png', 'blank/a%2Fb_00000011.png', 'copy/%2E._00000022.png',
    ])
    image = Image.open(rejected / 'blank' / 'a%2Fb_00000011.png')
    np.testing.assert_array_equal(np.asarray(image), rows['images'][1])


def test_only_some_rejected_images_are_kept(tmp_path):
    n = export.REJECTED_SHOWN + 5
    rows = {'images': np.zeros((n, 2, 2, 3), np.uint8), 'labels': np.zeros(n, int),
            'seeds': np.arange(n), 'reasons': np.full(n, 'blank')}
    export.write(tmp_path, rows, ('one',), {})
    assert len(files(tmp_path / 'rejected' / 'blank')) == export.REJECTED_SHOWN
    assert metadata(tmp_path) == []


def test_nothing_made(tmp_path):
    export.write(tmp_path, {}, ('a', 'b'), FACTS)
    images, labels, names = export.read(tmp_path)
    assert images == [] and names == [] and labels.shape == (0,)


def test_writing_again_gives_the_same_files(tmp_path, rows):
    """An interrupted stage goes on in the same folder."""
    export.write(tmp_path, rows, NAMES, FACTS)
    before = {path: (tmp_path / path).read_bytes() for path in files(tmp_path)}
    export.write(tmp_path, rows, NAMES, FACTS)
    assert {path: (tmp_path / path).read_bytes() for path in files(tmp_path)} == before
