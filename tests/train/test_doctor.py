import re
import types

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import augmented
from train import doctor


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the picture lies, beside the run's folder


def test_it_says_what_is_wrong_what_it_costs_and_what_to_run(config, heard, monkeypatch):
    monkeypatch.setattr(doctor, 'PRESETS', ('folder', 'auto'))
    measured = {'generator': (1e-9, 0.0), 'classifier': (2e-9, 0.0)}
    monkeypatch.setattr(doctor._Work, 'measure', lambda self: measured[self.name])
    monkeypatch.setattr(doctor.flops, 'count', lambda *_: 1e9)
    doctor.examine(config, 'runs/my x', {'data.train': 'images.zip'}, 'main.py')
    said = heard.getvalue()
    assert '1 unusable' in said and 'common/3.png: not a JPEG' in said
    assert '1 group of images that show one picture' in said and 'rare/again.png' in said
    assert ':folder' in said and ':auto' in said
    assert '1 class has under 10 training images' in said
    assert '2 classes have under 10 test images' in said and ':folder128' not in said
    with Image.open('runs/my x_sizes.png') as picture:
        assert picture.width > 8 * 96 and 2 * 96 < picture.height < 300  # at 16 and 32 pixels
    command = ("python main.py --config=configs/augmented.py:auto '--workdir=runs/my x%s' "
               '--config.data.train=images.zip --config.data.on_bad_image=skip%s')
    folds = ' --sweep=configs/sweeps/folds.py'
    assert said.splitlines()[-3].endswith(command % ('', ''))
    assert said.splitlines()[-1].endswith(command % ('-folds', folds))  # as it is a small set


@pytest.mark.parametrize('bits, said', [(12, True), (16, False)])
def test_few_bits_in_files_of_many_are_said(tmp_path, heard, monkeypatch, bits, said):
    """A microscope's 12 bits, stored as they are in files of 16, come out nearly black."""
    monkeypatch.setattr(doctor, '_show_costs', lambda *_: None)
    rng = np.random.default_rng(0)
    for name in ('cell', 'debris'):
        (tmp_path / name).mkdir()
        for i in range(10):
            pixels = rng.integers(0, 2**bits, (20, 20)).astype(np.uint16)
            Image.fromarray(pixels).save(tmp_path / name / f'{i}.png')
    config = augmented.get_config('folder')
    config.data.train = str(tmp_path)
    doctor.examine(config, 'runs/mine', {}, 'main.py')
    assert (' images looked at span no more than 64' in heard.getvalue()) == said
    assert 'mirrors' not in heard.getvalue()  # they are grey


