import dataclasses
import functools
import io
import json
import zipfile

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from PIL import Image

from configs import augmented, bounds, check, default, original
from configs.default import flat
from data import augment, cache, image_sets
from train import arms, classifier, classifying, generating, generator, parallel, preparing

VARIANTS = list(augmented.VARIANTS)


def changed(variant='', **fields):
    config = augmented.get_config(variant)
    config.update_from_flattened_dict({k.replace('__', '.'): v for k, v in fields.items()})
    return ml_collections.FrozenConfigDict(config)


@pytest.mark.parametrize('variant', VARIANTS)
def test_the_two_configs_differ_in_the_arms_only(variant):
    one, other = flat(original.get_config(variant)), flat(augmented.get_config(variant))
    assert one.keys() == other.keys()
    assert {name for name in one if one[name] != other[name]} == {'arms'}
    assert one['arms'] == ('original',) and other['arms'] == ('original', 'augmented')


@pytest.mark.parametrize('variant', VARIANTS)
def test_a_variant_changes_values_and_adds_no_field(variant):
    base, config = flat(default.get_config()), flat(augmented.get_config(variant))
    assert base.keys() == config.keys()
    for name, value in config.items():
        assert type(value) is type(base[name]), name


def test_configs_are_independent_copies():
    first = augmented.get_config('digits')
    first.generator.steps = 1
    assert augmented.get_config('digits').generator.steps != 1


@pytest.mark.parametrize('devices', [1, 2, 8])
@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('module', [original, augmented])
def test_every_variant_is_possible(module, variant, devices):
    check.check(ml_collections.FrozenConfigDict(module.get_config(variant)), devices)


@pytest.mark.parametrize('module', [original, augmented])
def test_an_unknown_variant_is_named(module):
    with pytest.raises(ValueError, match="unknown variant ':nope'; known: ':digits'") as error:
        module.get_config('nope')
    assert all(repr(f':{name}') in str(error.value) for name in VARIANTS if name)


BOUNDED = [name for _, names in bounds.NUMBERS.values() for name in names]


def test_every_field_that_is_checked_exists():
    fields = flat(default.get_config())
    assert {*BOUNDED, *bounds.CHOICES} <= fields.keys()
    assert all(fields[name] in choices for name, choices in bounds.CHOICES.items())


def assert_refused(config, field, devices=1):
    with pytest.raises(ValueError) as error:
        check.check(config, devices)
    message = str(error.value)
    assert message.startswith(f'config.{field}') and '\n' not in message, message
    return message


def test_a_config_file_cannot_misspell_a_field_or_leave_one_out():
    config = augmented.get_config('digits')
    with pytest.raises(AttributeError, match='stpes'):
        config.generator.stpes = 3
    lacking = ml_collections.ConfigDict(config.to_dict())
    del lacking['trackers']
    assert 'begin with config = default.get_config()' in assert_refused(lacking, 'trackers')
    for field, value in (('generator.steps', None), ('generator.steps', '3'), ('data.test', None)):
        wrong = ml_collections.ConfigDict(config.to_dict())
        part, name = field.split('.')
        with wrong.ignore_type():
            wrong[part][name] = value
        assert 'must be such as' in assert_refused(wrong, field)
    for field, value in {'arms': 'original', 'generator.steps': True, 'auto': 1,
                         'generator.multipliers': 2, 'data.imbalance': 100}.items():
        wrong = ml_collections.ConfigDict(augmented.get_config('digits').to_dict())
        with wrong.ignore_type():
            wrong.update_from_flattened_dict({field: value})
        assert 'must be such as' in assert_refused(wrong, field)
    with pytest.raises(ValueError, match='get_config.. gives 3, and must give a config'):
        bounds.require_fields(3)


def test_whole_numbers_are_below_what_arrays_hold():
    assert 'below 2^31' in assert_refused(changed(generator__steps=2**31), 'generator.steps')
    for steps in (10**400, -10**400):
        assert 'below 2^31' in assert_refused(changed(generator__steps=steps), 'generator.steps')
    for fill in ('1e300x', '9' * 30):
        assert 'fill=' in assert_refused(changed(synthesis__fill=fill), 'synthesis.fill')
    huge = f'range:1-{10**22}'
    assert 'imbalance' in assert_refused(changed(data__imbalance=huge), 'data.imbalance')


