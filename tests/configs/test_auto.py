import itertools

import ml_collections
import numpy as np
import pytest

from configs import augmented, auto, check
from configs.default import flat


def facts(counts=(12, 30, 60), side=64, grey=False, accelerator=False):
    return auto.Facts(np.array(counts), side, grey, accelerator)


CASES = {
    'photographs': facts(), 'few': facts([3, 4]), 'many': facts([5000] * 10),
    'small': facts(side=16), 'grey': facts(grey=True), 'even': facts([20, 20, 21]),
    'gpu': facts(accelerator=True), 'small on a gpu': facts(side=32, accelerator=True),
    'large': facts(side=1000), 'large on a gpu': facts(side=1000, accelerator=True),
}


def applied(found, given=None):
    config = augmented.get_config('auto')
    lines = auto.apply(config, found, given or {})
    return flat(config), lines, config


@pytest.mark.parametrize('devices', [1, 2, 8])
@pytest.mark.parametrize('name', CASES)
def test_what_is_chosen_can_be_run(name, devices):
    _, lines, config = applied(CASES[name])
    check.check(ml_collections.FrozenConfigDict(config), devices)
    differ = {name for name, value in config.judge.items() if config.classifier[name] != value}
    assert differ <= {'steps'}
    assert lines and all(line.startswith('auto: ') for line in lines)
    chosen = itertools.chain(*(fields for fields, _ in auto.choose(CASES[name], {})))
    assert set(chosen) <= auto.names()


def test_the_choice_follows_the_images_and_the_device():
    size = {name: applied(found)[0]['data.image_size'] for name, found in CASES.items()}
    assert (size['photographs'], size['small'], size['gpu']) == (32, 16, 64)
    assert (size['small on a gpu'], size['large']) == (32, 32)
    assert not applied(CASES['grey'])[0]['classifier.augment_flip']
    fills = {'photographs': '4x', 'even': '4x', 'many': '2x'}
    assert {name: applied(CASES[name])[0]['synthesis.fill'] for name in fills} == fills
    assert applied(facts([500, 5000]))[0]['synthesis.fill'] == 'largest'
    assert applied(facts([1000] + [20] * 36))[0]['synthesis.fill'] == 'largest'  # not 146,280


def test_steps_grow_as_the_square_root_of_the_images_within_limits():
    steps = {n: applied(facts([n // 2] * 2))[0]['generator.steps'] for n in (10, 1000, 4000, 10**6)}
    assert steps == {10: 8000, 1000: 16_000, 4000: 32_000, 10**6: 64_000}
    fields = applied(facts([2000] * 2))[0]
    assert (fields['classifier.steps'], fields['judge.steps']) == (24_000, 12_000)


def test_a_gpu_gets_for_a_thousand_photographs_the_settings_that_were_measured_with_one():
    fields = applied(facts([20] * 25 + [50] * 10, accelerator=True))[0]
    measured = flat(augmented.get_config('grocery'))
    differ = {name for name in fields if fields[name] != measured[name]}
    assert differ == {'auto'}


def test_classes_that_no_judge_is_asked_about_are_said():
    assert any('1 of 2 classes have under 10 images' in line for line in applied(facts([9, 30]))[1])
    assert not any('no judge' in line for line in applied(facts([10, 30]))[1])


def test_what_is_set_by_hand_stays():
    given = {'data.image_size': 48, 'generator.steps': 7}
    fields, lines, _ = applied(facts(), given)
    chosen = {name for one, _ in auto.choose(facts(), given) for name in one}
    assert fields['data.image_size'] == augmented.get_config('auto').data.image_size
    assert fields['generator.steps'] == augmented.get_config('auto').generator.steps
    assert fields['classifier.seeds'] == 5
    for name, value in fields.items():  # what is said is what is set
        said = any(f'{name}={value!r}' in line for line in lines)
        assert said == (name in chosen and name not in given), name


def test_what_a_config_file_sets_on_top_stays():
    config = augmented.get_config('auto')
    config.generator.steps, config.data.image_size = 800, 16
    auto.apply(config, facts(), {})
    assert (config.generator.steps, config.data.image_size) == (800, 16)
    assert (config.generator.sample_every, config.generator.patch_size) == (100, 1)


def test_what_is_chosen_fits_what_is_set_by_hand():
    """Networks for the side that the images will have, looks for the steps that there will be."""
    fields = {
        side: applied(facts(side=64), {'data.image_size': side})[0] for side in (16, 32, 64)
    }
    assert [fields[side]['generator.patch_size'] for side in (16, 32, 64)] == [1, 2, 2]
    small = applied(facts(side=16), {'data.image_size': 64})[0]
    assert small['generator.patch_size'] == 2
    gpu = {
        side: applied(facts(side=64, accelerator=True), {'data.image_size': side})[0]
        for side in (16, 32, 64)
    }
    measured = augmented.get_config('grocery').generator.channels
    assert [gpu[side]['generator.channels'] == measured for side in gpu] == [False, False, True]
    assert applied(facts(), {'generator.steps': 800})[0]['generator.sample_every'] == 100


@pytest.mark.parametrize('given', [{'report.many': 10}, {'report.few': 90}])
def test_one_limit_of_the_groups_that_is_given_brings_the_other_along(given):
    config = augmented.get_config('auto')
    config.update_from_flattened_dict(given)
    auto.apply(config, auto.Facts(np.array((12, 30, 60)), 64, False, False), given)
    check.check(ml_collections.FrozenConfigDict(config), 1)
