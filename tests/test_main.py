"""The command itself, as processes: what a user sees, and what a kill leaves."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import forked
import numpy as np
import pytest
from PIL import Image

from benchmarks import small_run
from benchmarks.small_run import CONFIG
from data import cache
from train import disk, lock, place, runs
from train.arms import ARMS

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIMIT = 240


def command(workdir, **changes):
    return [sys.executable, str(ROOT / 'main.py'), *small_run.arguments(workdir, **changes)]


def run(arguments, env, cwd):
    return subprocess.run(
        arguments, env=env, cwd=cwd, capture_output=True, text=True, timeout=LIMIT
    )


def contents(folder):
    """{path: (time of change, digest)} of every file of a run."""
    return {
        path.relative_to(folder).as_posix():
            (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob('*')) if path.is_file()
    }


def changed(before, after):
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


@pytest.fixture(scope='module')
def finished(once, tmp_path_factory, env):
    """(run folder, output) of a copy of a run that was never interrupted."""

    def make():
        workdir = tmp_path_factory.mktemp('made') / 'run'
        done = run(command(workdir), env, workdir.parent)
        assert done.returncode == 0, done.stderr
        return str(workdir), done.stdout

    made, output = once('finished', make)
    return shutil.copytree(made, tmp_path_factory.mktemp('whole') / 'run'), output


def test_a_run_ends_with_its_report(finished):
    workdir, output = finished
    report = workdir / 'report'
    metrics = json.loads((report / 'metrics.json').read_text('utf-8'))
    assert metrics['arms'].keys() == {'original', 'augmented'} and metrics['classes'] == 10
    assert metrics['differences'].keys() == {'augmented-original'}
    assert metrics['synthetic']['accepted'] > 0 and metrics['steps'] == 40
    assert '<html' in (report / 'index.html').read_text('utf-8')
    verdict = metrics['differences']['augmented-original']['verdict'][1:]  # which may not begin it
    assert verdict in (report / 'report.md').read_text('utf-8')
    assert verdict in ' '.join(output.split())
    assert output.startswith('On ') and ' x cpu (' in output.splitlines()[0]
    assert 'augmented' in output and '/run/report/index.html' in output.replace('\n', '')
    assert {path.name for path in workdir.iterdir()} == {'stages.json', 'run.lock', *place.WRITTEN}
    assert not [path for path in contents(workdir) if 'unfinished' in path]
    assert metrics['synthetic']['generative'].keys() >= {'synthetic_train', 'validation_train'}
    assert (report / 'copies.png').exists()
    log = (workdir / 'classifiers' / 'augmented' / 'seed_0' / 'metrics.jsonl').read_text('utf-8')
    rows = [json.loads(line) for line in log.splitlines()]
    last = [row['accuracy'] for row in rows if 'accuracy' in row][-4:]  # a tenth of the 40 steps
    assert metrics['training']['augmented']['accuracy']['mean'] == pytest.approx(np.mean(last))
    assert metrics['validation']['augmented']['loss']['mean'] == rows[-1]['val_loss']
    for arm in ('original', 'augmented'):
        assert (workdir / 'classifiers' / arm / 'seed_0' / 'predictions.npz').exists()


def test_a_stage_builds_on_those_it_reads(finished):
    """So that with another judge, say, the synthetic images are drawn again."""
    stages = {
        path.parent.relative_to(finished[0]).as_posix(): json.loads(path.read_text('utf-8'))
        for path in finished[0].rglob('stage.json')
    }
    data = disk.digest(finished[0] / 'data' / 'splits.json')
    copies = disk.digest(finished[0] / 'data' / 'duplicates.json')
    digest = {name: stage['digest'] for name, stage in stages.items()}
    assert stages['judge']['after'] == stages['generator']['after'] == [data]
    assert {*stages['synthetic']['after']} == {digest['judge'], digest['generator'], copies}
    assert stages['classifiers/original/seed_0']['after'] == [data]
    assert stages['classifiers/augmented/seed_0']['after'] == [digest['synthetic']]
    trained = {digest[f'classifiers/{arm}/seed_0'] for arm in ('original', 'augmented')}
    assert {*stages['report']['after']} >= {digest['data'], digest['synthetic'], *trained}


def test_the_dose_that_is_reported_is_that_of_the_files(finished):
    workdir, _ = finished
    metrics = json.loads((workdir / 'report' / 'metrics.json').read_text('utf-8'))
    lines = (workdir / 'synthetic' / 'images' / 'metadata.jsonl').read_text('utf-8').splitlines()
    pngs = list((workdir / 'synthetic' / 'images').rglob('*.png'))
    assert len(lines) == len(pngs) == metrics['synthetic']['accepted']
    for arm, scores in metrics['arms'].items():
        with np.load(workdir / 'classifiers' / arm / 'seed_0' / 'predictions.npz') as stored:
            accuracy = (stored['probabilities'].argmax(1) == stored['labels']).mean()
        assert scores['accuracy']['per_seed'] == [pytest.approx(accuracy)]
        assert 0 <= scores['macro_f1']['mean'] <= 1


def test_changed_images_and_settings_are_done_again(again, tmp_path):
    """From a folder of images, whose owner changes one; and the doctor on the same folder."""
    rng = np.random.default_rng(0)
    for path in [tmp_path / 'images' / name / f'{i}.png' for name in 'ab' for i in range(12)]:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(path)
    images = f'--config.data.train={tmp_path / "images"}'
    run = small_run.arguments(tmp_path / 'run', data__source='folder', arms='original')
    flags = [*run, images]
    mistyped = again([*flags, images[:-1]])
    assert mistyped.returncode == 2 and 'no such directory' in mistyped.stderr
    assert again(flags).returncode == 0  # put right, it is no change of settings
    path.with_name('.DS_Store').write_bytes(b'1')
    done = again([*flags, images + '/'])
    assert 'Nothing to do' in done.stdout, done.stderr
    content = path.read_bytes()
    path.unlink()
    before = contents(tmp_path / 'run')
    done = again(flags)
    assert done.returncode == 2 and 'some were added, removed or changed' in done.stderr
    assert changed(before, contents(tmp_path / 'run')) <= {'run.lock'}
    path.write_bytes(content)
    done = again(flags)
    assert 'data: its inputs changed, doing it again' in done.stdout, done.stderr
    redone = [line for line in done.stdout.splitlines() if 'doing it again' in line]
    assert len(redone) == 2 and redone[1].startswith('report')  # the images were what they had been
    (tmp_path / 'images').rename(tmp_path / 'photos')
    done = again(flags)
    assert 'is gone; what was read of it before stands' in done.stdout, done.stderr
    assert 'Nothing to do' in done.stdout
    images = f'--config.data.train={tmp_path / "photos"}'
    flags = [*run, images]
    done = again(flags)
    assert 'data: its settings changed, doing it again' in done.stdout, done.stderr
    redone = [line for line in done.stdout.splitlines() if 'doing it again' in line]
    assert done.returncode == 0 and len(redone) == 2, done.stderr
    (tmp_path / 'photos' / path.relative_to(tmp_path / 'images')).unlink()
    done = again([*flags, '--rerun'])
    for stage in ('data', 'classifiers/original/seed_0'):
        assert f'{stage}: its inputs changed, doing it again' in done.stdout, done.stderr
    done = again([*flags, '--config.classifier.hidden=9', '--rerun'])
    assert 'seed_0: its settings changed, doing it again' in done.stdout, done.stderr
    assert 'data:' not in done.stdout
    done = again([f'--config={ROOT}/configs/augmented.py:auto', '--mode=doctor', images,
                  '--config.generator.channels=8', '--config.generator.blocks=1',
                  '--config.generator.multipliers=(1,)', '--config.generator.attention=(False,)',
                  '--config.generator.batch_size=8', '--config.classifier.batch_size=8',
                  '--config.classifier.widths=(4,)'])
    assert done.returncode == 0 and 'configs/augmented.py:auto' in done.stdout, done.stderr


def test_again_does_nothing_and_more_arms_train_their_classifiers_only(finished, env, again):
    workdir, _ = finished
    before = contents(workdir)
    done = run(command(workdir), env | {'PYTHONIOENCODING': 'ascii'}, workdir.parent)
    assert done.returncode == 0 and 'Nothing to do' in done.stdout, done.stderr
    assert ': start' not in done.stdout and 'doing it again' not in done.stdout
    assert changed(before, contents(workdir)) <= {'run.lock'}

    changes = {'arms': tuple(ARMS), 'report__many': 7, 'report__few': 5}
    other = again(small_run.arguments(workdir, **changes))
    assert other.returncode == 0 and 'Nothing to do' not in other.stdout, other.stderr
    different = changed(before, contents(workdir))
    assert 'report/metrics.json' in different
    new = [arm for arm in ARMS if arm not in ('original', 'augmented')]
    redone = ('report/', 'config.json', 'stages.json', 'run.lock')
    redone += tuple(f'classifiers/{arm}/' for arm in new)
    assert all(path.startswith(redone) for path in different)
    metrics = json.loads((workdir / 'report' / 'metrics.json').read_text('utf-8'))
    assert list(metrics['arms']) == list(ARMS)
    assert metrics['differences'].keys() == {
        *(f'{arm}-original' for arm in ARMS if arm != 'original'),
        'augmented-oversampled', 'augmented-classical', 'augmented-logit_adjusted',
        'augmented_classical-classical',
    }
    for arm in new:
        log = workdir / 'classifiers' / arm / 'seed_0' / 'metrics.jsonl'
        assert json.loads(log.read_text('utf-8').splitlines()[-1])['step'] == 40
    assert 'The strongest control is ' in (workdir / 'report' / 'report.md').read_text('utf-8')
    assert metrics['groups'] == {'many': 7, 'few': 5}
    config = json.loads((workdir / 'config.json').read_text('utf-8'))['config']
    assert config['report'] == {'many': 7, 'few': 5}


def test_without_test_images_models_are_made_and_nothing_is_measured(env, again, tmp_path):
    flags = small_run.arguments(
        tmp_path / 'run', splits__test_fraction=0.0, arms=('augmented', 'classical'))
    done = again(flags)
    assert done.returncode == 0, done.stderr
    assert f'--mode=predict --checkpoint={tmp_path / "run"}\n' in done.stdout
    assert re.search(r'augmented: [0-9.]+% of the validation images right', done.stdout)
    parts = cache.load(tmp_path / 'run' / 'data')
    assert not len(parts.test) and not parts.untested and parts.train_counts.min() > 0
    assert not list(tmp_path.rglob('predictions.npz')) and not (tmp_path / 'run/report').exists()
    images = next((tmp_path / 'run' / 'synthetic' / 'images').iterdir())
    for mode, said in {
        f'predict --images={images}': '0 of them unusable',
        'evaluate': 'error: test split: the run has no such images',
        'compare --predictions=a.csv': 'has no test images to compare on\n',
    }.items():
        used = again([*f'--mode={mode}'.split(), f'--checkpoint={tmp_path / "run"}'])
        assert said in used.stdout + used.stderr
    assert 'Nothing to do' in again(flags).stdout
    with pytest.raises(ValueError, match='has no report: no image was held out'):
        runs.open_run(tmp_path / 'run').stage('report')
    start = f'--config.classifier.init_from={tmp_path / "run"}'
    started = again([*small_run.arguments(tmp_path / 'other'), start])
    assert "the run has no arm 'original'" in started.stderr  # but one that saw synthetic images
    swept = again([*flags, '--sweep=configs/sweeps/dose.py', f'--workdir={tmp_path / "sweep"}'])
    assert 'test_fraction=0 leaves a sweep nothing to compare' in swept.stderr


def test_the_same_training_from_another_seed_is_another_report(finished, again, tmp_path):
    workdir = tmp_path / 'run'
    shutil.copytree(finished[0], workdir)
    other = again(small_run.arguments(workdir, classifier__seed=100))
    assert other.returncode == 0, other.stderr
    metrics = json.loads((workdir / 'report' / 'metrics.json').read_text('utf-8'))
    assert 'classifier.seed=100' in metrics['command'] and len(metrics['arms']) == 2


def interrupt(arguments, env, cwd, path, number):
    """Starts the command and sends the signal once `path` has content; (status, errors)."""
    process = subprocess.Popen(arguments, env=env, cwd=cwd, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + LIMIT
    while not (path.exists() and path.stat().st_size) and process.poll() is None:
        assert time.monotonic() < deadline, f'{path} never came'
        time.sleep(0.01)
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=LIMIT)
    return process.returncode, errors


def test_interrupted_and_killed_it_ends_as_if_it_had_not_been(finished, env, again, tmp_path):
    workdir = tmp_path / 'run'
    log = workdir / 'generator.unfinished' / 'metrics.jsonl'
    status, errors = interrupt(command(workdir), env, tmp_path, log, signal.SIGTERM)
    assert status == 75 and 'Traceback' not in errors, errors
    assert list((log.parent / 'checkpoints').glob('step_*'))
    drawn = workdir / 'synthetic.unfinished' / 'drawn'
    status, _ = interrupt(command(workdir), env, tmp_path, drawn, signal.SIGTERM)
    assert status == 75 and list(drawn.glob('*.npz'))
    log = workdir / 'classifiers' / 'augmented' / 'seed_0.unfinished' / 'metrics.jsonl'
    status, _ = interrupt(command(workdir), env, tmp_path, log, signal.SIGKILL)
    assert status == -signal.SIGKILL
    done = again(small_run.arguments(workdir))
    assert done.returncode == 0, done.stderr
    assert 'going on where it was interrupted' in done.stdout

    found, expected = (
        json.loads((folder / 'report' / 'metrics.json').read_text('utf-8'))
        for folder in (workdir, finished[0])
    )
    for result in (found, expected):
        del result['synthetic']['unseen']  # by arm
    for key in ('arms', 'differences', 'synthetic', 'train_images', 'test_images'):
        if key in ('arms', 'differences'):  # `finished` may have more arms and other groups by now
            expected[key] = {name: expected[key][name] for name in found[key]}
            for result in (found, expected):
                for entry in result[key].values():
                    entry.pop('groups', None)
                    entry['average_precision'].pop('groups')
        assert found[key] == expected[key], key
    same = contents(workdir), contents(finished[0])
    for path in same[0]:
        if path.endswith(('.npz', '.npy', '.jsonl')) or path.startswith('synthetic/images/'):
            assert same[0][path][1] == same[1][path][1], path


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_first_step_ends_with_the_same_status(env, tmp_path, number):
    workdir = tmp_path / 'run'
    status, errors = interrupt(command(workdir), env, tmp_path, workdir / 'run.lock', number)
    assert status == 75 and not errors, errors


def test_ctrl_c_ends_what_has_nothing_to_save_without_a_traceback(env, tmp_path):
    process = subprocess.Popen([*command(tmp_path / 'run'), '--mode=doctor'], env=env, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline().startswith('On ')
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == -signal.SIGINT and not errors, errors


def test_a_run_that_cannot_go_on_as_asked_is_refused_at_once(finished, forks, again, tmp_path):
    """Other settings, a folder in use, a folder that cannot be: one line and no training."""
    workdir, _ = finished
    before = contents(workdir)
    (tmp_path / 'file').write_text('')
    blocked = tmp_path / 'file' / 'run'
    cases = (  # the first: of several stages the first one
        ({'judge__hidden': 9, 'generator__steps': 151}, 'judge.hidden 8 -> 9; add --rerun'),
        ({'classifier__hidden': 9}, 'classifier.hidden 8 -> 9'),
        ({'splits__seed': 1}, 'splits.seed 0 -> 1; add --rerun'),
        ({'generator__steps': 151}, 'generator.steps 150 -> 151'),
        ({'synthesis__guidance_scale': 3.0}, 'guidance_scale 2.0 -> 3.0'),
        ({'quality__min_contrast': 1.0}, 'quality.min_contrast 0.0 -> 1.0'),
        # though `original` reads it not, and seed 1 is new
        ({'classifier__synthetic_weight': 0.3, 'classifier__seeds': 2}, '1.0 -> 0.3'),
    )
    commands = [small_run.arguments(workdir, **fields) for fields, _ in cases]
    baseline = shutil.copytree(workdir, tmp_path / 'baseline')
    for name in ('judge', 'generator', 'synthetic', 'classifiers/augmented', 'report'):
        shutil.rmtree(baseline / name)
    commands.append(small_run.arguments(baseline, classifier__hidden=9))
    commands.append(small_run.arguments(blocked))
    ended = forks(commands)
    words = [*(said for _, said in cases), 'original/seed_0 was made with other settings', 'file']
    for (status, _, errors, seconds), said in zip(ended, words, strict=True):
        assert status == 2 and errors.startswith('error: ') and errors.count('\n') == 1, errors
        assert said in errors and seconds < 5
    with lock.held(workdir):
        done = again(small_run.arguments(workdir))
    assert done.returncode == 2 and f'in use by process {os.getpid()}' in done.stderr
    assert changed(before, contents(workdir)) <= {'run.lock'}
    assert not (baseline / 'judge').exists()  # nor does what is refused train anything before


def test_a_start_from_weights_that_know_held_out_images_is_refused(finished, again, tmp_path):
    start = {'splits__seed': 1, 'classifier__init_from': str(finished[0])}
    done = again(small_run.arguments(tmp_path / 'run', **start))
    assert done.returncode == 2 and 'was trained with' in done.stderr, done.stderr
    assert done.stderr.count('\n') == 1


@pytest.mark.skipif(os.geteuid() != 0, reason='mounts a file system')
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(finished, again, tmp_path):
    disk = tmp_path / 'disk'
    disk.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=300k', 'tmpfs', str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('no file system can be mounted here')
    try:
        refused = []
        for size in (300, 600, 30_000):
            resize = ['mount', '-o', f'remount,size={size}k', str(disk)]
            subprocess.run(resize, check=True)
            done = again(small_run.arguments(disk / 'run'))
            if done.returncode:
                assert done.returncode == 2 and 'Traceback' not in done.stderr, done.stderr
                line = done.stderr.splitlines()[-1]
                assert 'No space left' in line or 'MB more' in line, done.stderr
                refused.append(line)
        assert done.returncode == 0 and refused
        same = contents(disk / 'run'), contents(finished[0])
        for path in same[0]:
            if path.endswith(('.npz', '.npy', '.png')) and not path.startswith('report/'):
                assert same[0][path][1] == same[1][path][1], path
    finally:
        subprocess.run(['umount', str(disk)], check=True)


MISTAKES = {
    'unknown field': (['--config.classifier.stepz=3'], 'has no field \'stepz\''),
    'field of a number': (['--config.classifier.steps.a=3'], "no field 'classifier.steps.a'"),
    'unknown part': (['--config.clasifier.steps=3'], 'clasifier'),
    'wrong type': (['--config.classifier.steps=many'], 'many'),
    'not a number': (['--config.generator.learning_rate=nan'], 'generator.learning_rate=nan'),
    'unknown source': (['--config.data.source=nope'], "'nope'"),
    'missing folder': (
        ['--config.data.source=folder', '--config.data.train=/no/such/place'], '/no/such/place'
    ),
    'no folder': (['--config.data.source=folder'], "data.train='' must be a directory, a zip"),
    'stray argument': (['extra'], "'extra'"),
    'arms that are no names': (['--config.arms=1'], "config.arms=('1',)"),
    'batch': (
        ['--config.cpu_devices=2', '--config.classifier.batch_size=7'],
        'config.classifier.batch_size=7 cannot be divided over 2 devices; use 6 or 8',
    ),
    'arms with commas': (
        ['--config.arms=original,classical', '--config.classifier.augment=randaugment'],
        "makes the arm 'classical' equal to 'original'",
    ),
    'image size': (['--config.data.image_size=15'], 'config.data.image_size=15'),
    'imbalance': (['--config.data.imbalance=some'], "'some'"),
    'devices': (['--config.cpu_devices=100000'], 'cpu_devices=100000 must be 0 to 1024'),
    'no baseline': (['--config.arms=classical'], "must name 'original', the baseline"),
    'no arm': (['--config.arms=', '--config.splits.test_fraction=0'], 'config.arms=() must name'),
    'no share': (['--config.splits.test_fraction=30'], 'splits.test_fraction=30'),
    'among the images': (
        ['--config.data.source=folder', '--config.data.train=.', '--workdir=here/run'],
        'lies in the images .',
    ),
    'more images than the disk holds': (
        ['--config.synthesis.fill=2000000x'], 'or use another --workdir'),
    'unknown flag': (['--steps=3'], 'steps'),
    'flag of another mode': (['--images=photos'], '--images is for --mode=predict or'),
    'unknown tracker': (['--config.trackers=clearml'], "('clearml',) may name tensorboard"),
}
FILE = 'from configs import augmented\ndef get_config():\n    config = augmented.get_config()\n'
BROKEN = {
    'syntax.py': 'def get_config(:', 'imports.py': 'import no_such_package',
    'field.py': FILE + '    config.classifier.stepz = 3\n',
    'own.py': FILE + '    config.classifier.steps = {}["mine"]\n',
    'environment.py': 'import os\n' + FILE + '    config.data.train = os.environ["NO_SUCH"]\n',
    'older.py': FILE + '    import numpy\n    config.classifier.steps = numpy.float(3)\n',
}
WHOLE_COMMANDS = {
    'config with an error': (['--config=syntax.py'], 'syntax.py, line 1: invalid syntax'),
    'config without its imports': (['--config=imports.py'], "No module named 'no_such_package'"),
    'config file with an unknown field': (
        ['--config=field.py'], "no field 'stepz'; did you mean 'steps'?; configs/default.py lists"),
    'config file that asks its own': (['--config=own.py'], "own.py, line 4: KeyError: 'mine'"),
    'config file that asks the system': (
        ['--config=environment.py'], "environment.py, line 5: KeyError: 'NO_SUCH'"),
    'config file of an older package': (
        ['--config=older.py'], "older.py, line 5: AttributeError: module 'numpy' has no"),
    'no config': ([], '--config'),
    'auto looks at no image first': (
        [CONFIG.replace(':digits', ':auto'), '--config.data.train=.'], 'lies in the images .'),
    'unknown variant': ([f'{CONFIG}x'], "':digitsx'"),
    'missing config file': (['--config=/no/such.py'], '/no/such.py'),
}


@pytest.fixture(scope='module')
def mistakes(once, tmp_path_factory, env):
    """{name: how it ended}."""
    cases = {name: [CONFIG, *arguments] for name, (arguments, _) in MISTAKES.items()}
    cases |= {name: arguments for name, (arguments, _) in WHOLE_COMMANDS.items()}
    commands = [[*arguments, f'--workdir=run_{i}'] for i, arguments in enumerate(cases.values())]
    folder = tmp_path_factory.mktemp('mistakes')
    for name, text in BROKEN.items():
        (folder / name).write_text(text)
    return once('mistakes', lambda: dict(zip(cases, forked.main(commands, env, folder, at_once=2))))


@pytest.mark.parametrize('name', [*MISTAKES, *WHOLE_COMMANDS])
def test_a_mistake_is_one_line_and_status_2(mistakes, name):
    said = {**MISTAKES, **WHOLE_COMMANDS}[name][1]
    status, _, errors, _ = mistakes[name]
    assert status == 2, errors
    assert errors.startswith('error: ') and errors.count('\n') == 1, errors
    assert said in errors and 'Traceback' not in errors


def test_a_mistake_as_a_user_makes_it(env, tmp_path):
    done = run([sys.executable, str(ROOT / 'main.py'), CONFIG, '--config.data.source=nope'], env,
               tmp_path)
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: unknown data source 'nope'")
