"""The command with a finished run: its flags, and what it says."""

import dataclasses
import json
import os

import numpy as np
import pytest

from eval import results
from train import disk, modes, reuse


@pytest.mark.parametrize('mode, flag', [
    ('run', 'images'), ('predict', 'workdir'), ('sample', 'images'), ('evaluate', 'guidance')])
def test_a_flag_of_another_mode_is_refused(mode, flag):
    with pytest.raises(ValueError, match=f'--{flag} is for --mode=.*, and this is --mode={mode}'):
        modes.check_flags(mode, ['checkpoint', flag] if mode in modes.MODES else [flag])
    modes.check_flags('predict', ['checkpoint', 'images', 'views', 'out', 'v'])  # absl's own, too


@pytest.mark.parametrize(
    'accuracy, macro_f1, said',
    [((-0.3, -0.1), (-0.3, 0.1), True), ((-0.3, 0.1), (-0.3, -0.1), True),
     ((-0.3, 0.1), (-0.3, 0.1), False), ((-0.3, -0.1), (0.1, 0.3), False)],
)
def test_the_arm_that_the_report_advises_against_is_named(
    run, tmp_path, heard, accuracy, macro_f1, said
):
    worse = dataclasses.replace(run, folder=tmp_path, arm='augmented')
    modes._say_if_worse(worse)  # without a report
    found = {name: {'mean': np.mean(ends), 'ci95': list(ends)}
             for name, ends in (('accuracy', accuracy), ('macro_f1', macro_f1))}
    found['verdict'] = results.verdict(found, 'augmented', 'original', np.zeros(100))
    (tmp_path / 'report').mkdir()
    (tmp_path / 'report' / 'metrics.json').write_text(
        json.dumps({'differences': {'augmented-original': found}}), 'utf-8')
    modes._say_if_worse(worse)  # its report is of an earlier config: other classifiers
    disk.write_json(tmp_path / 'stages.json', {'report': 'report'})
    modes._say_if_worse(dataclasses.replace(worse, arm='original'))
    assert not heard.getvalue()
    modes._say_if_worse(worse)
    assert (f'Its report says: {found["verdict"]} For original: --checkpoint={tmp_path}'
            in heard.getvalue()) == said


def test_an_adjusted_classifier_is_a_file_of_its_own(folder, tmp_path, monkeypatch):
    exported = []
    monkeypatch.setattr(reuse, 'export_classifier', lambda run, out, adjust: exported.append(out))
    for adjust in (False, True):
        modes.use('export', folder, tmp_path, {'what': 'classifier', 'adjust': adjust})
    assert [out.name for out in exported] == [
        'classifier.jaxexport', 'classifier_adjusted.jaxexport']


def test_only_classifiers_are_exported_adjusted(folder, tmp_path):
    with pytest.raises(ValueError, match='--adjust is of classifiers, and this is --what=tfds'):
        modes.use('export', folder, tmp_path / 'out', {'what': 'tfds', 'adjust': True})
    assert not (tmp_path / 'out').exists()


def test_an_out_that_is_a_link_is_written_where_it_leads(folder, tmp_path):
    (tmp_path / 'there.json').write_text('before')
    (tmp_path / 'link.json').symlink_to(tmp_path / 'there.json')
    options = {'images': None, 'split': 'test', 'views': 1, 'adjust': False}
    modes.use('evaluate', folder, tmp_path / 'link.json', options)
    assert (tmp_path / 'link.json').is_symlink()
    assert json.loads((tmp_path / 'there.json').read_text())['images'] == 898


@pytest.mark.parametrize('text', ['', '{', '[]', 'null', '{"differences": null}',
                                  '{"differences": {"augmented-original": 3}}'])
def test_a_damaged_report_keeps_no_run_from_being_used(run, folder, tmp_path, text, heard):
    (tmp_path / 'report').mkdir()
    (tmp_path / 'report' / 'metrics.json').write_text(text, 'utf-8')
    disk.write_json(tmp_path / 'stages.json', {'report': 'report'})
    modes._say_if_worse(dataclasses.replace(run, folder=tmp_path))
    assert not heard.getvalue()


def test_the_command_says_where_the_result_is(folder, forks, again, tmp_path):
    done = again(['--mode=evaluate', f'--checkpoint={folder}', f'--out={tmp_path / "e.json"}'])
    assert done.returncode == 0 and 'Accuracy' in done.stdout, done.stderr
    assert json.loads((tmp_path / 'e.json').read_text())['images'] == 898
    into = ['--mode=evaluate', f'--checkpoint={folder}', f'--out={tmp_path / "new"}/']
    assert again(into).returncode == 0
    one = ['--mode=evaluate', f'--checkpoint={folder}/classifiers/original/seed_0',
           '--split=validation', f'--out={tmp_path / "new"}/']
    assert again(one).returncode == 0
    of_all, of_one = 'evaluation_augmented.json', 'evaluation_original_seed_0_validation.json'
    assert {path.name for path in tmp_path.glob('new/*')} == {of_all, of_one}
    assert json.loads((tmp_path / 'new' / of_one).read_text())['by'].endswith('seed 0')
    mistakes = (
        (['--mode=predict', f'--checkpoint={folder}'], '--images'),
        (['--mode=export'], '--checkpoint'),
        (['--mode=predict', f'--checkpoint={folder}', '--images', 'a', 'b'], "argument 'b'"),
        (['--mode=sample', f'--checkpoint={tmp_path}'], 'is no run'),
        (['--mode=sample', f'--checkpoint={folder}', f'--out={tmp_path / "e.json"}'], 'is a file'),
        (['--mode=predict', f'--checkpoint={folder}', '--images=/no/such'], '/no/such'),
        (['--mode=evaluate', f'--checkpoint={folder}', '--images=a', '--split=train'], 'give one'),
        (['--mode=evaluate', f'--checkpoint={folder}', '--images='], '--images= is empty'),
        (['--mode=evaluate', '--checkpoint='], '--checkpoint= is empty'),
        (['--mode=export', f'--checkpoint={folder}', f'--out={tmp_path / "pipe"}'],
         'neither a file nor'),
        (['--mode=sample', f'--checkpoint={folder}', '--classes=0,z'], "no class 'z'; it has 0, 1"),
    )
    os.mkfifo(tmp_path / 'pipe')
    ended = forks([flags for flags, _ in mistakes])
    for (status, _, errors, _), (_, said) in zip(ended, mistakes, strict=True):
        assert status == 2 and errors.count('\n') == 1 and said in errors
