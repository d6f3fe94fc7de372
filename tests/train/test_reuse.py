"""A run made by the command, and what is then done with it."""

import csv
import dataclasses
import io
import json
import re
import shutil
import subprocess
import sys

import ml_collections
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from benchmarks import small_run
from data import image_sets, sources
from eval import calibration, console, formats, predict, results
from generation import export
from train import reuse, runs
from train import state as state_lib

LIMIT = 240


def test_measured_again_the_test_set_says_what_the_report_says(folder, run):
    metrics = json.loads((folder / 'report' / 'metrics.json').read_text('utf-8'))
    found = reuse.evaluate(run)
    for key in ('accuracy', 'macro_f1'):
        assert found[key]['per_seed'] == metrics['arms']['augmented'][key]['per_seed']
    assert found['images'] == metrics['test_images']
    saved = [np.load(run.stage(f'classifiers/augmented/seed_{seed}') / 'predictions.npz')
             for seed in run.seeds]
    mean = np.mean([one['probabilities'] for one in saved], axis=0)
    hits = (mean.argmax(-1) == saved[0]['labels']).mean()
    assert found['averaged']['accuracy'] == pytest.approx(hits)
    assert 'averaged' not in reuse.evaluate(runs.dataclasses.replace(run, seeds=(0,)))


def test_adjusted_the_test_set_says_what_the_report_says(folder, run):
    told = json.loads((folder / 'report' / 'metrics.json').read_text('utf-8'))['adjusted']
    found = reuse.evaluate(run, adjust=True)
    for key in ('accuracy', 'macro_recall'):
        assert found[key]['per_seed'] == told['arms']['augmented'][key]['per_seed']
    assert found['average_precision']['macro']['mean'] == pytest.approx(
        told['arms']['augmented']['average_precision']['macro']['mean'])
    assert found['adjusted'] and found['accuracy'] != reuse.evaluate(run)['accuracy']
    terminal = Console(width=80, file=io.StringIO())
    terminal.print(console.scores(run.words(), found))
    said = ' '.join(terminal.file.getvalue().split())
    assert 'adjusted: rare classes more often' in said
    ranked = formats.mean_std(found['average_precision']['macro'])
    assert f'Macro average precision {ranked}' in said


def test_predictions_are_calibrated_by_what_was_said_of_validation_images(
        folder, run, monkeypatch, heard):
    parts = run.parts()
    said = reuse.probabilities(run, run.classifiers(), parts.validation)
    kept = [calibration.fit(own, parts.validation.labels, parts.train_counts) for own in said]
    assert len({*kept}) == len(kept)
    for found, expected in zip(run.calibrations(), kept, strict=True):
        assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(expected), rel=1e-3)
    raw = reuse.probabilities(run, run.classifiers(), parts.test)
    expected = raw ** (1 / np.reshape([one.temperature for one in kept], (-1, 1, 1)))
    np.testing.assert_allclose(
        reuse.calibrate(run)(raw), expected / expected.sum(-1, keepdims=True), rtol=1e-2, atol=1e-6)
    monkeypatch.setattr(runs.Run, 'calibrations', lambda self: [])
    np.testing.assert_array_equal(reuse.calibrate(run)(raw), raw)
    assert 'Its classifiers have no validation.npz' in heard.getvalue()
    with pytest.raises(ValueError, match='--adjust: .* lacks what its classifiers say'):
        reuse.calibrate(run, adjust=True)


def test_measured_again_the_ranking_and_the_calibration_are_the_report_s(folder, run):
    told = json.loads((folder / 'report' / 'metrics.json').read_text('utf-8'))['arms']['augmented']
    found = results.jsonable(reuse.evaluate(run))
    for key in ('ece', 'calibrated_ece'):
        assert found['calibration'][key]['per_seed'] == pytest.approx(
            told['calibration'][key]['per_seed'], abs=1e-6)
    for key in ('mean', 'ci95'):
        assert found['average_precision']['macro'][key] == pytest.approx(
            told['average_precision']['macro'][key], abs=1e-6)
    kept = [one.tau for one in run.calibrations()]
    assert told['calibration']['tau']['per_seed'] == pytest.approx(kept)


