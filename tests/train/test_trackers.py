import sys
import types

import pytest

from train import loop, trackers


def rows(folder, config=None, names=('tensorboard',)):
    with trackers.tracking(names, folder, config or {}):
        for stage in ('generator.unfinished', 'classifiers/augmented/seed_0.unfinished'):
            log = loop.MetricsLog(folder / stage / 'metrics.jsonl', 0)
            for step in (1, 2):
                log.write(step=step, loss=1 / step, alarm='words are left out')


def test_tensorboard_has_what_metrics_jsonl_has(tmp_path):
    """Read back from the event files by protobuf alone."""
    from tensorboardX.proto.event_pb2 import Event

    rows(tmp_path)
    found = {}
    for path in sorted((tmp_path / 'tensorboard').rglob('events*')):
        stage = path.parent.relative_to(tmp_path / 'tensorboard').as_posix()
        data = path.read_bytes()
        while data:  # length (8), its checksum (4), the event, its checksum (4)
            size = int.from_bytes(data[:8], 'little')
            event, data = Event.FromString(data[12 : 12 + size]), data[16 + size :]
            for value in event.summary.value:
                found[stage, value.tag, event.step] = value.simple_value
    assert found == {
        (stage, 'loss', step): pytest.approx(1 / step)
        for stage in ('generator', 'classifiers/augmented/seed_0') for step in (1, 2)
    }


def test_without_trackers_nothing_is_written(tmp_path):
    rows(tmp_path, names=())
    assert not (tmp_path / 'tensorboard').exists()
    trackers.log(tmp_path / 'generator', {'step': 1, 'loss': 1.0})  # nowhere


@pytest.fixture
def said(monkeypatch):
    """Calls that reach stand-ins for wandb and mlflow, too large to install for a test."""
    calls = []

    def note(name):
        return lambda *args, **kwargs: calls.append((name, args, kwargs))

    names = ('log_params', 'log_metrics', 'end_run')
    begun = types.SimpleNamespace(info=types.SimpleNamespace(run_id='m1'))
    start = lambda **kwargs: calls.append(('start_run', (), kwargs)) or begun  # noqa: E731
    monkeypatch.setitem(sys.modules, 'mlflow', types.SimpleNamespace(
        start_run=start, **{n: note(n) for n in names}))
    methods = {n: note(n) for n in ('define_metric', 'log', 'finish')}
    init = lambda **kwargs: calls.append(('init', (), kwargs)) or types.SimpleNamespace(  # noqa: E731
        id=kwargs['id'], **methods)
    monkeypatch.setitem(sys.modules, 'wandb', types.SimpleNamespace(init=init))
    return calls


def test_what_the_others_are_told(said, tmp_path):
    rows(tmp_path, {'classifier.steps': 3}, ('wandb', 'mlflow'))
    kinds = [name for name, _, _ in said]
    assert kinds[:2] == ['init', 'start_run'] and kinds[-2:] == ['end_run', 'finish']
    assert said[0][2]['config'] == {'classifier.steps': 3}
    assert ('log', ({'generator/step': 2, 'generator/loss': 0.5},), {}) in said
    assert ('log_metrics', ({'generator/loss': 0.5},), {'step': 2}) in said
    assert kinds.count('log') == kinds.count('log_metrics') == 4


def test_a_run_that_goes_on_is_the_same_one_there(said, tmp_path):
    folder = tmp_path / 'dose' / 'points' / '003'
    begun = []
    configs = ({'arms': ('a',)}, {'arms': ('b',)}, {'arms': ('a',), 'trackers': ('wandb',)})
    for config in configs:
        said.clear()
        rows(folder, config, ('wandb', 'mlflow'))
        found = {name: options for name, _, options in reversed(said)}
        assert found['init']['name'] == 'dose/003' and found['init']['resume'] == 'allow'
        begun.append((found['init']['id'], found['start_run'], 'log_params' in found))
    one, other, again = begun
    assert one[0] == again[0] != other[0]
    assert one[1] == other[1] == {'run_name': 'dose/003'} and again[1] == {'run_id': 'm1'}
    assert (one[2], again[2], other[2]) == (True, False, True)  # MLflow refuses to change them


def test_a_run_that_is_known_there_no_more_is_begun_anew(said, tmp_path, heard):
    rows(tmp_path, names=('wandb', 'mlflow'))
    mlflow, wandb = sys.modules['mlflow'], sys.modules['wandb']
    start, init, first = mlflow.start_run, wandb.init, said[0][2]['id']
    mlflow.start_run = lambda **given: fails() if 'run_id' in given else start(**given)
    wandb.init = lambda **given: fails() if given['id'] == first else init(**given)
    said.clear()
    rows(tmp_path, names=('wandb', 'mlflow'))
    assert [name for name, _, _ in said[:2]] == ['init', 'start_run'] and said[0][2]['id'] != first
    assert 'mlflow does not go on with m1, a new run begins there: no server' in heard.getvalue()


def fails(*args, **kwargs):
    raise RuntimeError('no server\nand a long story')


def test_one_that_cannot_be_started_is_one_line_and_the_others_are_closed(said, tmp_path):
    sys.modules['mlflow'].start_run = fails
    with pytest.raises(OSError, match='^config.trackers=mlflow cannot be started: no server; see'):
        rows(tmp_path, names=('wandb', 'mlflow'))
    assert [name for name, _, _ in said] == ['init', 'finish']


@pytest.mark.parametrize('call', ['log_metrics', 'end_run'])
def test_one_that_fails_later_costs_no_training(said, tmp_path, heard, call):
    setattr(sys.modules['mlflow'], call, fails)
    rows(tmp_path, names=('wandb', 'mlflow'))
    assert [name for name, _, _ in said].count('log') == 4
    assert heard.getvalue() == 'MLflow fails, the run goes on without it: no server\n'


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'wandb', None)
    with pytest.raises(ValueError, match='pip install wandb'):
        trackers.find('wandb')


def test_a_package_that_is_broken_is_named(monkeypatch, tmp_path):
    (tmp_path / 'wandb.py').write_text('raise TypeError("descriptors, not created directly")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'wandb', raising=False)
    with pytest.raises(ValueError, match=r'wandb \(descriptors, not created directly\); pip'):
        trackers.find('wandb')
