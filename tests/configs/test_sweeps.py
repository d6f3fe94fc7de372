import pathlib

import numpy as np
import pytest

from configs import augmented, sweeps
from configs.default import flat

FOLDER = pathlib.Path(sweeps.__file__).parent
FILES = sorted(path for path in FOLDER.glob('*.py') if path.name != '__init__.py')


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_every_sweep_sets_fields_that_there_are_and_only_those(path):
    base = augmented.get_config()
    before = flat(base)
    for point in sweeps.read(path):
        after = flat(sweeps.apply(base, point))
        different = {name for name in before if before[name] != after[name]}
        assert different <= point.keys() and all(after[name] == point[name] for name in point)
    assert flat(base) == before


def test_no_two_replicates_share_a_seed():
    points = sweeps.read(FOLDER / 'replicates.py')
    for name in ('splits.seed', 'generator.seed', 'synthesis.seed', 'classifier.seed'):
        assert len({point[name] for point in points} - {0}) == len(points)
    firsts = sorted(point['classifier.seed'] for point in points)
    assert min(np.diff([0, *firsts])) >= 100  # more than anyone trains


def test_the_dose_is_a_grid_of_twelve():
    points = sweeps.read(FOLDER / 'dose.py')
    assert len(points) == 12
    assert len({tuple(sorted(map(str, point.items()))) for point in points}) == 12


def test_grid_is_every_combination_and_the_last_field_is_fastest():
    assert sweeps.grid({'a': [1, 2], 'b': 'xy'}) == [
        {'a': 1, 'b': 'x'}, {'a': 1, 'b': 'y'}, {'a': 2, 'b': 'x'}, {'a': 2, 'b': 'y'},
    ]


def test_one_at_a_time_begins_with_no_change():
    points = sweeps.one_at_a_time({'a': [1, 2], 'b': 'x'})
    assert points == [{}, {'a': 1}, {'a': 2}, {'b': 'x'}]


def test_the_ablation_changes_what_it_names():
    base = flat(augmented.get_config())
    for point in sweeps.read(FOLDER / 'ablation.py'):
        assert all(base[name] != value for name, value in point.items())


def test_sample_keeps_to_its_ranges_and_its_seed():
    fields = {'rate': (1e-4, 1e-2), 'steps': (10, 1000), 'kind': ['a', 'b']}
    points = sweeps.sample(fields, 200)
    assert points == sweeps.sample(fields, 200) != sweeps.sample(fields, 200, seed=1)
    assert all(1e-4 <= p['rate'] <= 1e-2 and 10 <= p['steps'] <= 1000 for p in points)
    assert {type(p['steps']) for p in points} == {int} and {p['kind'] for p in points} == {'a', 'b'}
    below = sum(p['rate'] < 1e-3 for p in points) / len(points)  # half of the range, in logarithms
    assert 0.35 < below < 0.65


@pytest.mark.parametrize(('text', 'said'), [
    (None, 'does not exist'),
    ('x = 1', 'get_sweep'),
    ('def get_sweep(: return []', 'is no sweep .SyntaxError'),
    ('import no_such_module', 'is no sweep .ModuleNotFoundError: .*no_such_module'),
    ('open("/no/such/list")', 'is no sweep .FileNotFoundError: .*/no/such/list'),
    ('def get_sweep(): return 3', 'is no sweep .TypeError'),
    ('def get_sweep(): return []', 'at least one run'),
    ('def get_sweep(): return [{"a": 1}, {"a": 1}]', 'none twice'),
    ('def get_sweep(): return [{3: 4}]', 'must be a dict of fields'),
])
def test_what_is_no_sweep_is_said(tmp_path, text, said):
    path = tmp_path / 'one.py'
    if text:
        path.write_text(text)
    with pytest.raises(ValueError, match=said):
        sweeps.read(path)
    with pytest.raises(ValueError, match='one.txt is no sweep; it must be a .py file'):
        sweeps.read(tmp_path / 'one.txt')


@pytest.mark.parametrize(('point', 'said'), [
    ({'classifier.stepz': 3}, 'classifier.stepz'), ({'classifier.steps': 'many'}, "'many'"),
    ({'cpu_devices': 3}, 'give --config.cpu_devices'),
])
def test_a_field_that_cannot_be_set_is_named(point, said):
    with pytest.raises(ValueError, match=said):
        sweeps.apply(augmented.get_config(), point)


def test_commands_say_each_run_and_leave_out_what_chooses(monkeypatch):
    monkeypatch.setattr(sweeps.sys, 'executable', '/bin/python3')
    argv = ['main.py', '--config=c.py', '--sweep', 'a b.py', '--sweep_list', '--workdir=my runs']
    assert sweeps.command(argv) == "/bin/python3 main.py --config=c.py '--workdir=my runs'"
    named = ['main.py', '--workdir', 'sweeps/a', '--sweep_index', '3', '--config=c.py']
    assert sweeps.command(named) == '/bin/python3 main.py --workdir sweeps/a --config=c.py'
    one_dash = ['main.py', '--workdir=sweep', '-sweep', 'b.py', '--sweep_index=3', '--config=c.py']
    assert sweeps.command(one_dash) == '/bin/python3 main.py --workdir=sweep --config=c.py'
    assert sweeps.commands(argv, 'a b.py', [{'x': 1}, {'x': (2, 3)}, {}]) == [
        "/bin/python3 main.py --config=c.py '--workdir=my runs' --sweep='a b.py' --sweep_index=0"
        '  # --config.x=1',
        "/bin/python3 main.py --config=c.py '--workdir=my runs' --sweep='a b.py' --sweep_index=1"
        "  # '--config.x=(2, 3)'",
        "/bin/python3 main.py --config=c.py '--workdir=my runs' --sweep='a b.py' --sweep_index=2"
        '  # the config as it is',
    ]
    monkeypatch.setattr(sweeps.sys, 'executable', str(pathlib.Path.cwd() / '.venv/bin/python'))
    assert sweeps.command(['main.py']) == '.venv/bin/python main.py'
    assert sweeps.command(['/my p/main.py']) == ".venv/bin/python '/my p/main.py'"


def test_weights_that_a_point_starts_from_are_found_from_any_directory(monkeypatch, tmp_path):
    """In the run's config and in the sweep's own words alike, or its leaderboard misses the run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'starts.py').write_text('''
def get_sweep():
    return [{'generator.init_from': 'runs/one'}, {'classifier.init_from': '/runs/two'}, {}]
''')
    point, other, _ = sweeps.read('starts.py')
    assert point == {'generator.init_from': str(tmp_path / 'runs/one')}
    assert sweeps.apply(augmented.get_config(), point).generator.init_from == str(*point.values())
    assert other == {'classifier.init_from': '/runs/two'}
