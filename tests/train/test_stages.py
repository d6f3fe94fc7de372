import contextlib
import functools
import itertools
import json
import re
import threading

import ml_collections
import pytest

from train import fingerprints, finished, provenance, stages


class Work:
    """Writes a file, counts its calls, and fails on demand."""

    def __init__(self, text='content'):
        self.text, self.calls, self.error, self.found = text, 0, None, None

    def __call__(self, folder):
        self.calls += 1
        self.found = sorted(path.name for path in folder.iterdir())
        (folder / 'half.txt').write_text('half')
        if self.error:
            raise self.error
        (folder / 'out.txt').write_text(self.text)


def run(workdir, work, name='stage', rerun=True, **options):
    runner = stages.Runner(workdir, rerun=rerun)
    return runner, *runner.run(name, work, **{'reads': {'steps': 3}, **options})


def folders(workdir):
    return [path.name for path in workdir.iterdir() if path.is_dir()]


def test_an_unchanged_stage_is_skipped(tmp_path):
    work = Work()
    runner, folder, digest = run(tmp_path, work)
    assert folder == tmp_path / 'stage' and (folder / 'out.txt').read_text() == 'content'
    assert runner.worked and runner.seconds['stage'] >= 0
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*')}
    again, folder_2, digest_2 = run(tmp_path, work)
    assert work.calls == 1 and (folder_2, digest_2) == (folder, digest)
    assert not again.worked and again.seconds == runner.seconds
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*')} == before


@pytest.mark.parametrize('changed', [{'reads': {'steps': 4}}, {'after': ['x']}, {'code': ['data']},
                                     {'reads': {'steps': 3, 'more': 1}}])
def test_a_change_of_what_it_read_does_it_again(tmp_path, changed):
    _, _, digest = run(tmp_path, Work('old'))
    work = Work('new')
    _, folder, digest_2 = run(tmp_path, work, **changed)
    assert work.calls == 1 and digest_2 != digest
    assert (folder / 'out.txt').read_text() == 'new'
    assert folders(tmp_path) == ['stage']


def test_a_folder_that_no_stage_has_made_is_set_aside(tmp_path):
    (tmp_path / 'stage').mkdir()
    (tmp_path / 'stage' / 'mine.png').write_text('mine')
    _, folder, _ = run(tmp_path, Work())
    [found] = tmp_path.glob('stage.found_*/mine.png')
    assert found.read_text() == 'mine' and not (folder / 'mine.png').exists()


@pytest.mark.parametrize('wrap', [lambda part: part, lambda part: [part]])
def test_a_changed_value_of_a_frozen_config_does_it_again(tmp_path, wrap):
    """As main.py passes it: a part of a FrozenConfigDict, which is no dict."""
    work = Work()
    for steps, widths in ((3, (1, 2)), (3, (1, 2)), (4, (1, 2)), (4, (1, 3))):
        config = ml_collections.FrozenConfigDict({'part': {'steps': steps, 'widths': widths}})
        run(tmp_path, work, reads={'part': wrap(config.part)})
    assert work.calls == 3


def test_dependants_are_done_again_and_others_are_not(tmp_path):
    def whole(steps):
        runner = stages.Runner(tmp_path, rerun=True)
        first, second, other = Work(), Work(), Work()
        _, digest = runner.run('a', first, reads={'steps': steps})
        runner.run('deep/b', second, reads={}, after=[digest])
        runner.run('c', other, reads={})
        return first.calls, second.calls, other.calls

    assert whole(1) == (1, 1, 1)
    assert whole(1) == (0, 0, 0)
    assert whole(2) == (1, 1, 0)


@pytest.mark.parametrize('error', [ValueError('no'), KeyboardInterrupt(), SystemExit(75)])
def test_a_failure_leaves_no_final_folder_and_goes_on(tmp_path, error):
    work = Work()
    work.error = error
    with pytest.raises(type(error)):
        run(tmp_path, work)
    assert folders(tmp_path) == ['stage.unfinished']
    work.error = None
    runner, folder, _ = run(tmp_path, work)
    assert 'half.txt' in work.found  # the same folder
    assert folders(tmp_path) == ['stage']


def test_a_stage_that_lacks_memory_says_what_to_make_smaller(tmp_path):
    work = Work()
    work.error = MemoryError('cannot allocate')
    with pytest.raises(MemoryError, match='cannot allocate; .*batch_size.*remat.*image_size'):
        run(tmp_path, work)


