import dataclasses
import errno
import logging
import os
import shutil
import subprocess
from unittest import mock

import jax
import numpy as np
import optax
import pytest

from train import checkpoints, disk, stages, state


def make_state(step=0, width=3, seed=0, optimizer=None, **options):
    rng = np.random.default_rng(seed)
    variables = {
        'params': {'Dense_0': {'kernel': rng.standard_normal((2, width)).astype('f4'),
                               'bias': rng.standard_normal(width).astype('f4')}},
        'batch_stats': {'mean': rng.standard_normal(width).astype('f4')},
    }
    variables = jax.tree.map(jax.numpy.asarray, variables)
    created = state.create(variables, optimizer or optax.adam(1e-3), seed=seed, **options)
    return created.replace(step=jax.numpy.int32(step))


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize(('ema', 'keep_best'), [(True, False), (False, True), (False, False)])
def test_a_state_comes_back_bit_by_bit(tmp_path, ema, keep_best):
    saved = make_state(7, ema=ema, keep_best=keep_best)
    odd = np.array([-0.0, 1e-45, 3e38], np.float32)  # what a comparison by value would miss
    saved.params['Dense_0']['bias'] = jax.numpy.asarray(odd)
    checkpoints.save(tmp_path, saved)
    found = checkpoints.restore(tmp_path, make_state(seed=1, ema=ema, keep_best=keep_best))
    assert_same(found, saved)
    assert (found.ema is None) == (not ema) and (found.best is None) == (not keep_best)
    assert int(found.step) == 7


def test_nothing_saved_yet(tmp_path):
    for folder in (tmp_path, tmp_path / 'missing'):
        assert checkpoints.restore(folder, make_state()) is None
        assert checkpoints.steps(folder) == []
        with pytest.raises(stages.Lost, match='No such file'):
            checkpoints.load(folder)


def test_the_newest_two_are_kept(tmp_path):
    for step in (1, 5, 20, 100):
        checkpoints.save(tmp_path, make_state(step))
    assert checkpoints.steps(tmp_path) == [20, 100]
    assert sorted(p.name for p in tmp_path.iterdir()) == ['step_00000020', 'step_00000100']
    done = subprocess.run(['sha256sum', '--check', '--strict', 'SHA256SUMS'],
                          cwd=tmp_path / 'step_00000100', capture_output=True)
    assert done.returncode == 0, done.stderr
    assert int(checkpoints.restore(tmp_path, make_state()).step) == 100


def test_a_folder_that_a_file_manager_was_in_is_as_it_was(tmp_path):
    checkpoints.save(tmp_path, make_state(1))
    for name in ('.DS_Store', 'd/.DS_Store', '._SHA256SUMS', 'Thumbs.db'):
        file = tmp_path / 'step_00000001' / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b'left behind')
    assert int(checkpoints.restore(tmp_path, make_state()).step) == 1


def test_a_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoints.save('here', make_state(1))
    assert int(checkpoints.restore('here', make_state()).step) == 1


def test_saving_a_step_twice_changes_nothing(tmp_path):
    checkpoints.save(tmp_path, make_state(3, seed=0))
    checkpoints.save(tmp_path, make_state(3, seed=1))
    assert_same(checkpoints.restore(tmp_path, make_state(seed=2)), make_state(3, seed=0))


def test_folders_that_are_no_checkpoints_are_left_alone(tmp_path):
    checkpoints.save(tmp_path, make_state(4))
    for name in ('unfinished_step_00000009', 'step_9', 'step_00000009.tmp', 'junk', 'step_1x'):
        (tmp_path / name).mkdir()
    (tmp_path / 'step_note.txt').write_text('hello')
    assert checkpoints.steps(tmp_path) == [4]
    assert int(checkpoints.restore(tmp_path, make_state()).step) == 4
    checkpoints.save(tmp_path, make_state(9))  # over what a kill left of the same step
    assert checkpoints.steps(tmp_path) == [4, 9]
    assert (tmp_path / 'junk').exists() and (tmp_path / 'step_note.txt').exists()


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def junk(folder):
    empty(folder)
    (folder / 'array').write_bytes(b'not an array')


def files_emptied(folder):
    for path in folder.rglob('*'):
        if path.is_file():
            path.write_bytes(b'')


def data_deleted(folder):
    for path in folder.rglob('*'):
        if path.is_file() and path.parent != folder:
            path.unlink()


def half_deleted(folder):
    paths = sorted(p for p in folder.rglob('*') if p.is_file())
    for path in paths[: len(paths) // 2]:
        path.unlink()


@pytest.mark.parametrize('damage', [empty, junk, files_emptied, data_deleted, half_deleted])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, damage, caplog):
    checkpoints.save(tmp_path, make_state(10, seed=0))
    checkpoints.save(tmp_path, make_state(20, seed=1))
    damage(tmp_path / 'step_00000020')
    with caplog.at_level(logging.WARNING):
        assert_same(checkpoints.restore(tmp_path, make_state(seed=2)), make_state(10, seed=0))
    assert 'step_00000020' in caplog.text  # the bad one is named
    assert int(checkpoints.load(tmp_path)['step']) == 10