OUTSIDE = {  # the words of a bound: numbers just outside
    'above 0': [0], 'at least 0 and below 1': [1.0], '1 at most': [1.001],
    'above 0 and at most 1': [0.0, 1.001], '30 at most': [30.5], '180 degrees at most': [180.5],
    'below 2^32, which is 4294967296': [2**32],
}


@pytest.mark.parametrize(
    'words, name', [(words, name) for words, (_, names) in bounds.NUMBERS.items() for name in names]
)
def test_numbers_have_bounds(words, name):
    for value in OUTSIDE[words]:
        value = type(flat(default.get_config())[name])(value)
        assert f'must be {words}' in assert_refused(changed(**{name: value}), name)


def test_bounds_let_pass_what_is_just_inside():
    check.check(changed(**{
        'generator.seed': 2**32 - 1, 'synthesis.seed': 2**32 - 1, 'quality.min_relevance': 1.0,
        'splits.duplicate_correlation': 1.0, 'classifier.randaugment_magnitude': 30.0,
        'generator.augment_rotate': 180.0, 'generator.dropout': 0.0,
    }), 1)


ANY_SIZE = {  # numbers without bounds in `bounds.NUMBERS`: 0 or more, or with a test of their own
    'classifier.logit_adjustment', 'classifier.max_skipped_steps',
    'classifier.randaugment_ops', 'classifier.seed',
    'classifier.synthetic_until', 'classifier.synthetic_weight', 'classifier.warmup_steps',
    'classifier.weight_decay', 'cpu_devices', 'data.seed',
    'generator.cbdm_commitment', 'generator.cbdm_weight', 'generator.clip_norm',
    'generator.max_skipped_steps', 'generator.min_snr_gamma', 'generator.sample_every',
    'generator.warmup_steps', 'quality.duplicate_ratio',
    'quality.min_contrast', 'quality.relevance_from', 'report.few', 'report.many', 'splits.seed',
    'synthesis.guidance_scale',
}


def test_every_number_has_its_bounds():
    numbers = {
        name for name, value in flat(default.get_config()).items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    numbers = [name for name in numbers if not name.startswith('judge.')]
    without = set(numbers) - {*BOUNDED, *ANY_SIZE}
    assert not without, f'{without}: give them bounds in bounds.NUMBERS, or name them in ANY_SIZE'
    assert sorted([*BOUNDED, *ANY_SIZE]) == sorted(numbers)


@pytest.mark.parametrize(
    'field, value', [('steps', 0), ('dropout', 1.0), ('network', 'bogus'), ('widths', ()),
                     ('batch_size', 7), ('warmup_steps', 3000), ('randaugment_magnitude', 31.0),
                     ('widths', (4,) * 9)]
)
def test_the_judge_has_the_bounds_of_the_classifiers(field, value):
    config = augmented.get_config()
    with config.ignore_type():
        config.judge[field] = value
    message = assert_refused(config, f'judge.{field}', devices=2)
    assert 'config.classifier' not in message


def test_each_variant_trains_its_judge_as_its_classifiers():
    for variant in augmented.VARIANTS:
        config = augmented.get_config(variant)
        differ = {name for name, value in config.judge.items() if config.classifier[name] != value}
        assert differ == set(augmented.JUDGES.get(variant, ()))
    assert len(config.judge) > 15 and 'seeds' not in config.judge


def test_what_a_variant_sets_in_its_judge_is_not_dropped(monkeypatch):
    def own(config):
        config.judge.dropout = 0.1

    monkeypatch.setitem(augmented.VARIANTS, 'own', own)
    with pytest.raises(ValueError, match="':own' sets in config.judge must stand in JUDGES"):
        augmented.get_config('own')


@pytest.mark.parametrize('name', bounds.CHOICES)
def test_choices(name):
    message = assert_refused(changed(**{name: 'bogus'}), name)
    assert "'bogus'" in message and all(choice in message for choice in bounds.CHOICES[name])


@pytest.mark.parametrize('value', [(), (1, 1.5), (0, 1), (-1, 2)])
@pytest.mark.parametrize('name', bounds.WHOLE)
def test_lists_hold_whole_numbers(name, value):
    config = augmented.get_config()
    with config.ignore_type():
        config.update_from_flattened_dict({name: value})
    assert_refused(ml_collections.FrozenConfigDict(config), name)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -1.0])
