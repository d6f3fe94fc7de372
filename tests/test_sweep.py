"""A sweep as a process: what its runs share, what a kill leaves, each is a run like any."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks import small_run
from configs import default, sweeps
from train import stages, sweeping

LIMIT = 240
SWEEP = """
def get_sweep():
    light = {'classifier.synthetic_weight': 0.3}
    strong = {'synthesis.fill': 'largest', 'synthesis.guidance_scale': 3.0,
              'classifier.dropout': 0.2}
    return [{'synthesis.fill': fill, **more} for fill in ('largest', '2x') for more in (light, {})
            ] + [strong]
"""

SHORT = {'classifier__steps': 8, 'classifier__validate_every': 4, 'classifier__save_every': 4}
CHOSEN = SHORT | {
    'generator__select': 'best_validation', 'generator__sample_every': 10, 'generator__steps': 20,
    'generator__validate_every': 10, 'generator__save_every': 10,
}


@pytest.fixture(scope='module')
def sweep(once, tmp_path_factory, env):
    """(folder, flags, output) of a copy of a sweep that was killed once and run again."""

    def make():
        base = tmp_path_factory.mktemp('made')
        (base / 'five.py').write_text(SWEEP)
        workdir = base / 'run'
        flags = [*small_run.arguments(workdir, **CHOSEN), f'--sweep={base / "five.py"}']
        process = subprocess.Popen(command(flags), env=env, cwd=base, stdout=subprocess.DEVNULL)
        began, deadline = workdir / 'points' / '001' / 'config.json', time.monotonic() + LIMIT
        while not began.exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return str(base), succeed(flags, env, base).stdout

    made, output = once('sweep', make)
    base = shutil.copytree(made, tmp_path_factory.mktemp('sweep') / 'copy', symlinks=True)
    flags = [*small_run.arguments(base / 'run', **CHOSEN), f'--sweep={base / "five.py"}']
    return base / 'run', flags, output


def command(flags):
    return [sys.executable, str(small_run.ROOT / 'main.py'), *flags]


def succeed(flags, env, cwd):
    done = subprocess.run(
        command(flags), env=env, cwd=cwd, capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    return done


def made(workdir, stage):
    """The results of a stage that the runs share."""
    return [path for path in (workdir / 'shared' / stage).iterdir() if path.is_dir()]


def test_what_runs_have_in_common_is_done_once(sweep):
    workdir, _, output = sweep
    # samples choose the generator's weights: a generator for each scale at which they are drawn
    counts = {'data': 1, 'judge': 1, 'generator': 2, 'synthetic': 3}
    counts |= {'classifiers/original/seed_0': 2, 'classifiers/augmented/seed_0': 5}
    assert {stage: len(made(workdir, stage)) for stage in counts} == counts
    assert output.count('generator: start') == 1  # the killed sweep had done the other
    assert len(list((workdir / 'points').iterdir())) == 5


def test_the_leaderboard_has_every_run_best_on_validation_first(sweep):
    workdir, _, output = sweep
    with (workdir / 'report' / 'sweep.csv').open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row['validation_loss']) for row in rows]
    assert losses == sorted(losses) and {row['run'] for row in rows} == set('01234')
    for row in rows:
        folder = workdir / 'points' / f'{int(row["run"]):03d}'
        metrics = json.loads((folder / 'report' / 'metrics.json').read_text('utf-8'))
        assert float(row['test_accuracy']) == metrics['arms']['augmented']['accuracy']['mean']
        difference = metrics['differences']['augmented-original']['macro_f1']
        assert float(row['difference_macro_f1_high']) == difference['ci95'][1]
        config = json.loads((folder / 'config.json').read_text('utf-8'))['config']
        assert config['synthesis']['fill'] == row['synthesis.fill']
        weight = config['classifier']['synthetic_weight']  # of runs that do not set it, too
        assert weight == float(row['classifier.synthetic_weight'])
        assert f'/points/{folder.name}/report/index.html' in (
            workdir / 'report' / 'sweep.html'
        ).read_text('utf-8')
    assert f'Best on validation: run {rows[0]["run"]}' in (
        workdir / 'report' / 'sweep.html'
    ).read_text('utf-8')
    text = (workdir / 'report' / 'sweep.md').read_text('utf-8')
    table = text[text.index('\n| run |') + 1 :].rstrip().split('\n')
    assert '5 of 5 runs' in text
    assert len(table) == 2 + 5 and len({row.count(' | ') for row in (table[0], *table[2:])}) == 1
    assert 'sweep.html' in output


def test_the_leaderboard_compares_the_arms_each_at_its_own_best(sweep):
    workdir, _, output = sweep
    runs = [json.loads((workdir / 'points' / f'{i:03d}' / 'report' / 'metrics.json').read_text())
            for i in range(5)]
    best = {arm: min(range(5), key=lambda i: runs[i]['validation'][arm]['scaled_loss']['mean'])
            for arm in ('original', 'augmented')}
    text = (workdir / 'report' / 'sweep.md').read_text('utf-8')
    for arm, i in best.items():
        assert f'| {arm} | {i} | ' in text and f'{arm} (run {i})' in output
    ours, theirs = (runs[i]['arms'][arm]['accuracy']['mean'] for arm, i in best.items())
    assert f'accuracy {100 * (theirs - ours):+.1f} points' in text


def test_again_it_does_nothing_and_one_run_of_it_is_a_run_like_any(sweep, again, tmp_path):
    workdir, flags, _ = sweep
    done = again([*flags, '--sweep_index=2'])
    assert 'Nothing to do' in done.stdout and ': start' not in done.stdout, done.stderr
    fields = {'synthesis__fill': '2x', 'classifier__synthetic_weight': 0.3}
    done = again(small_run.arguments(tmp_path / 'alone', **CHOSEN, **fields))
    assert done.returncode == 0, done.stderr
    alone, point = (
        json.loads((folder / 'report' / 'metrics.json').read_text('utf-8'))
        for folder in (tmp_path / 'alone', workdir / 'points' / '002')
    )
    for key in ('arms', 'differences', 'synthetic', 'validation'):
        assert alone[key] == point[key], key
    assert '--config.synthesis.fill=2x' in point['command']
    assert not {'--sweep', '--workdir'} & {word.split('=')[0] for word in point['command'].split()}


def test_a_run_that_fails_does_not_keep_the_others_from_running(again, tmp_path):
    (tmp_path / 'three.py').write_text("""