def test_new_images_of_a_patient_that_was_learnt_from_are_said(run, tmp_path, heard, monkeypatch):
    parts, files = run.parts(), sorted((run.stage('synthetic') / 'images').glob('*/*.png'))[:6]
    train = dataclasses.replace(parts.train, groups=('Ann',) * len(parts.train))
    grouped = dataclasses.replace(parts, train=train)
    monkeypatch.setattr(runs.Run, 'parts', lambda self: grouped)
    people = ['Ann'] * 2 + ['Bob'] * 4
    rows = [f'{path},{path.parent.name},{person}' for path, person in zip(files, people)]
    (tmp_path / 'new.csv').write_text('\n'.join(['file,class,group', *rows, '']), 'utf-8')
    assert reuse.evaluate(run, tmp_path / 'new.csv')['images'] == 6
    said = '2 of the 6 images are of groups with the names of those that this run has learnt from'
    assert said in heard.getvalue()


def test_class_folders_and_a_list_of_images_get_the_same_predictions(run, tmp_path, heard):
    """On the synthetic images as they were exported: predict and evaluate agree with each other."""
    images = run.stage('synthetic') / 'images'
    shutil.copytree(images, tmp_path / 'images')
    (tmp_path / 'images' / 'broken.png').write_text('no image')
    (tmp_path / 'images' / 'scan.tif').write_text('passed over')
    total, bad = reuse.write_predictions(run, tmp_path / 'images', tmp_path / 'out.csv')
    assert '2 files passed over, no JPEG, PNG, WebP or BMP: metadata.jsonl, scan.tif' in (
        heard.getvalue())
    with (tmp_path / 'out.csv').open() as file:
        rows = {row['file']: row for row in csv.DictReader(file)}
    assert (total, bad) == (len(rows), 1)
    assert rows.pop('broken.png')['error'] == 'not a JPEG, PNG, WebP or BMP image'
    for row in rows.values():
        best = [float(row[f'probability_{k}']) for k in range(1, 6)]
        assert best == sorted(best, reverse=True) and sum(best) <= 1.001
        assert row['class'] == row['class_1'] and row['probability'] == row['probability_1']
    (tmp_path / 'images' / 'broken.png').unlink()
    one = runs.dataclasses.replace(run, seeds=(0,))
    reuse.write_predictions(one, tmp_path / 'images', tmp_path / 'one.csv')
    with (tmp_path / 'one.csv').open() as file:
        hits = np.mean([row['file'].split('/')[0] == row['class'] for row in csv.DictReader(file)])
    found = reuse.evaluate(one, tmp_path / 'images')
    assert found['accuracy']['mean'] == pytest.approx(hits) and found['images'] == len(rows)


def test_a_set_is_measured_a_few_images_at_a_time(run, tmp_path, monkeypatch):
    """As one in a folder and as the run's own, moved views included: it may exceed the memory."""
    images = run.stage('synthetic') / 'images'
    whole = reuse.evaluate(run, images), reuse.evaluate(run, split='train', views=3)
    sizes, predicted = [], predict.predict

    def watched(model, variables, image_set, size):
        sizes.append(len(image_set))
        return predicted(model, variables, image_set, size)

    monkeypatch.setattr(predict, 'predict', watched)
    monkeypatch.setattr(reuse, 'CHUNK', 5)
    for before, after in zip(
        whole, (reuse.evaluate(run, images), reuse.evaluate(run, split='train', views=3))
    ):
        assert after['accuracy']['per_seed'] == before['accuracy']['per_seed']
        assert after['images'] == before['images'] > 5
    assert max(sizes) == 5


def test_measured_on_its_own_images_a_run_says_so(run, tmp_path, monkeypatch):
    """Three images that it trained on, and one that cannot be used, beside its synthetic ones."""
    shutil.copytree(run.stage('synthetic') / 'images', tmp_path / 'images')
    parts, (some, *_) = run.parts(), sorted(path for path in (tmp_path / 'images').iterdir())
    said = []
    monkeypatch.setattr(reuse, 'say', said.append)
    reuse.evaluate(run, tmp_path / 'images')
    assert not said
    for i in range(3):
        Image.fromarray(parts.train.images[i]).save(some / f'known_{i}.png')
    (some / 'broken.png').write_text('no image')
    with pytest.raises(ValueError, match='broken.png: not a JPEG.*; mend or remove it'):
        reuse.evaluate(run, tmp_path / 'images')
    with (config := ml_collections.ConfigDict(run.config.to_dict())).unlocked():
        config.data.on_bad_image = 'skip'
    skips = runs.dataclasses.replace(run, config=ml_collections.FrozenConfigDict(config))
    reuse.evaluate(skips, tmp_path / 'images')
    assert 'broken.png: not a JPEG, PNG, WebP or BMP image; left out, as the run' in said[0]
    assert ' 3 of the ' in said[1] and 'training or validation images of this run' in said[1]