@pytest.mark.parametrize(
    'name', ['generator.learning_rate', 'generator.min_snr_gamma', 'synthesis.guidance_scale',
             'quality.copy_ratio', 'classifier.synthetic_weight']
)
def test_numbers_are_finite_and_not_negative(name, value):
    assert str(value) in assert_refused(changed(**{name: value}), name)


@pytest.mark.parametrize('name', ['cpu_devices', 'generator.seed', 'splits.seed', 'report.few'])
def test_whole_numbers_are_not_negative(name):
    assert_refused(changed(**{name: -1}), name)


@pytest.mark.parametrize(
    'name', ['generator.batch_size', 'judge.batch_size', 'classifier.batch_size']
)
def test_batches_divide_over_the_devices(name):
    message = assert_refused(changed(**{name: 20}), name, devices=8)
    assert '8 devices' in message and '16 or 24' in message
    message = assert_refused(changed(**{name: 3}), name, devices=8)
    assert '; use 8 or, to go on with a run' in message
    check.check(changed(**{name: 24}), 8)
    if name != 'classifier.batch_size':  # of a model that is not trained
        check.check(changed(**{name: 20, 'arms': ('original',)}), 8)


@pytest.mark.parametrize('until', [0.0, 1e-5, 1.5])
def test_synthetic_images_are_seen_for_a_share_of_the_steps(until):
    name = 'classifier.synthetic_until'
    assert 'most 1' in assert_refused(changed(**{name: until}), name)


@pytest.mark.parametrize('arms', [(), ('augmented',), ('original', 'bogus'), ('original',) * 2])
def test_arms(arms):
    assert 'baseline' in assert_refused(changed(arms=arms), 'arms')


@pytest.mark.parametrize(
    'arm, field, value, equal',
    [
        ('classical', 'augment', 'randaugment', 'original'),
        ('augmented_classical', 'augment', 'randaugment', 'augmented'),
        ('logit_adjusted', 'logit_adjustment', 1.0, 'original'),
    ],
)
def test_an_arm_that_would_equal_another_is_refused(arm, field, value, equal):
    fields = {f'classifier.{field}': value}
    message = assert_refused(changed(arms=('original', arm), **fields), f'classifier.{field}')
    assert repr(arm) in message and repr(value) in message and repr(equal) in message
    fields['classifier.synthetic_until'] = 1.0
    check.check(changed(arms=('original', 'oversampled'), **fields), 1)


def test_an_arm_that_equals_no_other_is_not_refused(monkeypatch):
    alone = dataclasses.replace(
        check.ARMS['synthetic_only'], repeated=True, fields={'augment': 'randaugment'}
    )
    monkeypatch.setitem(check.ARMS, 'alone', alone)
    fields = {'classifier.augment': 'randaugment'}
    check.check(changed(arms=('original', 'alone'), **fields), 1)


def test_an_arm_sets_fields_that_there_are(monkeypatch):
    misspelt = dataclasses.replace(check.ARMS['classical'], fields={'augmnt': 'randaugment'})
    monkeypatch.setitem(check.ARMS, 'misspelt', misspelt)
    message = assert_refused(changed(arms=('original', 'misspelt')), 'arms')
    assert "'misspelt' sets 'augmnt'" in message and 'dropout' in message


def test_no_classifier_has_the_seed_of_the_judge():
    assert 'below 1,000,000' in assert_refused(changed(**{'classifier.seed': 999_998}),
                                               'classifier.seed')
    check.check(changed(**{'classifier.seed': 999_997}), 1)  # and the two after it


def test_validation_images_are_needed():
    message = assert_refused(changed(splits__validation_fraction=0.0), 'splits.validation_fraction')
    assert 'use 0.1' in message


def test_a_prepared_set_needs_test_images():
    prepared = {'data__source': 'tfds:x', 'splits__test_fraction': 0.0}
    assert_refused(changed(**prepared), 'splits.test_fraction')


def test_what_groups_images_is_a_regular_expression_for_names_of_files():
    message = assert_refused(changed(splits__group_by='a'), 'splits.group_by')
    assert "config.data.source='glyphs' has none" in message
    folder = {'data.source': 'folder', 'data.train': 'x.zip'}
    message = assert_refused(changed(**folder, splits__group_by='(a'), 'splits.group_by')
    assert 'no regular expression: missing )' in message
    check.check(changed(**folder, splits__group_by='(a)'), 1)


