"""Which run, and which of its parts, a path names; what may start from which."""

import contextlib
import dataclasses
import json
import shutil
from functools import partial

import ml_collections
import numpy as np
import pytest

from data import cache, image_sets
from train import classifying, runs


def test_a_path_names_a_run_or_one_of_its_classifiers(folder, run):
    assert (run.arm, run.seeds) == ('augmented', (0, 1))
    one = runs.open_run(folder / 'classifiers' / 'original' / 'seed_1')
    assert (one.folder, one.arm, one.seeds) == (folder, 'original', (1,))
    arm = runs.open_run(folder / 'classifiers' / 'original')
    assert (arm.folder, arm.arm, arm.seeds) == (folder, 'original', (0, 1))
    assert run.config.generator.multipliers == (1,) and len(run.class_names()) == 10
    with pytest.raises(ValueError, match="no arm 'augmentd', but original, augmented"):
        runs.open_run(folder / 'classifiers' / 'augmentd')
    with pytest.raises(ValueError, match='is no run'):
        runs.open_run(folder / 'classifiers')
    with pytest.raises(ValueError, match='the run has no seed_a, but seed_0 to seed_1'):
        runs.open_run(folder / 'classifiers' / 'original' / 'seed_a')
    with contextlib.chdir(folder):
        assert runs.open_run('classifiers/original').seeds == (0, 1)
        assert runs.open_run('classifiers/original/seed_1').seeds == (1,)
    fields = run.config.to_dict() | {'arms': ('original', 'classical')}
    plain = dataclasses.replace(run, config=ml_collections.FrozenConfigDict(fields))
    for use in (plain.generator, *(partial(plain.stage, name) for name in ('synthetic', 'judge'))):
        with pytest.raises(ValueError, match='has drawn no images: of its arms .original, classic'):
            use()
    with pytest.raises(ValueError, match='has no seed_7, but seed_0 to seed_1'):
        runs.open_run(folder / 'classifiers' / 'original' / 'seed_7')
    (folder.parent / 'sweep' / 'points').mkdir(parents=True)
    with pytest.raises(ValueError, match='the folder of a run, one of those in points/'):
        runs.open_run(folder.parent / 'sweep')


@pytest.mark.parametrize(
    'text', ['{"model_type": "bert"}', '[1]', '{"config": {"data": ', '{"config": 3}']
)
def test_a_config_of_something_else_is_named(text, tmp_path):
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(ValueError, match='config.json is not the config.json of a run'):
        runs.open_run(tmp_path)


def test_a_run_may_lie_in_a_folder_called_classifiers(folder, tmp_path):
    place = tmp_path / 'classifiers' / 'mine'
    place.mkdir(parents=True)
    shutil.copy(folder / 'config.json', place)
    assert runs.open_run(place).folder == place
    inner = place / 'classifiers' / 'original'
    assert runs.open_run(inner).folder == place and runs.open_run(inner / 'seed_1').seeds == (1,)


def test_what_an_interrupted_redo_has_not_come_to_is_of_no_use(folder, tmp_path):
    """The classifiers there know other classes, perhaps, than the data that stand there now."""
    copy = shutil.copytree(folder, tmp_path / 'run')
    listed = json.loads((copy / 'stages.json').read_text('utf-8'))
    del listed['classifiers/augmented/seed_1']
    (copy / 'stages.json').write_text(json.dumps(listed), 'utf-8')
    with pytest.raises(ValueError, match='has no finished classifiers/augmented/seed_1; finish'):
        runs.open_run(copy).classifiers()
    assert len(runs.open_run(copy / 'classifiers' / 'original').classifiers()) == 2
    shutil.rmtree(copy / 'data')
    with pytest.raises(ValueError, match='the data of .* lay in .*data, which is gone; give its'):
        runs.open_run(copy).parts()
    listed['data'] = '../../shared/data/0123'
    (copy / 'stages.json').write_text(json.dumps(listed), 'utf-8')
    with pytest.raises(ValueError, match='lay in .*0123, which is gone; copy the whole sweep'):
        runs.open_run(copy).parts()


def test_a_classifier_of_other_classes_is_a_start(folder, run, tmp_path):
    """All layers but the last fit a set of two classes; a step of zero keeps them."""
    fields = run.config.to_dict()
    fields['classifier'] |= {'init_from': str(folder), 'learning_rate': 1e-12, 'steps': 1}
    config = ml_collections.FrozenConfigDict(fields)
    few = run.parts()
    two = [s.take(np.flatnonzero(s.labels < 2)) for s in (few.train, few.validation, few.test)]
    parts = image_sets.Splits(*two, class_names=few.class_names[:2])
    model, made = classifying.train_classifier(tmp_path, config, parts, None, 'original', 1)
    before = runs.open_run(folder / 'classifiers' / 'original')
    (_, first), (_, second) = before.classifiers()  # seed 1 starts from seed 1
    assert model.num_classes == 2
    for name in ('Conv_0', 'Dense_0'):
        layer = made['params'][name]
        np.testing.assert_allclose(layer['kernel'], second['params'][name]['kernel'], atol=1e-6)
        assert not np.allclose(layer['kernel'], first['params'][name]['kernel'], atol=1e-3)
    starts = [
        classifying.depends(config, parts, 'original', seed)['reads']['classifier']['init']
        for seed in (0, 1)
    ]
    assert starts[0].endswith(run.digest('classifiers/original/seed_0')) and starts[0] != starts[1]