def test_an_unfinished_folder_of_other_settings_is_started_anew(tmp_path):
    work = Work()
    work.error = ValueError('no')
    with pytest.raises(ValueError):
        run(tmp_path, work)
    work.error = None
    run(tmp_path, work, reads={'steps': 99})
    assert 'half.txt' not in work.found


def test_the_old_result_stands_until_the_new_one_is_whole(tmp_path):
    run(tmp_path, Work('old'))
    work = Work('new')
    work.error = ValueError('no')
    with pytest.raises(ValueError):
        run(tmp_path, work, reads={'steps': 4})
    assert (tmp_path / 'stage' / 'out.txt').read_text() == 'old'
    back = Work()
    run(tmp_path, back)
    assert back.calls == 0  # and is still good under the old settings


def test_a_kill_while_an_old_result_is_deleted_leaves_none(tmp_path, monkeypatch):
    """What is left of it is no result to return to."""
    run(tmp_path, Work('old'))

    def killed(folder, **_):
        (folder / 'out.txt').unlink()  # and no more
        raise KeyboardInterrupt

    monkeypatch.setattr(stages.shutil, 'rmtree', killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Work('new'), reads={'steps': 4})
    monkeypatch.undo()
    work = Work('old')
    _, folder, _ = run(tmp_path, work)
    assert work.calls == 1 and (folder / 'out.txt').read_text() == 'old'


BEFORE = {'classifier': {'steps': 3, 'widths': [1, 2], 'old': 'x'}}
AFTER = {'classifier': {'steps': 4, 'widths': [1, 2], 'new': True}}
DIFFERENCE = (
    "classifier.new 'unset' -> True, classifier.old 'x' -> 'unset', classifier.steps 3 -> 4;"
)


@pytest.mark.parametrize('whole', [True, False])
def test_changed_settings_are_refused_key_by_key(tmp_path, whole):
    work = Work('old')
    work.error = None if whole else ValueError('interrupted')
    with contextlib.suppress(ValueError):
        run(tmp_path, work, reads=BEFORE)
    if not whole:
        (tmp_path / 'stage.unfinished' / 'checkpoints' / 'step_00000002').mkdir(parents=True)
    files = {p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()}
    other, begun = Work('new'), []
    runner = stages.Runner(tmp_path, begin=begun.append)
    with pytest.raises(stages.Changed) as refused:
        runner.run('stage', other, reads=AFTER)
    message = str(refused.value)
    assert DIFFERENCE in message and '--rerun' in message and '--workdir' in message
    assert str(tmp_path / 'stage') in message and '\n' not in message
    assert files == {p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()}
    assert not other.calls and not begun and not runner.worked
    run(tmp_path, other, reads=AFTER)  # as with --rerun
    assert (tmp_path / 'stage' / 'out.txt').read_text() == 'new'