@pytest.mark.parametrize(
    'interval', [(0.5, 0.5), (0.6, 0.2), (-0.1, 1.0), (0.0, 1.5), (0.0, float('nan')), (0.3,)]
)
def test_the_guidance_interval(interval):
    config = augmented.get_config()
    config.synthesis.guidance_interval = interval
    message = assert_refused(ml_collections.FrozenConfigDict(config), 'synthesis.guidance_interval')
    assert '0 <= lo < hi <= 1' in message
    check.check(changed(synthesis__guidance_interval=(0.2, 0.8)), 1)


def test_the_guidance_interval_holds_a_level():
    fields = {'synthesis.guidance_interval': (0.5, 0.52), 'synthesis.guidance_scale': 1.2}
    message = assert_refused(changed(**fields), 'synthesis.guidance_interval')
    assert 'none of the config.synthesis.steps=8 noise levels' in message
    check.check(changed(**fields | {'synthesis.spacing': 'uniform', 'synthesis.steps': 50}), 1)
    check.check(changed(**fields | {'synthesis.guidance_scale': 1.0}), 1)


@pytest.mark.parametrize('name', [
    'generator.augment_shift', 'classifier.augment_shift', 'judge.augment_shift',
    'classifier.cutout', 'judge.cutout',
])
@pytest.mark.parametrize('size, least', [(16, 0.04), (32, 0.02), (64, 0.01)])
def test_a_shift_or_a_square_is_a_pixel_or_none(name, size, least):
    message = assert_refused(changed(**{'data.image_size': size, name: 0.4 / size}), name)
    assert message.endswith(f'use {least} or more, or 0')
    for shift in (least, 0.0):
        check.check(changed(**{'data.image_size': size, name: shift}), 1)


def test_the_best_sample_needs_samples():
    fields = {'generator.select': 'best_validation', 'generator.sample_every': 0}
    assert 'generator.sample_every=0' in assert_refused(changed(**fields), 'generator.select')
    check.check(changed(generator__select='best_validation'), 1)


@pytest.mark.parametrize('name, value, said', [
    ('synthesis.guidance_scale', 0.0, '1 turns guidance off'),
    ('quality.copy_ratio', 1.0, 'must be at least 0 and below 1'),
    ('classifier.synthetic_weight', 0.0, 'leave out the arm'),
    ('generator.attention', ('false', 'true'), 'must hold True and False'),
])
def test_values_that_would_make_hours_of_work_worthless(name, value, said):
    config = augmented.get_config()
    with config.ignore_type():
        config.update_from_flattened_dict({name: value})
    assert said in assert_refused(ml_collections.FrozenConfigDict(config), name)


def test_a_warm_up_ends_whatever_follows(name='classifier.warmup_steps'):
    fields = {name: 4000, 'classifier.cosine_decay': False}
    assert 'must be below config.classifier.steps=4000' in assert_refused(changed(**fields), name)


def test_guidance_needs_a_network_that_knows_no_class():
    fields = {'generator.label_dropout': 0.0, 'synthesis.guidance_scale': 1.2}
    assert 'guidance_scale=1' in assert_refused(changed(**fields), 'generator.label_dropout')
    check.check(changed(**fields | {'synthesis.guidance_scale': 1.0}), 1)


def test_logits_are_adjusted_to_one_frequency_of_each_class():
    fields = {'classifier.logit_adjustment': 1.0}
    assert 'augmented' in assert_refused(changed(**fields), 'classifier.logit_adjustment')
    check.check(changed(**fields | {'classifier.synthetic_until': 1.0}), 1)
    check.check(changed(arms=('original', 'classical'), **fields), 1)


def test_levels_of_the_unet():
    config = changed(generator__multipliers=(1, 2, 2))
    message = assert_refused(config, 'generator.multipliers')
    assert 'config.generator.attention' in message


def test_image_size_fits_the_unet():
    message = assert_refused(changed(data__image_size=18), 'data.image_size')
    assert 'multiple of 4' in message and 'use 20' in message
    check.check(changed(data__image_size=20), 1)


def test_a_transformer_needs_whole_patches_and_heads():
    check.check(changed(generator__backbone='dit', data__image_size=18), 1)
    message = assert_refused(
        changed(generator__backbone='dit', data__image_size=17), 'data.image_size'
    )
    assert 'multiple of 2 for a DiT' in message and 'use 18' in message
    assert_refused(changed(generator__backbone='dit', generator__width=40), 'generator.width')
    assert_refused(changed(generator__backbone='gan'), 'generator.backbone')