def test_measured_on_no_usable_image_it_says_so(folder, run, tmp_path):
    (tmp_path / run.class_names()[0]).mkdir()
    (tmp_path / run.class_names()[0] / '1.png').write_bytes(b'')
    with (config := ml_collections.ConfigDict(run.config.to_dict())).unlocked():
        config.data.on_bad_image = 'skip'
    skipping = dataclasses.replace(run, config=ml_collections.FrozenConfigDict(config))
    with pytest.raises(ValueError, match='of its 1 images none can be used'):
        reuse.evaluate(skipping, tmp_path)


def test_views_are_the_image_and_moved_copies(fake_images):
    one = fake_images(3)
    views = list(predict.views(one, 4, flip=True))
    assert np.array_equal(views[0].images, one.images)
    assert np.array_equal(views[1].images, one.images[:, :, ::-1])
    assert np.array_equal(views[2].images[:, :, 1:], one.images[:, :, :-1])  # to the right by one
    assert np.array_equal(views[3].images, views[2].images[:, :, ::-1])
    plain = list(predict.views(one, 3, flip=False))
    assert np.array_equal(plain[2].images[:, :, :-1], one.images[:, :, 1:])
    assert all(np.array_equal(view.labels, one.labels) for view in views)
    assert len(list(predict.views(one, 10, flip=True))) == 10
    assert len(list(predict.views(one, 10, flip=False))) == 5  # there are no others


def test_samples_are_functions_of_class_and_seed(run, tmp_path, monkeypatch):
    names = run.class_names()[:2]
    assert reuse.sample(run, tmp_path / 'a', classes=names, count=2, first_seed=3) == 4
    reuse.sample(run, tmp_path / 'b', classes=names[1:], count=1, first_seed=4)
    one, other = (tmp_path / x / names[1] / '00000004.png' for x in 'ab')
    assert one.read_bytes() == other.read_bytes()
    reuse.sample(run, tmp_path / 'c', classes=names[1:], count=1, first_seed=4, guidance=5.0)
    assert (tmp_path / 'c' / names[1] / '00000004.png').read_bytes() != one.read_bytes()
    width = Image.open(tmp_path / 'a' / 'sheet.png').width
    assert width > 2 * 64
    monkeypatch.setattr(reuse, 'COLUMNS', 1)
    assert reuse.sample(run, tmp_path / 'd', classes=names, count=2) == 4
    assert Image.open(tmp_path / 'd' / 'sheet.png').width < width - 64
    with pytest.raises(ValueError, match="no class 'x'"):
        reuse.sample(run, tmp_path, classes=['x'], count=1)


@pytest.mark.parametrize(('scale', 'said'), [(2.0, 'never trains what guidance compares with'),
                                             (float('nan'), 'finite'), (-1.0, '0 or more')])
def test_a_generator_without_guidance_is_not_guided(run, tmp_path, scale, said):
    fields = run.config.to_dict()
    fields['generator']['label_dropout'] = 0.0
    unguided = dataclasses.replace(run, config=ml_collections.FrozenConfigDict(fields))
    with pytest.raises(ValueError, match=said):
        reuse.sample(unguided, tmp_path, classes=(), count=1, guidance=scale)


LOAD = '''
import json, sys, numpy, jax.export
assert not any(name.split('.')[0] in ('train', 'eval', 'models', 'flax') for name in sys.modules)
exported = jax.export.deserialize(bytearray(open(sys.argv[1], 'rb').read()))
facts = json.load(open(sys.argv[1] + '.json'))
numpy.save('found.npy', exported.call(numpy.load(sys.argv[2])))
print(facts['image_size'], len(facts['class_names']))
'''


@pytest.mark.parametrize('adjust', [False, True])
def test_the_exported_classifier_runs_without_this_project(run, env, tmp_path, adjust):
    reuse.export_classifier(run, tmp_path / 'model', adjust)
    test = run.parts().test
    np.save(tmp_path / 'images.npy', np.asarray(test.images[:13]))
    done = subprocess.run(
        [sys.executable, '-I', '-c', LOAD, tmp_path / 'model', tmp_path / 'images.npy'],
        cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT,
        env={name: value for name, value in env.items() if name != 'PYTHONPATH'},
    )
    assert done.returncode == 0 and done.stdout.split() == ['8', '10'], done.stderr
    raw = reuse.probabilities(run, run.classifiers(), test.take(slice(13)))
    expected = reuse.calibrate(run, adjust)(raw).mean(axis=0)
    np.testing.assert_allclose(np.load(tmp_path / 'found.npy'), expected, atol=1e-6)
    facts = json.loads((tmp_path / 'model.json').read_text('utf-8'))
    assert facts['adjusted'] == adjust and len(facts['calibrations']) == len(run.seeds)


