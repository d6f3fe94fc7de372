import io
import pathlib
import zipfile

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from configs import augmented, sweeps
from data import cache, clusters, image_sets
from train import preparing, provenance, stages


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


@pytest.mark.parametrize('correlation, kinds', [(None, {'near'}), (1.0, set())])
def test_mirrored_copies_are_found_unless_only_equal_ones_count(tmp_path, correlation, kinds):
    files = pictures(9)
    with Image.open(io.BytesIO(files['a/0.png'])) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file := io.BytesIO(), 'PNG')
    config = config_of(tmp_path, files | {'a/mirrored.png': file.getvalue()})
    if correlation:
        config.splits.duplicate_correlation = correlation
    found = preparing.read_splits(config).duplicates
    assert {entry['pixels'] for entry in found} == kinds and len(found) == len(kinds)


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


def prepared(tmp_path, monkeypatch, files, **settings):
    """What the data stage says of these files, and its `Splits`."""
    config = config_of(tmp_path, files)
    config.update_from_flattened_dict(
        {name.replace('__', '.'): value for name, value in settings.items()})
    said = []
    monkeypatch.setattr(preparing, 'say', said.append)
    (tmp_path / 'data').mkdir(exist_ok=True)
    preparing.prepare_data(tmp_path / 'data', config)
    return '\n'.join(said), cache.load(tmp_path / 'data')


def test_classes_that_no_image_tests_are_named_and_one_alone_is_refused(tmp_path, monkeypatch):
    kinds = 'a/same_', 'a/same_', 'b/x', 'c/x'
    files = {f'{kinds[i // 9]}{i}.png': data for i, data in enumerate(pictures(18).values())}
    said, found = prepared(tmp_path, monkeypatch, files, splits__group_by='same|x[0-9]+')
    assert found.untested == ['a'] and 'no test image of a: nothing will be said of it' in said
    files = {name.replace('c/', 'b/'): data for name, data in files.items()}
    with pytest.raises(ValueError, match="of one class, 'b'.*group_by='same.* keeps groups"):
        prepared(tmp_path, monkeypatch, files, splits__group_by='same|x[0-9]+')


def test_a_picture_in_two_classes_is_said(tmp_path, monkeypatch):
    files = pictures(20)
    files['b/again.png'] = files['a/0.png']
    said, found = prepared(tmp_path, monkeypatch, files, splits__duplicate_correlation=1.0)
    assert len(found.contradictions) == 1 and '1 picture in two classes or more, as ' in said


def test_what_is_passed_over_is_kept_and_images_without_contrast_are_counted(tmp_path, monkeypatch):
    files = pictures(20)
    for i in range(8):
        grey = Image.fromarray(np.random.default_rng(i).integers(100, 130, (8, 8), np.uint8))
        grey.save(file := io.BytesIO(), 'PNG')
        files[f'a/{i}.png'] = file.getvalue()
    files['a/deep/0.png'] = files['a/19.png']
    said, found = prepared(tmp_path, monkeypatch, files)
    assert found.ignored == ['a/deep/0.png']
    assert ' images looked at span no more than 64 of 255 levels' in said


def test_images_that_are_gone_are_those_that_the_run_has_read(tmp_path, heard):
    config = config_of(tmp_path, pictures(9))
    provenance.write_config(tmp_path, config, True)
    digests = preparing.input_digests(config.data, tmp_path)
    runner = stages.Runner(tmp_path)
    runner.run('data', lambda out: None, reads={}, after=digests)
    (tmp_path / 'images.zip').unlink()
    heard.truncate(0)
    assert preparing.input_digests(config.data, tmp_path) == digests
    assert 'images.zip is gone; what was read of it before stands' in heard.getvalue()
    config.data.train += 'x'  # never read by this run
    assert preparing.input_digests(config.data, tmp_path) != digests


def test_a_class_name_with_a_line_break_is_refused(tmp_path):
    config = config_of(tmp_path, {'a\nb/1.png': b'', 'c/1.png': b''})
    with pytest.raises(ValueError, match=r"'a\\nb' has signs in it"):
        preparing.read_splits(config)


def test_facts_are_those_of_the_files(config):
    found = preparing.facts(config)
    assert found.side == 40 and found.grey and not found.accelerator
    assert found.counts == [13, 8]  # common, rare: after the test and validation images


@pytest.mark.parametrize('imbalance', ['exp:20', 'range:2-9'])
def test_facts_count_what_is_left_of_a_set_made_uneven(imbalance):
    config = augmented.get_config('digits')
    config.data.imbalance = imbalance
    parts = preparing.read_splits(config)
    assert preparing.facts(config).counts == parts.train_counts.tolist()


def test_facts_pass_over_what_cannot_be_opened(config):
    """The broken image has a text that pillow refuses to unpack, as soon as it is opened."""
    text, file = PngImagePlugin.PngInfo(), io.BytesIO()
    text.add_text('note', 'x' * 2_000_000, zip=True)
    Image.new('L', (90, 90)).save(file, 'PNG', pnginfo=text)
    with zipfile.ZipFile(config.data.train, 'a') as archive:
        archive.writestr('rare/long.png', file.getvalue())
        archive.writestr('rare/photo.heic', b'')
    assert preparing.facts(config).side == 40


def test_files_that_are_passed_over_are_named(config, heard):
    with zipfile.ZipFile(config.data.train, 'a') as archive:
        archive.writestr('rare/photo.heic', b'')
        archive.writestr('rare/.DS_Store', b'')
        archive.writestr('rare/more/1.jpg', b'')
        archive.writestr('.22lr/1.jpg', b'')
    config.data.on_bad_image = 'skip'
    preparing.read_splits(config)
    said = heard.getvalue()
    assert '1 file passed over, no JPEG, PNG, WebP or BMP: rare/photo.heic' in said
    assert '1 image passed over, not right in a class folder: rare/more/1.jpg' in said
    assert '1 image passed over, in a folder whose name begins with a dot: .22lr/1.jpg' in said