def test_image_size_of_the_baseline_alone_is_free():
    config = original.get_config()
    config.data.image_size = 17
    check.check(ml_collections.FrozenConfigDict(config), 1)


@pytest.mark.parametrize('fill', ['', 'most', '0', '-3', '2.5', 'nanx'])
def test_fill_is_checked_before_hours_of_training(fill):
    assert_refused(changed(synthesis__fill=fill), 'synthesis.fill')
    check.check(changed(synthesis__fill='0.5x'), 1)  # fills the classes below half the largest


def test_the_imbalance_is_checked_before_any_run_of_a_sweep():
    assert_refused(changed(data__imbalance='exp:0'), 'data.imbalance')


def test_a_batch_has_room_for_an_image_of_each_kind():
    assert_refused(changed(classifier__batch_size=1), 'classifier.batch_size')


@pytest.mark.parametrize('part', ['generator', 'classifier'])
def test_the_warm_up_ends_before_the_training(part):
    """optax refuses it, but only when the stage begins, and without naming the field."""
    fields = {f'{part}.steps': 50, f'{part}.warmup_steps': 100, f'{part}.cosine_decay': True}
    assert_refused(changed(**fields), f'{part}.warmup_steps')


def test_the_synthetic_share_gives_an_image_a_batch():
    fields = {'classifier.batch_size': 8, 'classifier.synthetic_share': 0.01}
    assert_refused(changed(**fields), 'classifier.synthetic_share')


def test_few_is_no_more_than_many():
    assert_refused(changed(**{'report.many': 20, 'report.few': 25}), 'report.few')


@pytest.mark.parametrize('part, missing', [
    ('generator', 'generator'), ('classifier', 'classifiers/original/seed_0')])
def test_a_start_that_is_not_there_is_named_before_anything_is_built(part, missing, tmp_path):
    arms = ['original', 'augmented']
    (tmp_path / 'config.json').write_text(json.dumps({'config': {'arms': arms}}))
    config = changed(**{f'{part}.init_from': str(tmp_path)})
    with pytest.raises(ValueError, match=f'has no finished {missing}'):
        check.check(config, 1)


def test_the_looks_depend_on_how_images_are_drawn_and_not_on_how_many():
    config = augmented.get_config('grocery')
    reads = generating.depends(config)['reads']
    assert reads['synthesis'].keys() < set(config.synthesis.keys())
    assert not {'fill', 'rounds', 'batch_size'} & reads['synthesis'].keys()
    assert not {'min_relevance', 'min_contrast'} & reads['quality'].keys()


def test_the_cnn_has_pixels_left():
    """Every block halves the side: four of them leave nothing of 8 pixels."""
    config = original.get_config()
    config.data.image_size, config.classifier.widths = 8, (4, 4, 4, 4)
    assert_refused(ml_collections.FrozenConfigDict(config), 'classifier.widths')


def test_the_arms_differ_in_what_their_table_says_only(fake_images, tiny_config, monkeypatch):
    real, synthetic = fake_images(12), fake_images(6, seed=1)
    real = dataclasses.replace(real, labels=np.int32([0] * 8 + [1] * 4))
    held_out = fake_images(4, seed=2), fake_images(4, seed=3)
    parts = image_sets.Splits(real, *held_out, ('a', 'b'))
    calls = {}
    monkeypatch.setattr(classifier, 'train', lambda *args, **options: (args, options))
    repeated, settings, rest = {}, {}, []
    config = tiny_config(**{'classifier.synthetic_weight': 0.3})
    for arm in check.ARMS:
        args, options = classifying.train_classifier('out', config, parts, synthetic, arm, 5)
        folder, its_config, sets, shares, weights, validation = args
        assert validation is parts.validation
        calls[arm] = sets, shares, weights
        repeated[arm], settings[arm] = options.pop('class_counts'), flat(its_config)
        options.pop('update')
        rest.append((folder, options))
    assert all(other == rest[0] for other in rest)
    for arm, fields in settings.items():
        assert fields == settings['original'] | check.ARMS[arm].fields
    np.testing.assert_array_equal(repeated.pop('oversampled'), [8, 8])
    assert set(repeated.values()) == {None}
    for arm in ('original', 'oversampled', 'classical', 'logit_adjusted'):
        assert calls[arm] == ([real], [1.0], [1.0])
    assert calls['synthetic_only'] == ([synthetic], [1.0], [1.0])
    assert calls['augmented_classical'] == calls['augmented']
    sets, shares, weights = calls['augmented']
    assert sets[0] is real and sets[1] is synthetic
    assert sum(shares) == pytest.approx(1) and shares[1] == pytest.approx(6 / 18)
    assert weights == [1.0, 0.3]


