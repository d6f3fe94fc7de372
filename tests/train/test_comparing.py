import csv
import json

import numpy as np
import pytest

from train import arms, comparing


def write(path, names, classes, header='file,class'):
    lines = (f'{name},{label}\n' for name, label in zip(names, classes, strict=True))
    path.write_text(f'{header}\n{"".join(lines)}', 'utf-8')
    return path


@pytest.fixture
def test_set(run):
    parts = run.parts()
    return parts.test.names, np.array(parts.class_names)[parts.test.labels]


def test_the_listing_has_every_image_once(run, tmp_path):
    parts = run.parts()
    total = comparing.write_listing(run, tmp_path / 'splits.csv')
    with (tmp_path / 'splits.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == total == len({row['file'] for row in rows})
    for split in ('train', 'validation', 'test'):
        own = [row for row in rows if row['split'] == split]
        one = getattr(parts, split)
        assert [row['file'] for row in own] == list(one.names)
        assert [row['label'] for row in own] == [parts.class_names[k] for k in one.labels]


def test_what_an_arm_predicts_is_no_better_than_the_arm(run, tmp_path, test_set):
    names, _ = test_set
    stored = np.load(run.stage(arms.stage('original', 0)) / 'predictions.npz')
    own = [run.class_names()[k] for k in stored['probabilities'].argmax(-1)]
    path = write(tmp_path / 'own.csv', ['other.png', *names], ['', *own])  # others do not matter
    found = comparing.compare(run, [path])
    assert found['arms']['given']['accuracy'] == found['arms']['original']['accuracy']
    difference = found['differences']['given-original']
    assert difference['accuracy']['mean'] == 0 and difference['verdict'].startswith('No difference')
    assert difference['doubts'] == ['1 seed'] and 'calibration' not in found['arms']['given']
    assert set(found['differences']) == {f'given-{arm}' for arm in run.config.arms}


def test_who_knows_every_image_is_ahead_by_what_the_arm_lacks(run, tmp_path, test_set):
    found = comparing.compare(run, [write(tmp_path / 'all.csv', *test_set)])
    assert found['arms']['given']['macro_f1']['mean'] == 1
    lacks = 1 - found['arms']['augmented']['accuracy']['mean']
    difference = found['differences']['given-augmented']
    assert difference['accuracy']['mean'] == pytest.approx(lacks)
    assert difference['verdict'].startswith('Yes, given is better than augmented')


def test_a_file_that_does_not_fit_is_named(run, tmp_path, test_set):
    names, classes = test_set
    mistakes = {
        'no prediction of 1 of the 898 test images': (names[1:], classes[1:]),
        "no class 'z'; it has 0, 1": (names, ['z', *classes[1:]]),
        f'line 900: has {names[0]} twice, as {classes[0]} and as z': (
            [*names, names[0]], [*classes, 'z']),
    }
    for said, rows in mistakes.items():
        path = write(tmp_path / 'p.csv', *rows)
        with pytest.raises(ValueError, match=f'^{path}.*{said}'):
            comparing.compare(run, [path])
    with pytest.raises(ValueError, match='line 1: needs the columns file and class'):
        comparing.compare(run, [write(tmp_path / 'p.csv', names, classes, 'file,label')])
    count = run.config.classifier.seeds
    with pytest.raises(ValueError, match=f'has {count} classifiers an arm'):
        comparing.compare(run, [tmp_path / 'p.csv'] * (count + 1))


def test_the_command_compares(folder, again, tmp_path, test_set):
    done = again(['--mode=export', '--what=splits', f'--checkpoint={folder}',
                  f'--out={tmp_path}/'])
    assert done.returncode == 0 and (tmp_path / 'splits.csv').exists(), done.stderr
    path = write(tmp_path / 'all.csv', *test_set)
    done = again(['--mode=compare', f'--checkpoint={folder}', f'--predictions={path}',
                  f'--out={tmp_path / "c.json"}'])
    assert done.returncode == 0 and 'yes, given is better than original' in done.stdout, done.stderr
    assert json.loads((tmp_path / 'c.json').read_text())['files'] == [str(path)]
    done = again(['--mode=compare', f'--checkpoint={folder}'])
    assert done.returncode == 2 and 'needs --predictions' in done.stderr