@pytest.mark.parametrize('pattern', ['', 'day[0-9]'])
def test_what_a_run_does_to_photographs_is_said(tmp_path, heard, monkeypatch, pattern):
    monkeypatch.setattr(doctor, '_show_costs', lambda *_: None)
    rng = np.random.default_rng(0)
    for name in ('train/cell', 'train/debris', 'test/cell', 'test/debris'):
        (tmp_path / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 256, (20, 20, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f'day{i // 3}_{i}.png')
    config = augmented.get_config('folder')
    config.data.train, config.splits.group_by = str(tmp_path / 'train'), pattern
    doctor.examine(config, 'runs/mine', {}, 'main.py')
    said = heard.getvalue()
    flags = [f'--config.{part}.augment_flip=False' for part in ('generator', 'judge', 'classifier')]
    assert f'add {" ".join(flags)}' in said
    assert ('see config.splits.group_by' in said) == (not pattern)
    assert ('20 images in 4 groups' in said) == bool(pattern)
    assert (f'group_by={pattern}' in said or f"group_by='{pattern}'" in said) == bool(pattern)
    assert 'hold out more of them' in said
    heard.truncate(0)
    given = {f'{part}.augment_flip': False for part in ('generator', 'judge', 'classifier')}
    config.data.test, config.splits.group_by = str(tmp_path / 'test'), ''
    doctor.examine(config, 'runs/mine', given, 'main.py')
    assert 'mirrors' not in heard.getvalue() and 'or hold out' not in heard.getvalue()
    config.data.test, config.splits.test_fraction = '', 0.0
    doctor.examine(config, 'runs/mine', given | {'splits.test_fraction': 0.0}, 'main.py')
    assert 'No test images' in heard.getvalue()
    assert '--config.splits.test_fraction=0.0' in heard.getvalue().splitlines()[-1]


def costs(heard, config, monkeypatch, *presets, **given):
    """The cells of the first preset's row, and all that is said."""
    monkeypatch.setattr(doctor, 'PRESETS', presets)
    monkeypatch.setattr(doctor._Work, 'measure', lambda self: (1e-9, 0.0))
    monkeypatch.setattr(doctor.flops, 'count', lambda *_: 1e9)
    given = {name.replace('__', '.'): value for name, value in given.items()}
    config.update_from_flattened_dict(given)
    doctor.examine(config, 'runs/x', given, 'main.py')
    said = heard.getvalue()
    heard.truncate(0)
    rows = [line.split() for line in said.splitlines() if line.strip().endswith('GB')]
    return rows[0] if rows else None, said


def test_costs_are_those_of_the_settings_that_are_given(config, heard, monkeypatch):
    usual, _ = costs(heard, config, monkeypatch, 'folder')
    given, said = costs(heard, config, monkeypatch, 'folder', data__image_size=16,
                        classifier__seeds=2, arms=('original', 'augmented', 'classical'))
    assert usual[1] == '32' and given[1] == '16' and '2 seeds, 3 arms' in said
    row, said = costs(heard, config, monkeypatch, 'folder', 'folder128', data__image_size=24)
    assert row[0] == ':folder' and ':folder128 cannot be run so: config.classifier.widths' in said


def test_settings_with_which_nothing_can_be_run_are_an_error(config, heard, monkeypatch):
    with pytest.raises(ValueError, match="config.trackers=.'nope',. may name"):
        costs(heard, config, monkeypatch, 'folder', 'auto', trackers=('nope',))
    assert 'Next:' not in heard.getvalue()


def test_drawing_counts_passes_of_images(tiny_config):
    parts = types.SimpleNamespace(train_counts=np.array([10, 2]))
    settings = {'synthesis.fill': '2x', 'synthesis.steps': 4}
    for scale, passes in ((1.0, 1), (2.0, 2)):
        config = tiny_config(**settings, **{'synthesis.guidance_scale': scale})
        assert doctor._drawn(config, parts) == 1.5 * (10 + 18) * 4 * passes


def test_what_a_config_says_of_its_images_and_arms_is_in_the_command(heard, config, monkeypatch):
    digits = augmented.get_config('digits')
    _, said = costs(heard, digits, monkeypatch, 'folder', data__imbalance='exp:5')
    assert set(re.findall(r'--config\.((?:data|splits|arms)\S*)', said.splitlines()[-1])) == {
        'data.source=digits', 'data.imbalance=exp:5', 'splits.test_fraction=0.5'}
    config.arms = ('original',)
    row, said = costs(heard, config, monkeypatch, 'folder')
    assert f' --config.arms=original --config.data.train={config.data.train} ' in said
    assert row[2:4] == ['0', 'min']  # no generator, no judge
    _, said = costs(heard, config, monkeypatch, 'folder', arms=('original', 'classical'))
    assert ' --config.arms=original,classical ' in said


def test_presets_of_weeks_are_named_and_left_out(config, heard, monkeypatch):
    monkeypatch.setattr(doctor, 'PRESETS', ('folder', 'folder128'))
    monkeypatch.setattr(doctor._Work, 'measure', lambda self: (1e-11, 0.0))
    doctor.examine(config, 'runs/x', {'generator.blocks': 1}, 'main.py')
    table, _, after = heard.getvalue().partition('An estimate')
    assert ':folder ' in table and ':folder128' not in table
    assert ':folder128 would take weeks here' in after


def test_a_step_too_large_for_the_machine_says_what_helps(config, heard, monkeypatch):
    monkeypatch.setattr(doctor._Work, 'measure', lambda self: jnp.ones(2**50, np.uint8))
    monkeypatch.setattr(doctor.flops, 'count', lambda *_: 1e9)
    with pytest.raises(MemoryError, match=r'^not enough memory: .*batch_size'):
        doctor.examine(config, 'runs/x', {}, 'main.py')


@pytest.mark.parametrize(('minutes', 'said'), [
    (1.4, '1 min'), (119, '119 min'), (130, '2 hours'), (60 * 72, '3 days'),
])
def test_times_are_said_in_the_unit_that_fits(minutes, said):
    assert doctor._time(minutes) == said


@pytest.mark.parametrize('size', [8, 12])  # 12: of more than 8 devices
def test_a_step_is_timed_by_running_it(tiny_config, size):
    work = doctor._Work(doctor.classifier, tiny_config(**{'classifier.batch_size': size}), 2)
    seconds, size = work.measure()
    assert 0 < seconds * work.flops < 60 and size >= 0 and work.steps == 2