def test_a_sweeps_settings_are_chosen_to_fit_each_of_its_runs(config):
    """As they are by the command that does one of the runs again."""
    points = [{}, {'generator.steps': 5000}, {'data.image_size': 16}, {'auto': False}]
    base = augmented.get_config('auto')
    base.data.train = config.data.train
    configs = [sweeps.apply(base, point) for point in points]
    lines = preparing.choose_settings(configs, points, {'data.train': config.data.train})
    for one, point in zip(configs[:3], points):
        again = sweeps.apply(base, point)
        given = point | {'data.train': config.data.train}
        preparing.choose_settings([again], [{}], given)
        assert again == one
    assert [one.generator.sample_every for one in configs[:2]] == [1000, 625]
    assert [one.generator.patch_size for one in configs[:3]] == [2, 2, 1]
    assert configs[3].generator.steps == 16_000  # as in `:folder`
    assert all(line.startswith('auto: ') for line in lines) and len(lines) == len(set(lines))


def test_groups_of_images_are_counted_and_patterns_that_make_none_refused(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(preparing, 'say', lines.append)
    files = {f'{name[:2]}ann{i // 3}_{name[2:]}': data
             for i, (name, data) in enumerate(pictures(9).items())}
    config = config_of(tmp_path, files)
    config.splits.group_by = 'ann[0-9]+'
    parts = preparing.read_splits(config)
    people = [{name[2:6] for name in getattr(parts, split).names} for split in image_sets.SPLITS]
    assert sum(map(len, people)) == 6 and all(people)
    assert '18 images in 6 groups' in lines.pop()
    config.splits.group_by = 'ann[0-4]'
    preparing.read_splits(config)
    assert '3 images of these, as b/ann5_6.png, are of none' in lines.pop()
    config.splits.group_by = '^.'
    with pytest.raises(ValueError, match='no test image is left'):
        preparing.read_splits(config)
    assert 'all images of a, b are one group' in lines[-1]
    for pattern, found in (('cat', 'no two images'), ('ann', 'all images')):
        config.splits.group_by = pattern
        with pytest.raises(ValueError, match=f'group_by={pattern!r} puts {found} together'):
            preparing.read_splits(config)


def table(folder, files, group_of):
    """The path of a CSV of these files, which lie beside it, each with a group by its number."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    rows = [f'{name},{name[0]},{group_of(int(name[2:-4]))}' for name in files]
    (folder / 'labels.csv').write_text('\n'.join(['file,class,group', *rows, '']), 'utf-8')
    return str(folder / 'labels.csv')


def test_a_table_says_which_images_belong_together(tmp_path, heard):
    files, config = pictures(12), augmented.get_config('folder')
    config.data.train = table(tmp_path, files, lambda i: f'p{i // 3}')
    (tmp_path / 'data').mkdir()
    preparing.prepare_data(tmp_path / 'data', config)
    assert '24 images in 4 groups by the column group of the table' in heard.getvalue()
    parts = cache.load(tmp_path / 'data')
    patients = [set(getattr(parts, split).groups) for split in image_sets.SPLITS]
    assert sum(map(len, patients)) == 4 and all(patients)
    for one in (parts.train, parts.validation, parts.test):
        assert one.groups == tuple(f'p{int(name[2:-4]) // 3}' for name in one.names)
    found = clusters.find(parts.test.names, parts.test.labels, '', [], 'test', parts.test.groups)
    assert len(np.unique(found)) == len(patients[2])

    config.splits.group_by = 'p'
    with pytest.raises(ValueError, match="group_by='p' goes by the names.* has a column group"):
        preparing.read_splits(config)
    config.splits.group_by = ''
    config.data.train = table(tmp_path, files, lambda i: '' if i else 'p')
    assert set(preparing.read_splits(config).train.groups) <= {'', 'p'}
    config.data.train = table(tmp_path, files, lambda i: 'p')
    with pytest.raises(ValueError, match='column group of the table puts all images together'):
        preparing.read_splits(config)


def test_of_a_patient_with_test_images_none_is_learnt_from(tmp_path, heard):
    files, config = list(pictures(12).items()), augmented.get_config('folder')
    tested = dict(files[10:12] + files[22:])
    learnt = {name: content for name, content in files if name not in tested}
    config.data.train = table(tmp_path / 'photos', learnt, lambda i: f'p{i // 4}')
    config.data.test = table(tmp_path / 'others', tested, lambda i: f'p{i // 4}')
    parts = preparing.read_splits(config)
    assert '4 images left out, whose group lies in config.data.test' in heard.getvalue()
    assert set(parts.test.groups) == {'p2'} and set(parts.train.groups) <= {'p0', 'p1'}
    assert 'has a column group' not in heard.getvalue()

    for field, alone in (('train', 'test'), ('test', 'train')):  # only one of them says it
        both = {'train': table(tmp_path / 'photos', learnt, lambda i: f'p{i // 4}'),
                'test': table(tmp_path / 'others', tested, lambda i: f'p{i // 4}')}
        csv = pathlib.Path(both[field])
        csv.write_text(csv.read_text('utf-8').replace('group', 'note'), 'utf-8')
        config.data.update(both)
        parts = preparing.read_splits(config)
        assert f'only config.data.{alone} has a column group' in heard.getvalue()
        assert not getattr(parts, field).groups and getattr(parts, alone).groups
        cache.save(parts, tmp_path / field)
        assert cache.load(tmp_path / field).test.groups == parts.test.groups
