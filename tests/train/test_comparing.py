import csv
import json
import shutil

import numpy as np
import pytest

from benchmarks import small_run
from eval import across, leaderboard
from train import arms, comparing, runs

POINTS = [{'splits.fold': f'{fold}/2', 'classifier.seed': 100 * fold} for fold in range(2)]


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
    assert 'average_precision' not in difference | found['arms']['given']
    assert set(found['differences']) == {f'given-{arm}' for arm in run.config.arms}


def test_of_every_image_the_table_says_what_the_report_says(folder, run, tmp_path, test_set):
    paths = [write(tmp_path / f'{seed}.csv', *test_set) for seed in run.seeds]
    found = comparing.compare(run, paths, tmp_path / 'table.csv')
    told = (folder / 'report' / 'predictions.csv').read_text('utf-8').splitlines()
    listed = (tmp_path / 'table.csv').read_text('utf-8').splitlines()
    assert [line.rsplit(',', 3)[0] for line in listed] == told
    assert 'calibration' not in found['arms']['original']  # not of what was calibrated already


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
        f'line 900: {names[0]} is z here and {classes[0]} before': (
            [*names, names[0]], [*classes, 'z']),
    }
    for said, rows in mistakes.items():
        path = write(tmp_path / 'p.csv', *rows)
        with pytest.raises(ValueError, match=f'^{path}.*{said}'):
            comparing.compare(run, [path])
    with pytest.raises(ValueError, match='line 1: needs the columns file and class'):
        comparing.compare(run, [write(tmp_path / 'p.csv', names, classes, 'file,label')])
    with pytest.raises(ValueError, match='names a file twice'):
        comparing.compare(run, [tmp_path / 'p.csv'] * 2)
    count = run.config.classifier.seeds
    with pytest.raises(ValueError, match=f'has {count} classifiers an arm'):
        comparing.compare(run, [tmp_path / 'p.csv'] * (count + 1))


def test_the_command_compares(folder, again, tmp_path, test_set):
    done = again(['--mode=export', '--what=splits', f'--checkpoint={folder}',
                  f'--out={tmp_path}/'])
    assert done.returncode == 0 and (tmp_path / 'splits.csv').exists(), done.stderr
    path = write(tmp_path / 'all.csv', *test_set)
    done = again(['--mode=compare', f'--checkpoint={folder}', f'--predictions={path}',
                  f'--out={tmp_path / "new" / "c.json"}'])
    assert done.returncode == 0 and 'yes, given is better than original' in done.stdout, done.stderr
    assert json.loads((tmp_path / 'new' / 'c.json').read_text())['files'] == [str(path)]
    assert (tmp_path / 'new' / 'c.csv').exists()
    done = again(['--mode=compare', f'--checkpoint={folder}'])
    assert done.returncode == 2 and 'needs --predictions' in done.stderr


@pytest.fixture(scope='module')
def sweep(tmp_path_factory, again):
    """A finished sweep of two folds."""
    home = tmp_path_factory.mktemp('folds')
    (home / 'two.py').write_text(f'def get_sweep():\n    return {POINTS}\n')
    arguments = small_run.arguments(home / 'run', classifier__seeds=1, data__imbalance='')
    done = again([*arguments, '--config.arms=original,augmented', f'--sweep={home / "two.py"}'])
    assert done.returncode == 0 and 'As it stands: ' in done.stdout, done.stderr
    assert done.stdout.count('% of the validation images right') == 4
    return home / 'run'


def test_folds_are_compared_on_all_their_images(sweep, tmp_path):
    whole = runs.open_run(sweep)
    assert len(whole.each()) == 2 and len(whole.classifiers()) == 2
    tests = [one.parts().test for one in whole.each()]
    names = [name for test in tests for name in test.names]
    classes = [whole.class_names()[k] for test in tests for k in test.labels]
    assert len({*names}) == len(names) == 1797
    path = write(tmp_path / 'all.csv', names, classes)
    found = comparing.compare(whole, [path], tmp_path / 'table.csv')
    assert found['test_images'] == 1797 and found['arms']['given']['accuracy']['mean'] == 1
    pooled = across.together(leaderboard.rows(sweep, POINTS), POINTS)['folds']
    for arm in ('original', 'augmented'):
        assert found['arms'][arm]['accuracy'] == pooled['arms'][arm]['accuracy']
    with (tmp_path / 'table.csv').open(newline='') as file:
        assert sum(row['given_right'] == '1' for row in csv.DictReader(file)) == 1797
    assert comparing.write_listing(whole, tmp_path / 'splits.csv') == 2 * 1797
    with (tmp_path / 'splits.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert sorted(row['file'] for row in rows if row['split'] == 'test') == sorted(names)
    assert {row['fold'] for row in rows} == {'0', '1'}


def test_what_one_run_is_needed_for_is_refused_of_folds(sweep, tmp_path):
    whole = runs.open_run(sweep / 'classifiers' / 'original')
    assert whole.arm == 'original' and 'mean of 2 folds' in whole.words()
    for use in (whole.parts, whole.generator):
        with pytest.raises(ValueError, match='holds several runs; name one, as .*points/000'):
            use()
    copied = shutil.copytree(sweep, tmp_path / 'copy', symlinks=True)
    config = json.loads((copied / 'points/001/config.json').read_text())
    config['config']['classifier']['dropout'] = 0.125
    (copied / 'points/001/config.json').write_text(json.dumps(config))
    with pytest.raises(ValueError, match='not all of its folds are done, by the same settings'):
        runs.open_run(copied)