def get_sweep():
    return [*({'data.imbalance': rule} for rule in ('', 'range:1-1', 'exp:2')),
            {'data.imbalance': '', 'report.few': 12}]
""")
    flags = [*small_run.arguments(tmp_path / 'run', arms='original', **SHORT),
             f'--sweep={tmp_path / "three.py"}']
    done = again(flags)
    assert done.returncode == 2 and 'Failed, as said above: run 1\n' in done.stdout, done.stderr
    assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
    with (tmp_path / 'run' / 'report' / 'sweep.csv').open() as file:
        assert sorted(row['run'] for row in csv.DictReader(file)) == ['0', '2', '3']
    assert '; run 0 has the same settings, and says the same' in done.stdout
    assert done.stdout.count('says the same') == 1


def test_a_file_that_another_job_replaces_leaves_the_pages(sweep, tmp_path, monkeypatch):
    """As when a run is done again by another job of a SLURM array."""
    workdir = shutil.copytree(sweep[0], tmp_path / 'run', symlinks=True)
    points = sweeps.read(str(sweep[0].parent / 'five.py'))
    assert sweeping.update_leaderboard(workdir, points)
    before = (workdir / 'report' / 'sweep.md').read_bytes()
    for path in (workdir / 'shared' / 'classifiers').rglob('predictions.npz'):
        path.unlink()
    said = []
    monkeypatch.setattr(sweeping, 'say', said.append)
    assert sweeping.update_leaderboard(workdir, points) == []
    assert 'predictions.npz is gone for the moment' in said[0]
    assert (workdir / 'report' / 'sweep.md').read_bytes() == before


@pytest.mark.parametrize('name, problem', [
    ('predictions.npz', 'predictions.npz is damaged'), ('metrics.json', 'Expecting')])
def test_a_damaged_file_keeps_no_other_run_from_being_done(
    sweep, tmp_path, monkeypatch, name, problem
):
    workdir = shutil.copytree(sweep[0], tmp_path / 'run', symlinks=True)
    for path in workdir.rglob(name):
        path.write_bytes(b'{')
    said = []
    monkeypatch.setattr(sweeping, 'say', said.append)
    points = sweeps.read(str(sweep[0].parent / 'five.py'))
    assert sweeping.update_leaderboard(workdir, points) == []
    assert 'left as it was: ' in said[0] and problem in said[0]


def test_other_hardware_does_not_begin_a_sweep_anew(sweep, monkeypatch):
    """As where its command is given on a login node, to see the table."""
    folder, config = sweep[0] / 'points' / '000', default.get_config()
    sweeping.refuse_other_hardware(folder, config)
    monkeypatch.setattr(sweeping.parallel, 'compute_dtype', lambda name: np.dtype('float16'))
    with pytest.raises(stages.Changed, match='other hardware.*--config.classifier.dtype=float32'):
        sweeping.refuse_other_hardware(folder, config)
    for model in (config.classifier, config.generator):
        model.dtype = 'float32'  # a setting, which is given
    with pytest.raises(stages.Changed, match='give --config.judge.dtype=float32, and so'):
        sweeping.refuse_other_hardware(folder, config)
    config.judge.dtype = 'float32'
    sweeping.refuse_other_hardware(folder, config)


def test_mistakes_are_one_line(sweep, forks):
    mistakes = {'--sweep_index=5': '0 to 4', '--sweep=/no.py': '/no.py'}
    ended = forks([[*sweep[1], more] for more in mistakes])
    for (status, _, errors, _), said in zip(ended, mistakes.values(), strict=True):
        assert status == 2 and said in errors and errors.count('\n') == 1