def test_an_arm_can_set_its_own_dose(fake_images, tiny_config, monkeypatch):
    parts = image_sets.Splits(fake_images(12), fake_images(4), None, ('a', 'b'))
    monkeypatch.setattr(classifier, 'train', lambda *args, **options: args)
    fields = {'synthetic_share': 0.25, 'synthetic_weight': 0.3}
    monkeypatch.setitem(arms.ARMS, 'light', dataclasses.replace(
        check.ARMS['augmented'], fields=fields))
    found = classifying.train_classifier('out', tiny_config(), parts, fake_images(6), 'light', 0)
    assert found[3:5] == ([0.75, 0.25], [1.0, 0.3])


def test_a_stated_share_is_the_share(fake_images, tiny_config):
    parts = image_sets.Splits(fake_images(12), None, None, ('a', 'b'))
    config = tiny_config(**{'classifier.synthetic_share': 0.25})
    assert classifying.synthetic_share(config.classifier, parts, fake_images(6)) == 0.25


@pytest.mark.parametrize('real, synthetic, share', [(200, 2, 1 / 8), (6, 600, 7 / 8)])
def test_a_batch_has_an_image_of_either_kind(real, synthetic, share, fake_images, tiny_config):
    parts = image_sets.Splits(fake_images(real), None, None, ('a', 'b'))
    settings = tiny_config().classifier
    assert classifying.synthetic_share(settings, parts, fake_images(synthetic)) == share


def test_few_synthetic_images_can_be_trained_on(fake_images, tiny_config, tmp_path):
    """In proportion, 2 images in 200 are a fraction of an image in a batch of 8."""
    parts = image_sets.Splits(fake_images(200), fake_images(4), fake_images(4), ('a', 'b'))
    classifying.train_classifier(tmp_path, tiny_config(), parts, fake_images(2), 'augmented', 0)
    assert (tmp_path / 'metrics.jsonl').exists()


COUNTS = {'rare': 5, 'some': 12, 'common': 24}
SMALLER = {
    'data.image_size': 8, 'generator.steps': 4, 'generator.batch_size': 8,
    'generator.channels': 8, 'generator.blocks': 1, 'generator.multipliers': (1,),
    'generator.attention': (True,), 'generator.warmup_steps': 2, 'generator.log_every': 1,
    'generator.save_every': 4, 'classifier.steps': 4, 'classifier.widths': (4, 4, 8),
    'classifier.hidden': 8, 'classifier.warmup_steps': 2,
    'classifier.batch_size': 8, 'classifier.log_every': 1, 'classifier.save_every': 4,
}


def write_zip(path, seed):
    """<class>/<number>.png: noise of 20x20 pixels around a colour of its class's own."""
    rng = np.random.default_rng(seed)
    with zipfile.ZipFile(path, 'w') as archive:
        for name, count in COUNTS.items():
            colour = np.random.default_rng(count).uniform(60, 195, 3)
            for i in range(count):
                pixels = np.clip(rng.normal(colour, 30, (20, 20, 3)), 0, 255).astype(np.uint8)
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, 'PNG')
                archive.writestr(f'{name}/{i}.png', file.getvalue())


def losses(folder):
    """Of the training steps that were logged, and of the last one's validation."""
    rows = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
    assert rows[-1]['step'] == 4
    return [row['loss'] for row in rows if 'loss' in row] + [rows[-1]['val_loss']]


GPU_VARIANTS = {  # number of classes, and parameters of the generator, in millions
    'grocery': (37, 24), 'cifar10_lt': (10, 36.7), 'cifar100_lt': (100, 37.6),
    'folder128': (37, 87.3), 'folder256': (37, 87.4),
}