def test_what_would_be_refused_later_can_be_asked_before(tmp_path):
    run(tmp_path, Work(), name='later', reads=BEFORE)
    files = {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*')}
    runner = stages.Runner(tmp_path)
    with pytest.raises(stages.Changed, match='later was made with other settings: '):
        runner.refuse_changed('later', reads=AFTER, after=(), code=())
    for name, depends in (('later', {'reads': BEFORE, 'after': ()}),
                          ('later', {'reads': BEFORE, 'after': ('x',)}),
                          ('new', {'reads': AFTER, 'after': ()})):
        runner.refuse_changed(name, code=(), **depends)
    stages.Runner(tmp_path, rerun=True).refuse_changed('later', reads=AFTER, after=(), code=())
    assert files == {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*')} and not runner.worked


def test_what_failed_before_it_made_anything_is_no_other_run(tmp_path):
    """A stage for one process keeps nothing for later: a wrong path, put right, is no change."""
    work = Work()
    work.error = ValueError('no such folder')
    with pytest.raises(ValueError):
        run(tmp_path, work, rerun=False, reads=BEFORE, alone=True)
    work.error = None
    run(tmp_path, work, rerun=False, reads=AFTER, alone=True)
    assert (tmp_path / 'stage' / 'out.txt').exists() and work.found == ['stage.json']


def test_what_has_reached_no_checkpoint_is_started_anew_without_asking(tmp_path):
    """A learning rate that diverged at once, put right, overwrites nothing."""
    work = Work()
    work.error = ValueError('diverged')
    with pytest.raises(ValueError):
        run(tmp_path, work, rerun=False)
    work.error = None
    run(tmp_path, work, rerun=False, reads={'steps': 4})
    assert work.calls == 2 and folders(tmp_path) == ['stage']


def test_images_that_cannot_be_read_leave_a_finished_run_as_it_is(tmp_path):
    """Its disk is away for a while, say: the run is as good as before."""
    run(tmp_path, Work(), name='data', alone=True)
    before = (tmp_path / 'stages.json').read_text()
    begun, work = [], Work()
    work.error = FileNotFoundError('away')
    runner = stages.Runner(tmp_path, rerun=True, begin=begun.append)
    with pytest.raises(FileNotFoundError):
        runner.run('data', work, reads={'steps': 4}, alone=True)
    assert (tmp_path / 'stages.json').read_text() == before and not begun
    work.error = None
    runner.run('data', work, reads={'steps': 4}, alone=True)
    assert begun == [1]


def test_only_stages_of_the_config_that_stands_there_are_listed(tmp_path):
    """What a redo has not come to yet was made by an earlier config, of other classes perhaps."""

    def whole(steps, error=None):
        runner, last = stages.Runner(tmp_path, rerun=True), Work()
        last.error = error
        first = runner.run('a', Work(), reads={})[1]
        second = runner.run('deep/b', Work(), reads={'steps': steps}, after=[first])[1]
        runner.run('c', last, reads={}, after=[second])
        runner.close()

    whole(1)
    every = {name: tmp_path / name for name in ('a', 'deep/b', 'c')}
    assert finished.places(tmp_path) == every
    with pytest.raises(KeyboardInterrupt):
        whole(2, KeyboardInterrupt())
    assert (tmp_path / 'c' / 'out.txt').exists()
    assert finished.places(tmp_path).keys() == {'a', 'deep/b'}
    whole(2)
    assert finished.places(tmp_path) == every


def test_back_under_the_first_settings_the_config_is_the_first_again(tmp_path):
    """Other settings were only begun: nothing has to run, but what stands there is theirs."""
    config = tmp_path / 'config'

    def whole(steps, error=None):
        runner = stages.Runner(tmp_path, rerun=True, begin=lambda _: config.write_text(f'{steps}'))
        work = Work()
        work.error = error
        runner.run('a', work, reads={'steps': steps})
        runner.close()
        return runner.worked

    assert whole(1)
    with pytest.raises(KeyboardInterrupt):
        whole(2, KeyboardInterrupt())
    assert config.read_text() == '2' and finished.places(tmp_path) == {}
    assert not whole(1)
    assert config.read_text() == '1' and finished.places(tmp_path) == {'a': tmp_path / 'a'}


def test_images_that_lie_elsewhere_are_no_other_setting(tmp_path):
    """As after a folder was renamed: what the stage makes of them says whether they are others."""
    run(tmp_path, Work('old'), reads={'data': {'train': 'photos', 'size': 8}})
    work = Work('old')
    moved = {'data': {'train': 'photographs', 'size': 8}}
    run(tmp_path, work, rerun=False, reads=moved, guarded=('out.txt',))
    assert work.calls == 1
    with pytest.raises(stages.Changed, match='these are other images, or some were added'):
        run(tmp_path, Work('new'), rerun=False, reads={'data': {'train': 'x', 'size': 8}},
            guarded=('out.txt',))
    with pytest.raises(stages.Changed, match='settings: data.size 8 -> 9; add'):
        run(tmp_path, Work(), rerun=False, reads={'data': {'train': 'y', 'size': 9}},
            guarded=('out.txt',))


def test_hardware_that_computes_in_another_type_is_told_the_way_on(tmp_path):
    """Of dtype='auto', which nobody has set."""
    run(tmp_path, Work(), reads={'judge': {'dtype': 'bfloat16'}})
    said = "'float32'; give --config.judge.dtype=bfloat16, and so .* to go on as it began, add"
    with pytest.raises(stages.Changed, match=said):
        run(tmp_path, Work(), rerun=False, reads={'judge': {'dtype': 'float32'}})


@pytest.mark.parametrize('content', ['', '{"a'])
def test_a_damaged_list_of_stages_is_made_again(tmp_path, content):
    runner, *_ = run(tmp_path, Work())
    (tmp_path / 'stages.json').write_text(content)
    assert finished.places(tmp_path) == {}
    again, *_ = run(tmp_path, Work())
    again.close()
    assert finished.places(tmp_path) == runner.folders == {'stage': tmp_path / 'stage'}


def test_what_is_asked_for_once_is_gone_on_with_without_asking(tmp_path):
    run(tmp_path, Work('old'), reads=BEFORE)
    work = Work('new')
    work.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, work, reads=AFTER)
    work.error = None
    run(tmp_path, work, rerun=False, reads=AFTER)
    assert (tmp_path / 'stage' / 'out.txt').read_text() == 'new'


@pytest.mark.parametrize('whole', [True, False])
def test_changed_code_is_refused_with_the_commit_that_made_what_stands_there(tmp_path, whole):
    work = Work('old')
    work.error = None if whole else ValueError('interrupted')
    with contextlib.suppress(ValueError):
        run(tmp_path, work, code=['data'])
    if not whole:
        (tmp_path / 'stage.unfinished' / 'checkpoints' / 'step_00000002').mkdir(parents=True)
    other = Work('new')
    with pytest.raises(stages.Changed) as refused:
        run(tmp_path, other, rerun=False, code=['eval'])
    message = str(refused.value)
    assert f'{tmp_path / "stage"} ' in message and provenance.commit() in message
    assert '--rerun' in message and '--workdir' in message and '\n' not in message
    assert not other.calls
    work.error = None
    run(tmp_path, work, rerun=False, code=['data'])  # by the code that made it
    assert work.calls == 1 + (not whole)
    run(tmp_path, other, code=['eval'])  # as with --rerun
    assert (tmp_path / 'stage' / 'out.txt').read_text() == 'new'


def test_where_to_find_other_code_is_said_if_it_can_be_found(tmp_path, monkeypatch):
    for at, advised in (('a1', True), ('a1+', False), ('unknown', False), ('b2', False)):
        monkeypatch.setattr(provenance, 'commit', lambda at=at: at)
        run(tmp_path / at, Work(), code=['data'], reads=BEFORE)
        monkeypatch.setattr(provenance, 'commit', lambda: 'b2')
        with pytest.raises(stages.Changed, match=re.escape(f'(commit {at})')) as refused:
            run(tmp_path / at, Work(), rerun=False, code=['eval'], reads=AFTER)
        assert ('check that out' in str(refused.value)) == advised
        assert DIFFERENCE in str(refused.value)


def test_a_refused_update_leaves_the_run_as_it_was_listed(tmp_path):
    """Though the reading of its images, which gave the same, was done again before."""
    begun = []

    def whole(code, **options):
        runner = stages.Runner(tmp_path, begin=begun.append, **options)
        runner.run('data', Work(), reads={}, code=code, alone=True, guarded=('out.txt',))
        runner.run('judge', Work(), reads={}, code=code)
        runner.close()

    whole(['data'])
    listed = finished.places(tmp_path)
    with pytest.raises(stages.Changed, match='judge was made by other code'):
        whole(['eval'])
    assert finished.places(tmp_path) == listed and len(listed) == 2 and len(begun) == 1
    whole(['eval'], rerun=True)
    assert finished.places(tmp_path) == listed and len(begun) == 2


def test_another_guarded_file_is_refused_by_its_name(tmp_path):
    def work(folder, text='same'):
        (folder / 'first.txt').write_text('same')
        (folder / 'second.txt').write_text(text)

    names = 'first.txt', 'second.txt'
    run(tmp_path, work, guarded=names)
    other = functools.partial(work, text='other')
    with pytest.raises(stages.Changed, match='second.txt would be another'):
        run(tmp_path, other, rerun=False, after=['x'], guarded=names)
    assert folders(tmp_path) == ['stage']
    run(tmp_path, other, after=['x'], guarded=names)  # as with --rerun
    assert (tmp_path / 'stage' / 'second.txt').read_text() == 'other'


@pytest.mark.parametrize('options', [{'after': ['x']}, {'reads': AFTER, 'cheap': True},
                                     {'code': ['data'], 'cheap': True},
                                     {'code': ['data'], 'guarded': ('out.txt',)}])
def test_other_inputs_and_cheap_or_guarded_stages_need_no_asking(tmp_path, options):
    run(tmp_path, Work(), reads=BEFORE)
    work = Work()
    run(tmp_path, work, rerun=False, **{'reads': BEFORE, **options})
    assert work.calls == 1


@pytest.mark.parametrize('cheap', [True, False])
def test_a_cheap_stage_of_which_a_file_is_gone_is_done_again(tmp_path, cheap):
    """Whoever deletes a report finds it there after the next run; hours of work are not redone."""
    _, folder, _ = run(tmp_path, Work(), cheap=cheap)
    (folder / 'out.txt').unlink()
    work = Work()
    run(tmp_path, work, cheap=cheap)
    assert work.calls == cheap and (folder / 'out.txt').exists() == cheap
    run(tmp_path, work, cheap=cheap)
    assert work.calls == cheap


def test_what_is_left_of_a_cheap_stage_stands_until_it_is_whole_again(tmp_path):
    _, folder, _ = run(tmp_path, Work(), cheap=True)
    (folder / 'out.txt').unlink()
    work = Work()
    work.error = OSError('disk full')
    with pytest.raises(OSError, match='disk full'):
        run(tmp_path, work, cheap=True)
    assert (folder / 'half.txt').exists()


def test_a_report_of_before_its_files_were_listed_is_left_alone(tmp_path):
    _, folder, _ = run(tmp_path, Work(), cheap=True)
    made = json.loads((folder / 'stage.json').read_text('utf-8'))
    del made['files']
    (folder / 'stage.json').write_text(json.dumps(made), 'utf-8')
    work = Work()
    run(tmp_path, work, cheap=True)
    assert not work.calls


def test_the_beginning_is_told_once_and_only_if_there_is_work(tmp_path):
    begun = []
    for name in ('a', 'b'):
        runner = stages.Runner(tmp_path, begin=begun.append)
        runner.run('a', Work(), reads={})
        runner.run(name, Work(), reads={})
    assert len(begun) == 2


OLD = json.dumps({'digest': 'x', 'seconds': 1, 'reads': [1], 'after': [], 'code': ''})


@pytest.mark.parametrize('content', ['', '{"dig', 'null', '[]', '{}', OLD])
def test_a_damaged_fingerprint_is_none(tmp_path, content):
    work = Work()
    run(tmp_path, work)
    (tmp_path / 'stage' / 'stage.json').write_text(content)
    run(tmp_path, work)
    assert work.calls == 2


def test_the_fingerprint_says_what_was_read(tmp_path):
    _, folder, digest = run(tmp_path, Work(), after=['abc'])
    found = json.loads((folder / 'stage.json').read_text())
    assert found['digest'] == digest and re.fullmatch('[0-9a-f]{64}', digest)
    assert found['reads'] == {'steps': 3} and found['after'] == ['abc']


def test_what_a_stage_was_done_on_is_said_when_another_machine_reports(tmp_path, monkeypatch):
    gpu, cpu = '1 x gpu (H200)', '2 x cpu (EPYC)'
    for name, hardware in (('a', gpu), ('b', cpu), ('c', gpu)):
        monkeypatch.setattr(stages.parallel, 'describe', lambda hardware=hardware: hardware)
        run(tmp_path, Work(), name=name)
    (tmp_path / 'older').mkdir()
    made = [tmp_path / name for name in ('a', 'b', 'c')]
    assert finished.made_by(made)['hardware'] == f'{gpu} and {cpu}'
    assert finished.made_by([*made, tmp_path / 'older']) == {}


def test_what_versions_stages_were_done_with_is_said_after_an_update(tmp_path, monkeypatch):
    for name, version in (('a', '0.11'), ('b', '0.12'), ('c', '0.12')):
        monkeypatch.setattr(stages.provenance, 'versions', lambda version=version: {
            'python': '3.13', 'jax': version})
        run(tmp_path, Work(), name=name)
    made = [tmp_path / name for name in ('a', 'b', 'c')]
    assert finished.made_by(made)['versions'] == {'python': '3.13', 'jax': '0.11 and 0.12'}


def test_a_stage_that_went_on_elsewhere_names_both_machines(tmp_path, monkeypatch):
    work = Work()
    work.error = ValueError('preempted')
    for hardware, jax in (('1 x gpu (V100)', '0.11'), ('1 x gpu (A100)', '0.12')) * 2:
        monkeypatch.setattr(stages.parallel, 'describe', lambda hardware=hardware: hardware)
        monkeypatch.setattr(stages.provenance, 'versions', lambda jax=jax: {'jax': jax})
        with pytest.raises(ValueError):
            run(tmp_path, work)
    work.error = None
    run(tmp_path, work)
    assert finished.made_by([tmp_path / 'stage']) == {
        'hardware': '1 x gpu (V100) and 1 x gpu (A100)', 'versions': {'jax': '0.11 and 0.12'}}


def test_seconds_of_an_interrupted_stage_add_up(tmp_path, monkeypatch):
    clock = itertools.count(0, 10)
    monkeypatch.setattr(stages.time, 'monotonic', lambda: next(clock))
    work = Work()
    work.error = ValueError('no')
    with pytest.raises(ValueError):
        run(tmp_path, work)
    work.error = None
    runner, *_ = run(tmp_path, work)
    assert runner.seconds['stage'] == 20


def test_code_that_is_edited_while_a_run_goes_on_is_not_the_run_s(monkeypatch, tmp_path):
    """What was imported at the start is what runs."""
    for folder, text in ((tmp_path / 'eval', 'x = 1'), (tmp_path / 'data', 'y = 1')):
        folder.mkdir()
        (folder / 'module.py').write_text(text)
    monkeypatch.setattr(fingerprints, '_ROOT', tmp_path)
    read_anew = fingerprints.own_code.__wrapped__
    monkeypatch.setattr(fingerprints, 'own_code', functools.cache(read_anew))

    def work(folder):
        (tmp_path / 'eval' / 'module.py').write_text('x = 2')

    runner = stages.Runner(tmp_path / 'run')
    runner.run('first', work, reads={}, code=['data'])
    runner.run('second', work, reads={}, code=['eval'])
    monkeypatch.setattr(fingerprints, 'own_code', functools.cache(read_anew))
    later = stages.Runner(tmp_path / 'run', rerun=True)
    later.run('first', work, reads={}, code=['data'])
    assert not later.worked
    later.run('second', work, reads={}, code=['eval'])
    assert later.worked


def test_two_jobs_do_a_shared_stage_once(tmp_path):
    began, go, calls = threading.Event(), threading.Event(), []

    def work(folder):
        calls.append(folder)
        began.set()
        go.wait(5)

    def job(name):
        stages.Runner(tmp_path / name, shared=tmp_path / 'shared').run('judge', work, reads={})

    first, second = (threading.Thread(target=job, args=(name,)) for name in 'ab')
    first.start()
    began.wait(5)
    second.start()
    second.join(0.5)
    go.set()
    first.join()
    second.join()
    assert len(calls) == 1


def test_a_shared_stage_that_another_host_has_finished_stays(tmp_path):
    """Its lock or its folder may not be seen here: others read what it made."""
    shared = tmp_path / 'shared'

    def work(folder):
        (folder / 'out.txt').write_text('mine')
        whole = folder.with_name(folder.name.removesuffix('.unfinished'))
        whole.mkdir()
        (whole / 'out.txt').write_text('theirs')
        (whole / 'stage.json').write_text((folder / 'stage.json').read_text())

    folder, _ = stages.Runner(tmp_path / 'a', shared=shared).run('judge', work, reads={})
    assert (folder / 'out.txt').read_text() == 'theirs'
    assert [path.name for path in (shared / 'judge').iterdir() if path.is_dir()] == [folder.name]


@pytest.mark.parametrize('at_it', [False, True])
def test_what_a_shared_stage_lacks_is_made_by_one_run(tmp_path, at_it):
    runner = stages.Runner(tmp_path / 'a', shared=tmp_path / 'shared')
    made, _ = runner.run('generator', Work(), reads={})

    def draw(folder):
        raise stages.Lost(made.resolve(), 'no checkpoint')

    other = stages._turn(made, 'generator') if at_it else contextlib.nullcontext()
    with pytest.raises(stages.Lost), other:
        runner.run('synthetic', draw, reads={})
    assert made.exists() == at_it
    assert made.with_name(made.name + '.unfinished').exists() != at_it


def test_what_runs_were_computed_with_is_told_apart(tmp_path):
    runner = stages.Runner(tmp_path)
    for name, dtype in (('synthetic', 'bfloat16'), ('classifiers/original/seed_0', 'float32')):
        kind = 'generator' if name == 'synthetic' else 'classifier'
        runner.run(name, Work(), reads={kind: {'dtype': dtype}}, code=['train/lock.py'])
    dtypes, code = finished.computed(finished.places(tmp_path))
    assert dtypes == {'generator.dtype': 'bfloat16', 'classifier.dtype': 'float32'}
    assert [*code] == ['synthetic', 'classifiers'] and code['synthetic'] == code['classifiers']