def test_a_checkpoint_that_cannot_be_read_is_passed_over(tmp_path, monkeypatch, caplog):
    """A disk that fails in the middle of a file names no file."""
    checkpoints.save(tmp_path, make_state(10, seed=0))
    checkpoints.save(tmp_path, make_state(20, seed=1))
    read, failing = checkpoints._manifest, tmp_path / 'step_00000020'

    def manifest(path):
        if path == failing:
            raise OSError(errno.EIO, 'Input/output error')
        return read(path)

    monkeypatch.setattr(checkpoints, '_manifest', manifest)
    assert_same(checkpoints.restore(tmp_path, make_state(seed=2)), make_state(10, seed=0))
    assert 'step_00000020: Input/output error' in caplog.text


def test_a_whole_checkpoint_that_cannot_be_read_now_is_not_thrown_away(tmp_path, monkeypatch):
    """Too little memory, or another orbax: training does not begin again for it."""
    checkpoints.save(tmp_path, make_state(10, seed=0))
    checkpoints.save(tmp_path, make_state(20, seed=1))
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints.ocp, 'load', mock.Mock(side_effect=MemoryError))
        for read in (lambda: checkpoints.restore(tmp_path, make_state()),
                     lambda: checkpoints.load(tmp_path)):
            with pytest.raises(OSError, match='step_00000020 .* cannot be read .MemoryError.;'):
                read()
    assert checkpoints.steps(tmp_path) == [10, 20]
    assert_same(checkpoints.restore(tmp_path, make_state(seed=2)), make_state(20, seed=1))


def files_of(folder):
    return sorted(path for path in folder.rglob('*') if path.is_file())


def bit_flipped(path):
    data = bytearray(path.read_bytes())
    place = np.random.default_rng(len(data)).integers(8 * len(data))
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {'emptied': lambda path: path.write_bytes(b''), 'halved': halved,
           'one bit flipped': bit_flipped, 'deleted': lambda path: path.unlink()}


def test_no_damaged_file_is_restored_in_silence(tmp_path, caplog):
    good, whole = make_state(10, seed=0), tmp_path / 'whole'
    checkpoints.save(whole, good)
    checkpoints.save(whole, make_state(20, seed=1))
    for file in files_of(whole / 'step_00000020'):
        if not file.stat().st_size:
            continue  # it can be neither emptied nor halved
        for name, damage in DAMAGES.items():
            folder = tmp_path / 'damaged'
            shutil.copytree(whole, folder)
            damage(folder / file.relative_to(whole))
            caplog.clear()
            with caplog.at_level(logging.WARNING):
                assert_same(checkpoints.restore(folder, make_state(seed=2)), good)
            assert 'step_00000020 is damaged' in caplog.text, (file, name)
            shutil.rmtree(folder)


def test_an_empty_folder_in_the_way_does_not_stop_a_save(tmp_path):
    (tmp_path / 'step_00000005').mkdir(parents=True)
    checkpoints.save(tmp_path, make_state(5))
    assert int(checkpoints.restore(tmp_path, make_state(seed=1)).step) == 5
    assert any(path.name.startswith('damaged_step_00000005') for path in tmp_path.iterdir())


def test_no_checkpoint_without_arrays_is_called_whole(tmp_path):
    """Orbax reads the sign as part of a pattern, finds nothing, and says that it has saved."""
    folder = tmp_path / 'runs\\mine'
    with pytest.raises(OSError, match='has written no arrays'):
        checkpoints.save(folder, make_state(5))
    assert checkpoints.restore(folder, make_state()) is None


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_a_state_that_is_not_finite_is_not_saved(tmp_path, value):
    checkpoints.save(tmp_path, make_state(1))
    broken = make_state(2)
    broken.params['Dense_0']['bias'] = jax.numpy.float32([0, value, 0])
    with pytest.raises(FloatingPointError, match='params/Dense_0/bias has a NaN or infinity'):
        checkpoints.save(tmp_path, broken)
    assert [path.name for path in tmp_path.iterdir()] == ['step_00000001']


@pytest.mark.skipif(os.name != 'posix' or os.geteuid() != 0, reason='mounts a file system')
def test_a_full_disk_is_one_error_and_leaves_what_was_there(tmp_path, small_disk):
    checkpoints.save(small_disk, make_state(1))
    filler = small_disk / 'filler'
    with pytest.raises(OSError, match='No space left') as full:
        filler.write_bytes(bytes(2**22))
    del full
    with pytest.raises(OSError, match='No space left on device') as full:
        checkpoints.save(small_disk, make_state(2, width=20_000))
    assert full.value.errno == errno.ENOSPC and 'step_00000002' in str(full.value)
    with pytest.raises(OSError, match='MB more'):
        checkpoints.require_space(small_disk, make_state(2, width=20_000))
    assert sorted(path.name for path in small_disk.iterdir()) == ['filler', 'step_00000001']
    filler.unlink()
    assert int(checkpoints.restore(small_disk, make_state()).step) == 1
    checkpoints.save(small_disk, make_state(2))
    assert checkpoints.steps(small_disk) == [1, 2]


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of its own, of 2 MB."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('no file system can be mounted here')
    yield folder
    subprocess.run(['umount', str(folder)], check=True)