@pytest.mark.parametrize('variant', GPU_VARIANTS)
def test_a_gpu_variant_builds_both_networks_at_full_size(variant):
    """Traced and not run: the shapes fit, and the generator is as large as its estimate assumes."""
    num_classes, millions = GPU_VARIANTS[variant]
    config = ml_collections.FrozenConfigDict(augmented.get_config(variant))
    shape = (2, config.data.image_size, config.data.image_size, 3)
    key, images, numbers = jax.random.key(0), jnp.zeros(shape), jnp.zeros(2)
    unet = generator.make_model(config.generator, num_classes)
    drawn, params = jax.eval_shape(
        lambda: unet.init_with_output(
            key, images, numbers, numbers.astype(jnp.int32), jnp.zeros((2, augment.CONDITION_SIZE))
        )
    )
    assert drawn.shape == shape
    size = sum(array.size for array in jax.tree.leaves(params))
    assert size / 1e6 == pytest.approx(millions, rel=0.01)
    model = classifier.make_model(config.classifier, num_classes)
    logits, _ = jax.eval_shape(lambda: model.init_with_output(key, images)[0])
    assert logits.shape == (2, num_classes)


@pytest.mark.parametrize('variant', ['grocery', 'cifar10_lt'])  # :cifar100_lt is its twin here
def test_a_gpu_variant_trains_both_networks_from_zips(variant, tmp_path, monkeypatch):
    """As large as two cores can do: four steps each, of a ResNet with a block a stage."""
    network, own = classifier.NETWORKS['resnet32']
    short = functools.partial(network, width=8, blocks=1), own
    monkeypatch.setitem(classifier.NETWORKS, 'resnet32', short)
    config = augmented.get_config(variant)
    config.update_from_flattened_dict(SMALLER)
    config.judge = default.judge(config.classifier)
    config.data.train, config.data.test = str(tmp_path / 'train.zip'), str(tmp_path / 'test.zip')
    write_zip(config.data.train, seed=0)
    write_zip(config.data.test, seed=1)
    config = ml_collections.FrozenConfigDict(config)
    check.check(config, 8)

    (tmp_path / 'data').mkdir()
    preparing.prepare_data(tmp_path / 'data', config)
    parts = cache.load(tmp_path / 'data')
    assert len(parts.class_names) == 3 and len(parts.test) == sum(COUNTS.values())
    generator.train(tmp_path / 'generator', config.generator, parts.train, parts.validation,
                    num_classes=3, update=lambda *_, **__: None)
    classifying.train_classifier(tmp_path / 'classifier', config, parts, None, 'original', 0)
    for name in ('generator', 'classifier'):
        found = losses(tmp_path / name)
        assert len(found) == 5 and np.isfinite(found).all()


def test_the_largest_variant_steps_both_networks():
    """With fewer channels and levels; recomputed activations and a batch in parts.

    The classifier at full image size. The generator at 64x64: at 256x256 its step takes 10 s.
    """
    config, size = augmented.get_config('folder256'), 256
    config.update_from_flattened_dict({
        'generator.channels': 4, 'generator.blocks': 1, 'generator.batch_size': 16,
        'generator.multipliers': (1, 2), 'generator.attention': (False, True),
        'generator.dtype': 'float32', 'classifier.batch_size': 8, 'classifier.hidden': 16,
        'classifier.widths': tuple(4 for _ in config.classifier.widths),
    })
    config = ml_collections.FrozenConfigDict(config)
    check.check(config, 8)
    assert config.generator.remat and config.data.image_size == size
    batch = {
        'image': np.full((16, 64, 64, 3), 127, np.uint8),
        'label': np.arange(16, dtype=np.int32) % 3,
        'weight': np.ones(16, np.float32),
    }
    model, optimizer, step = generator.build(config.generator, 3)
    state = generator.initial_state(model, optimizer, config.generator, (64, 64, 3)).make()
    _, metrics = step(state, parallel.shard(batch))
    assert 0 < float(metrics['loss']) < 10
    model, optimizer, step = classifier.build(config.classifier, 3)
    shape = size, size, 3
    state = classifier.initial_state(model, optimizer, config.classifier, shape, 0).make()
    half = {name: values[:8] for name, values in batch.items()}
    half['image'] = np.full((8, *shape), 127, np.uint8)
    _, metrics = step(state, parallel.shard(half))
    assert 0 < float(metrics['loss']) < 10


def test_a_batch_that_cannot_be_cut_into_its_parts_is_refused():
    config = changed(generator__batch_size=16, generator__accumulate=3)
    assert 'multiple of 6' in assert_refused(config, 'generator.accumulate=3', devices=2)
