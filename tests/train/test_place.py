import json
import pathlib

import ml_collections
import pytest

from configs import augmented
from train import finished, lock, place


def config(**fields):
    changed = augmented.get_config()
    changed.update_from_flattened_dict(fields)
    return ml_collections.FrozenConfigDict(changed)


@pytest.mark.parametrize('workdir', ['.', 'classifiers/..', 'points/000/../..'])
def test_a_run_does_not_start_from_itself(workdir, tmp_path):
    """Its command would first set aside what it is to start from."""
    (tmp_path / 'points' / '000').mkdir(parents=True)
    (tmp_path / 'classifiers').mkdir()
    for folder in (tmp_path, tmp_path / 'points' / '000'):
        (folder / 'config.json').write_text(json.dumps({'config': {'arms': ['original']}}))
        starting = config(**{'classifier.init_from': str(folder)})
        with pytest.raises(ValueError, match='is the run that init_from='):
            place.check(tmp_path / workdir, [starting])
        place.check(tmp_path / 'other', [starting])


@pytest.mark.parametrize('mark, sweep, said', [
    ('config.json', True, 'of a run; use another'), ('points', False, 'of a sweep; use another')])
def test_a_run_and_a_sweep_do_not_share_a_folder(mark, sweep, said, tmp_path):
    (tmp_path / mark).mkdir()
    (tmp_path / lock.FILE).touch()
    with pytest.raises(ValueError, match=said):
        place.check(tmp_path, [config()], sweep)
    place.check(tmp_path, [config()], not sweep)


@pytest.mark.parametrize('name', ['data/cats/1.png', 'report/thesis.txt', 'config.json'])
@pytest.mark.parametrize('mark', [lock.FILE, f'judge/{finished.FILE}'])  # of a run, or copied
def test_a_folder_of_the_users_own_is_not_replaced(name, mark, tmp_path):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text('mine')
    own = config(**{'data.source': 'folder', 'data.train': str(tmp_path / 'photos')})
    with pytest.raises(ValueError, match=f'has {name.split("/")[0]} in it, which a run would repl'):
        place.check(tmp_path, [own])
    (tmp_path / mark).parent.mkdir(exist_ok=True)
    (tmp_path / mark).touch()
    place.check(tmp_path, [own])


def test_images_are_not_where_a_run_keeps_what_it_makes(tmp_path):
    """It would put its own folder in their place."""
    (tmp_path / lock.FILE).touch()  # of a first attempt
    for field in ('data.train', 'data.test'):
        for folder in ('data', 'data/photos', 'synthetic/images'):
            fields = {'data.train': 'x.zip', field: str(tmp_path / folder)}
            with pytest.raises(ValueError, match='keeps what a run makes'):
                place.check(tmp_path, [config(**{'data.source': 'folder', **fields})])
            place.check(tmp_path / 'other', [config(**{'data.source': 'folder', **fields})])


@pytest.mark.parametrize('name', ['gs://bucket/run', 's3://bucket', 'https://x.y/z'])
def test_a_bucket_is_no_folder(name):
    with pytest.raises(ValueError, match='is no folder of this machine; mount'):
        place.check(pathlib.Path(name), [config()])


def test_a_folder_that_checkpoints_cannot_be_read_from_is_refused(tmp_path):
    """orbax looks for their files by a pattern, which such a name would be a part of."""
    for name in ('b[1]x', 'a*', 'why?', 'runs\\mine'):
        with pytest.raises(ValueError, match='would be read as a pattern'):
            place.check(tmp_path / name / 'run', [config()])
    with pytest.raises(ValueError, match='is not UTF-8'):
        place.check(tmp_path / '\udcff', [config()])
    place.check(tmp_path / 'b (1) {x} ü' / 'run', [config()])