def test_the_synthetic_images_are_a_set_of_tensorflow_datasets(folder, run, tmp_path, again):
    """Written again in place of the first time; read by our own source, without TensorFlow."""
    flags = ['--mode=export', '--what=tfds', f'--checkpoint={folder}', f'--out={tmp_path / "out"}']
    for _ in range(2):
        done = again(flags)
        assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['synthetic']
    found, test = sources.open_source('tfds:synthetic', image_size=8, train=tmp_path / 'out')
    images, labels, _ = export.read(run.stage('synthetic'))
    assert test is None and found.class_names == run.class_names()
    assert f'{len(labels)} images' in done.stdout and np.array_equal(found.labels, labels)
    assert all(np.array_equal(found[i]['image'], images[i]) for i in range(len(labels)))


@pytest.mark.parametrize('what', ['', 'classifiers/original/seed_1'])
def test_the_notebook_runs_from_its_first_cell_to_its_last(folder, env, tmp_path, what):
    notebook = json.loads((small_run.ROOT / 'docs' / 'look.ipynb').read_text('utf-8'))
    cells = [cell for cell in notebook['cells'] if cell['cell_type'] == 'code']
    assert not any(cell['outputs'] for cell in cells)  # of a run on someone's disk
    program = '\n'.join(''.join(cell['source']) for cell in cells)
    (tmp_path / 'cells.py').write_text(program, 'utf-8')
    done = subprocess.run(
        [sys.executable, '-W', 'ignore::UserWarning', tmp_path / 'cells.py'], cwd=small_run.ROOT,
        env=env | {'RUN': str(folder / what)}, capture_output=True, text=True, timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    assert 'augmented -' in done.stdout
    assert (folder / 'samples' / 'sheet.png').exists() == (not what)
    shutil.rmtree(folder / 'samples', ignore_errors=True)


def test_the_guide_s_programs_run(folder, run, env, tmp_path):
    """As they stand there, on four images of each of two classes from elsewhere."""
    page = (small_run.ROOT / 'docs' / 'guide.md').read_text('utf-8')
    section = page.split('## From Python')[1].split('\n## ')[0]
    for name in run.class_names()[:2]:
        (tmp_path / 'others' / name).mkdir(parents=True)
        for i in range(4):
            image = Image.fromarray(np.asarray(run.parts().train.images[i])).resize((20, 20))
            image.save(tmp_path / 'others' / name / f'{i}.png')
    (tmp_path / 'runs').mkdir()
    (tmp_path / 'runs' / 'mine').symlink_to(folder)
    programs = re.findall(r'```python\n(.*?)```', section, re.DOTALL)
    assert len(programs) == 2
    checked = 'assert drawn.shape == (4, 8, 8, 3) and found.shape == (len(images), 10)'
    (tmp_path / 'programs.py').write_text('\n'.join([programs[0], checked, programs[1]]), 'utf-8')
    done = subprocess.run(
        [sys.executable, 'programs.py'], cwd=tmp_path, capture_output=True, text=True,
        env=env | {'PYTHONPATH': str(small_run.ROOT)}, timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    assert ' of 8 images pass. ' in done.stdout and 'augmented' in done.stdout


def test_drawing_takes_fields_of_the_config(run):
    labels, seeds = [0, 1], [3, 4]
    plain = reuse.draw(run, labels, seeds)
    assert np.array_equal(plain, reuse.draw(run, labels, seeds, steps=run.config.synthesis.steps))
    assert not np.array_equal(plain, reuse.draw(run, labels, seeds, sampler='ddim', steps=3))
    with pytest.raises(ValueError, match="config.synthesis has no field 'scale'"):
        reuse.draw(run, labels, seeds, scale=2.0)


def test_images_of_another_size_are_refused(run):
    larger = image_sets.ImageSet(np.zeros((2, 9, 9, 3), np.uint8), np.zeros(2, int), ('', ''))
    with pytest.raises(ValueError, match=r'knows images of \[8, 8, 3\], and these are \[9, 9, 3'):
        reuse.probabilities(run, run.classifiers(), larger)


def test_a_warm_start_takes_what_fits():
    zeros = lambda *shape: np.zeros(shape, np.float32)  # noqa: E731
    fresh = {'params': {'a': zeros(2, 3), 'b': {'c': zeros(4)}, 'd': zeros(1)}}
    saved = {'params': {'a': np.ones((2, 3)), 'b': {'c': np.ones(5)}, 'e': np.ones(1)}}
    made, share = state_lib.warm_start(fresh, saved)
    assert share == pytest.approx(6 / 11) and made['params']['a'].all()
    assert not made['params']['b']['c'].any() and not made['params']['d'].any()