@pytest.mark.parametrize('part', ['generator', 'classifier'])
def test_a_start_that_has_seen_the_test_images_is_refused(folder, run, part, tmp_path):
    fields = run.config.to_dict()
    fields[part]['init_from'] = str(folder)
    config = ml_collections.FrozenConfigDict(fields)
    runs.refuse_leaks(config, folder / 'data')  # cut alike
    parts = run.parts()
    for order, leaked in (
        (('test', 'validation', 'train'), parts.train),  # learnt from the test images
        (('validation', 'train', 'test'), parts.train),  # learnt from the validation images
        (('train', 'test', 'validation'), parts.validation),  # chosen on the test images
    ):
        swapped = image_sets.Splits(
            *(getattr(parts, split) for split in order), class_names=parts.class_names
        )
        cache.save(swapped, tmp_path / order[0])
        message = f'{part}.init_from=.* was trained with {len(leaked)} of the images'
        with pytest.raises(ValueError, match=message):
            runs.refuse_leaks(config, tmp_path / order[0])


def test_what_a_start_has_started_from_counts_as_seen(folder, run, tmp_path):
    """A run of other images in between, whose weights the run with the images began."""
    parts = run.parts()
    other = {
        split: dataclasses.replace(own, images=255 - np.asarray(own.images))
        for split in image_sets.SPLITS
        for own in [getattr(parts, split)]
    }
    between = tmp_path / 'between'
    save = lambda parts, folder: cache.save(parts, folder)  # noqa: E731
    save(image_sets.Splits(**other, class_names=parts.class_names), between / 'data')
    (between / 'stages.json').write_text('{"data": "data"}', 'utf-8')
    fields = run.config.to_dict()
    for begun_by in ('generator', 'classifier'):
        fields[begun_by]['init_from'] = str(folder)
        text = json.dumps({'config': fields})
        (between / 'config.json').write_text(text, 'utf-8')
        fields[begun_by]['init_from'] = ''
        changed = run.config.to_dict()
        changed['classifier']['init_from'] = str(between)
        config = ml_collections.FrozenConfigDict(changed)
        runs.refuse_leaks(config, folder / 'data')  # cut alike
        swapped = image_sets.Splits(
            parts.test, parts.validation, parts.train, class_names=parts.class_names
        )
        save(swapped, tmp_path / begun_by)
        with pytest.raises(ValueError, match=f'{between}, through .* was trained with'):
            runs.refuse_leaks(config, tmp_path / begun_by)
    (between / 'config.json').write_text(text.replace(str(folder), '/gone'), 'utf-8')
    with pytest.raises(ValueError, match='/gone is no run'):
        runs.refuse_leaks(config, folder / 'data')


@pytest.mark.parametrize('field, value, part', [
    ('classifier.hidden', 12, 'classifiers/original/seed_0'),
    ('generator.channels', 16, 'generator'),
])
def test_a_run_whose_parts_do_not_fit_is_refused(folder, tmp_path, field, value, part):
    copy = shutil.copytree(folder, tmp_path / 'run')
    saved = json.loads((copy / 'config.json').read_text('utf-8'))
    group, name = field.split('.')
    saved['config'][group][name] = value
    (copy / 'config.json').write_text(json.dumps(saved), 'utf-8')
    run = runs.open_run(copy, 'original')
    with pytest.raises(ValueError, match=f'{part} holds another network'):
        run.classifiers() if group == 'classifier' else run.generator()


def test_a_classifier_in_the_generator_s_place_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / 'run')
    shutil.rmtree(copy / 'generator' / 'checkpoints')
    steps = runs.open_run(copy).config.generator.steps
    shutil.copytree(copy / 'classifiers' / 'original' / 'seed_0' / 'checkpoints',
                    copy / 'generator' / 'checkpoints')
    (copy / 'generator' / 'checkpoints' / 'step_00000040').rename(
        copy / 'generator' / 'checkpoints' / f'step_{steps:08d}')
    with pytest.raises(ValueError, match='generator holds no generator'):
        runs.open_run(copy).generator()


def test_stages_of_another_run_are_not_touched(folder, tmp_path):
    """Reading a run puts aside what it lacks; a list of stages may have been made elsewhere."""
    copy = shutil.copytree(folder, tmp_path / 'run')
    stage = 'classifiers/original/seed_0'
    (copy / 'stages.json').write_text(json.dumps({stage: str(folder / stage)}), 'utf-8')
    with pytest.raises(ValueError, match=f'no finished {stage}'):
        runs.open_run(copy, 'original').classifiers()


def test_classifiers_are_trained_seed_by_seed(folder):
    """So that a run cut short has whole pairs of arms."""
    with open(f'{folder}/stages.json') as file:
        trained = [name for name in json.load(file) if name.startswith('classifiers/')]
    arms = runs.open_run(folder).config.arms
    assert trained == [f'classifiers/{arm}/seed_{seed}' for seed in range(2) for arm in arms]