def test_training_goes_on_past_a_damaged_checkpoint(tmp_path):
    """The step that was damaged is reached again: what is saved then must be readable."""
    checkpoints.save(tmp_path, make_state(10, seed=0))
    checkpoints.save(tmp_path, make_state(20, seed=1))
    files_emptied(tmp_path / 'step_00000020')
    resumed = checkpoints.restore(tmp_path, make_state(seed=2))
    checkpoints.save(tmp_path, resumed.replace(step=np.int32(20)))
    assert int(checkpoints.restore(tmp_path, make_state(seed=2)).step) == 20


def test_what_cannot_be_read_for_now_is_no_damage(tmp_path, monkeypatch):
    checkpoints.save(tmp_path, make_state(10))

    def fails(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(disk, 'digest', fails)
    with pytest.raises(OSError, match='Permission denied.*the same command tries again'):
        checkpoints.restore(tmp_path, make_state())
    monkeypatch.undo()
    assert int(checkpoints.restore(tmp_path, make_state()).step) == 10


def test_all_damaged_is_as_none(tmp_path):
    checkpoints.save(tmp_path, make_state(10))
    files_emptied(tmp_path / 'step_00000010')
    assert checkpoints.restore(tmp_path, make_state()) is None


@pytest.mark.parametrize(
    ('other', 'named'),
    [
        (dict(width=4), 'model_state/'),
        (dict(optimizer=optax.sgd(0.1, momentum=0.9)), 'opt_state/'),
        (dict(ema=True), 'ema/'),
        (dict(keep_best=True), 'best/'),
    ],
)
def test_another_network_is_refused_by_name(tmp_path, other, named):
    checkpoints.save(tmp_path, make_state(5))
    with pytest.raises(stages.Changed, match='another network or optimizer') as error:
        checkpoints.restore(tmp_path, make_state(**other))
    message = str(error.value)
    assert str(tmp_path / 'step_00000005') in message and '--workdir' in message
    assert f'first {named}' in message
    assert '\n' not in message


def damaged(last):
    bit_flipped(next(path for path in files_of(last) if path.stat().st_size))


@pytest.mark.parametrize('damage, left', [
    (damaged, 10), (shutil.rmtree, 10), (lambda last: shutil.rmtree(last.parent), None)])
def test_a_finished_training_without_its_last_checkpoint_is_finished_no_more(
        tmp_path, damage, left):
    """An earlier one is no result of it: the stage goes on from there instead."""
    def train(folder):
        done = checkpoints.steps(folder / 'checkpoints')
        for step in (10, 20):
            if step > max(done, default=0):
                checkpoints.save(folder / 'checkpoints', make_state(step, seed=step))

    def run():
        runner = stages.Runner(tmp_path, rerun=True)
        folder, _ = runner.run('generator', train, reads={'steps': 20})
        use = lambda _: checkpoints.load(folder / 'checkpoints', 20)  # noqa: E731
        runner.run('synthetic', use, reads={})
        return folder / 'checkpoints'

    folder = run()
    damage(folder / 'step_00000020')
    shutil.rmtree(tmp_path / 'synthetic')
    with pytest.raises(stages.Lost, match='step_00000020 cannot be used .*given again'):
        run()
    assert not (tmp_path / 'generator').exists()
    unfinished = tmp_path / 'generator.unfinished' / 'checkpoints'
    found = checkpoints.restore(unfinished, make_state(seed=2))
    assert found is None if left is None else int(found.step) == left
    assert_same(checkpoints.load(run(), 20)['params'], make_state(20, seed=20).params)


def test_who_only_reads_a_run_leaves_its_stages_as_they_are(tmp_path):
    folder, _ = stages.Runner(tmp_path).run('generator', lambda _: None, reads={})
    with pytest.raises(stages.Lost):
        checkpoints.load(folder / 'checkpoints', 20)
    assert folder.is_dir()


def test_load_gives_nested_arrays(tmp_path):
    saved = make_state(5, ema=True)
    checkpoints.save(tmp_path, saved)
    found = checkpoints.load(tmp_path)
    assert {'step', 'params', 'opt_state', 'ema', 'rng'} <= found.keys()
    assert found.keys() <= {field.name for field in dataclasses.fields(saved)}
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(found))
    for part in ('params', 'ema', 'model_state'):
        assert_same(found[part], getattr(saved, part))
    assert found['step'] == 5
