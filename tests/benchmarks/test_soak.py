"""The soak scripts in their shortest form: that they run, and would notice what they look for."""

import json
import random
import subprocess
import sys

import pytest

from benchmarks import small_run, soak_checkpoints, soak_images, soak_runs


def rows(module, folder, env, *options):
    """The rows of a soak script's JSON: it forks, so it needs a process without devices."""
    done = subprocess.run(
        [sys.executable, '-m', f'benchmarks.{module}', f'--out={folder}', *options],
        cwd=small_run.ROOT, env=env, capture_output=True, text=True, timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / f'{module}.json').read_text('utf-8'))['rows']


def test_checkpoints_survive_kills(tmp_path, clean_env):
    options = '--writing=3', '--deleting=2', '--flips=0'
    found = rows('soak_checkpoints', tmp_path, clean_env, *options)
    assert len(found) == 2 and all(row['survived'] == row['tried'] > 0 for row in found)


def test_a_killed_run_that_ends_otherwise_is_counted(tmp_path, monkeypatch):
    """Of two runs, of two kills and one; what a run survives is tested in tests/test_main.py."""
    moments = iter([(-9, 0.1), (-9, 0.1), None, (-9, 0.1)])  # the first ends before a third kill
    alike = iter([True, False])
    monkeypatch.setattr(soak_runs, '_interrupted', lambda *_: next(moments))
    monkeypatch.setattr(soak_runs, '_ends_like', lambda *_: next(alike))
    monkeypatch.setattr(small_run, 'aside', lambda *_: 0.5)
    row = soak_runs.kill(tmp_path, {}, 3, random.Random(0))
    assert (row['tried'], row['survived']) == (3, 2)
    assert row['worst'] == '0.50 save intervals lost' and row['where'] == 'between stages 3'


def test_no_damaged_image_breaks_the_decoder():
    found = soak_images.decode_all(1000, seed=1)
    assert not found['broken'] and found['decoded'] + found['refused'] == 1000
    assert found['decoded'] > 100 and found['refused'] > 100
    assert found['slowest'] < 5


@pytest.mark.parametrize('name', soak_images.originals())
def test_damage_is_damage(name):
    """The whole image is what its name says, and is seldom left as it was."""
    data = soak_images.originals()[name]
    changed = [soak_images.damaged(data, random.Random(seed)) != data for seed in range(40)]
    assert sum(changed) > 30 or not data


def test_a_silent_restore_would_be_counted(tmp_path, monkeypatch):
    """With damages that change nothing, the newer checkpoint is restored: all are silent."""
    monkeypatch.setattr(small_run, 'aside', lambda function, *rest: function(*rest))
    monkeypatch.setattr(soak_checkpoints, '_damage', lambda *_: None)
    found = soak_checkpoints.damage(tmp_path, 2, random.Random(0))
    assert all(tried == silent for tried, silent in found.values())
