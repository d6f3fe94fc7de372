import json
import re
import types

import numpy as np
import pytest

from configs import augmented, default
from data import image_sets
from eval import collect, formats, report

NAMES = ['a', 'b', 'c']
TRAIN = '/home/someone/photos of mine/grocery37/train.zip'
COMMAND = (f'/home/someone/repo/.venv/bin/python /home/someone/repo/main.py '
           f'--config=/home/someone/repo/configs/augmented.py:folder '
           f"'--config.data.train={TRAIN}' --rerun '--workdir=/home/someone/my runs/mine'")
RESULTS = 'Before.\n<!-- results -->\nold\n<!-- /results -->\nAfter.\n'
README = 'Begin.\n<!-- headline -->\nold\n<!-- /headline -->\n' + RESULTS
PAGES = {'README.md': README, 'docs/results.md': RESULTS, 'docs/earlier.md': RESULTS}


def finish(folder, arms=('original', 'augmented', 'oversampled')):
    """A run's folder as `main.py` leaves it, of classifiers that guess better by the arm."""
    labels = np.repeat([0, 1, 2], 20)
    config = augmented.get_config('folder')
    config.data.train = TRAIN
    predictions = {}
    folder.mkdir(parents=True)
    for i, arm in enumerate(arms):
        for seed in range(2):
            rng = np.random.default_rng([i, seed])
            guess = np.where(rng.random(60) < 0.4 + 0.2 * i, labels, rng.integers(3, size=60))
            path = folder / f'{arm}_{seed}.npz'
            np.savez(path, probabilities=np.eye(3)[guess], labels=labels)
            predictions.setdefault(arm, []).append(path)
    images = np.zeros((60, 8, 8, 3), np.uint8)
    test = image_sets.ImageSet(images, labels, tuple(map(str, range(60))))
    report.write(
        folder / 'report', dataset='folder', class_names=NAMES, train_counts=[50, 30, 20],
        test=test, synthetic_counts=None, groups={'many': 40, 'few': 10}, predictions=predictions,
        quality={'made': 1234, 'accepted': 56, 'rejected': {}}, curves={}, sheet=None,
        training=dict.fromkeys(arms, {'accuracy': {'mean': 1.0, 'per_seed': [1.0, 1.0]}}),
        facts={'seeds': [0, 1], 'steps': 1500, 'seconds': {'data': 6.0, 'generator': 60.0},
               'hardware': '2 x cpu', 'versions': {'jax': '0.8'}, 'commit': 'abc',
               'date': '2026-01-02', 'command': COMMAND, 'config': config.to_dict()})
    (folder / 'config.json').write_text(json.dumps({'config': config.to_dict()}), 'utf-8')
    return folder


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:  # a report that takes no time adds none
        patch.setattr(report, 'time', types.SimpleNamespace(monotonic=lambda: 0.0))
        return finish(tmp_path_factory.mktemp('runs') / 'grocery')


def root_of(folder):
    (folder / 'docs').mkdir()
    for page, text in PAGES.items():
        (folder / page).write_text(text, 'utf-8')
    return folder


def summary(results):
    return collect.markdown(results, 'summary.md')


def details(results):
    return collect.markdown(results, 'results.md')


def test_a_result_holds_the_numbers_and_what_was_run(run, tmp_path):
    collect.main([str(run)], root_of(tmp_path))
    text = (tmp_path / 'results' / 'grocery.json').read_text('utf-8')
    found, metrics = json.loads(text), json.loads((run / 'report' / 'metrics.json').read_text())
    for kind in ('arms', 'differences'):
        for name, entry in metrics[kind].items():
            entry['average_precision'].pop('per_class', None)
            assert found[kind][name] == {k: v for k, v in entry.items() if k != 'per_class'}
    assert len(found['arms']['augmented']['accuracy']['per_seed']) == 2
    for key in metrics.keys() - {'arms', 'differences', 'command'}:
        assert found[key] == metrics[key]
    assert '/home' not in text and 'someone' not in text and 'workdir' not in text
    assert 'rerun' not in text
    assert found['command'].startswith('python main.py --config=') and found['command'].endswith(
        '--config=configs/augmented.py:folder --config.data.train=grocery37/train.zip')
    assert found['config']['data.train'] == 'grocery37/train.zip'
    assert found['config']['data.source'] == 'folder' and 'splits.seed' not in found['config']
    assert found['config'].keys() == {'data.train'} | _changed('folder')


def _changed(variant):
    """Fields in which a variant differs from configs/default.py."""
    base, other = (default.flat(config.to_dict()) for config in (
        default.get_config(), augmented.get_config(variant)))
    return {name for name in base if base[name] != other[name]}


def rows_of(text):
    return [line.strip('|').split('|') for line in text.splitlines() if line.startswith('| ')]


def test_the_summary_has_what_synthetic_images_change_in_each_run(run):
    result = collect.result(*collect.read(run), 'grocery')
    alone = result | {'name': 'alone', 'differences': {}, 'arms': {'original': {}}}
    head, row = rows_of(summary([result, alone]))  # a baseline alone has nothing to show
    assert {len(head), len(row)} == {7} and row[0].strip() == '[grocery](docs/results.md#grocery)'
    assert row[1].strip() == 'folder, 3 classes, 32x32'
    difference = result['differences']['augmented-original']['accuracy']
    low, high = (100 * bound for bound in difference['ci95'])
    assert row[3].strip() == f'{100 * difference["mean"]:+.1f} [{low:+.1f}, {high:+.1f}] †'
    assert row[4].strip() == '–'  # no class has so few images
    control = result['differences']['augmented-oversampled']['macro_f1']
    assert row[6].strip().startswith(f'oversampled: {100 * control["mean"]:+.1f} [')


def test_a_run_without_controls_says_so(tmp_path):
    plain = finish(tmp_path / 'plain', ['original', 'augmented'])
    _, row = rows_of(summary([collect.result(*collect.read(plain), 'plain')]))
    assert row[6].strip() == 'not run'


def test_the_headline_has_its_results_in_its_order(run, monkeypatch):
    result = collect.result(*collect.read(run), 'grocery')
    without = [arm for arm in result['arms'] if arm != 'augmented']
    alone = result | {'name': 'alone', 'arms': {arm: result['arms'][arm] for arm in without}}
    monkeypatch.setattr(collect, 'HEADLINE', {'grocery': 'A | B', 'alone': 'C', 'other': 'D'})
    page = collect.markdown([alone, result], 'headline.md').replace('\\|', '/')
    _, first, second = rows_of(page)
    accuracy = result['differences']['augmented-original']['accuracy']
    low, high = (100 * bound for bound in accuracy['ci95'])
    assert [cell.strip() for cell in first] == [
        'A / B', f'{100 * result["arms"]["original"]["accuracy"]["mean"]:.1f}%',
        f'{100 * accuracy["mean"]:+.1f} [{low:+.1f}, {high:+.1f}] †', 'not run', 'not run']
    assert [cell.strip() for cell in second][2:] == ['not run'] * 3
    assert page.splitlines()[-1].startswith('† Not yet a claim: 2 seeds')
    pairs = {pair: entry | {'doubts': []} for pair, entry in result['differences'].items()}
    clear = result | {'seeds': 5, 'training': {}, 'differences': pairs}
    assert '†' not in collect.markdown([clear], 'headline.md')


def test_every_result_of_the_headline_is_there():
    assert all((collect.ROOT / 'results' / f'{name}.json').exists() for name in collect.HEADLINE)


def test_below_the_summary_stands_what_each_run_rests_on(run):
    text = summary([collect.result(*collect.read(run), 'grocery')])
    assert text.split('<details>')[1].endswith(
        '\n- grocery: 100 training images, 60 test images, 2 seeds; 2 x cpu, 1.1 min, 2026-01-02, '
        'commit abc:\n  `python main.py --config=configs/augmented.py:folder '
        '--config.data.train=grocery37/train.zip`\n\n</details>')


def test_one_row_an_arm_and_a_difference(run):
    result = collect.result(*collect.read(run), 'grocery')
    [table] = (block for block in details([result]).split('\n\n') if block.startswith('| '))
    rows = rows_of(table)  # all of them: a blank line would end it
    assert [row[0].strip() for row in rows] == [
        '', 'original', 'augmented', 'oversampled',
        'augmented − original', 'oversampled − original', 'augmented − oversampled']
    assert {len(row) for row in rows} == {7}
    accuracy = result['arms']['augmented']['accuracy']
    low, high = (100 * bound for bound in accuracy['ci95'])
    expected = f'{100 * accuracy["mean"]:.1f} ± {100 * accuracy["std"]:.1f} [{low:.1f}, {high:.1f}]'
    assert rows[2][1].strip() == expected
    difference = result['differences']['augmented-original']['macro_f1']
    assert rows[4][2].strip().startswith(f'{100 * difference["mean"]:+.1f} [')
    assert rows[1][5].strip() == rows[4][5].strip() == '–'  # no class has so few images
    p = result['differences']['augmented-original']['mcnemar_p']
    assert rows[4][6].strip() == formats.p_value(p).replace('<', '&lt;') and not rows[1][6].strip()


def test_the_table_says_what_it_rests_on(run):
    text = details([collect.result(*collect.read(run), 'grocery')])
    for fact in ('### grocery\n\n3 classes, 100 training images at 32x32, 60 test images, 2 seeds',
                 '1,500 steps', '2 x cpu, 1.1 min, 2026-01-02, commit abc.',
                 'Of 1,234 synthetic images 56'):
        assert fact in text
    assert text.count('\n- ') == 2 and '\n\n\n' not in text  # the verdicts on augmented


def test_again_changes_nothing(run, tmp_path):
    collect.main([str(run)], root_of(tmp_path))
    first = {page: (tmp_path / page).read_text('utf-8') for page in PAGES}
    collect.main([str(run)], tmp_path)
    collect.main([], tmp_path)
    for page, text in first.items():
        assert (tmp_path / page).read_text('utf-8') == text
        assert 'Before.\n<!-- results -->\n' in text and 'old' not in text.split('\n')
        assert text.endswith('\n<!-- /results -->\nAfter.\n')


def test_results_add_up(run, tmp_path):
    """A later run leaves the earlier ones; the baseline alone has no difference to show."""
    alone = finish(tmp_path / 'alone', ['original'])
    collect.main([str(run)], root_of(tmp_path))
    collect.main([str(alone)], tmp_path)
    text = (tmp_path / 'docs' / 'results.md').read_text('utf-8')
    assert text.index('### alone') < text.index('### grocery')
    assert '−' not in text.split('### grocery')[0]


def test_an_earlier_result_has_a_page_of_its_own(run, tmp_path):
    collect.main([str(run)], root_of(tmp_path))
    earlier = tmp_path / 'results' / 'earlier'
    earlier.mkdir()
    (tmp_path / 'results' / 'grocery.json').rename(earlier / 'grocery.json')
    collect.main([str(finish(tmp_path / 'today')), str(run)], tmp_path)  # it stays there
    holds = {page: sorted(set(re.findall(r'\b(?:grocery|today)\b', (tmp_path / page).read_text())))
             for page in PAGES}
    assert holds == {
        'README.md': ['today'], 'docs/results.md': ['today'], 'docs/earlier.md': ['grocery']}


@pytest.mark.parametrize('page, name, template, where', collect.BLOCKS)
def test_the_pages_of_this_project_are_as_their_results_are(page, name, template, where):
    block = collect.markdown(collect.stored(where=where), template)
    text = (collect.ROOT / page).read_text('utf-8')
    assert collect.replace(text, name, block, page) == text


@pytest.mark.parametrize('text', ['none', '<!-- /results --> <!-- results -->', 2 * RESULTS])
def test_without_its_markers_no_page_is_changed(run, tmp_path, text):
    page = root_of(tmp_path) / 'docs' / 'results.md'
    page.write_text(text, 'utf-8')
    with pytest.raises(ValueError, match='results.md must hold'):
        collect.main([str(run)], tmp_path)
    assert (tmp_path / 'README.md').read_text('utf-8') == README


def test_a_run_that_is_not_finished_is_named(tmp_path):
    with pytest.raises(ValueError, match='metrics.json: no such file'):
        collect.main([str(tmp_path)], root_of(tmp_path))
    with pytest.raises(ValueError, match='no result yet'):
        collect.main([], tmp_path)


def test_a_run_that_is_being_done_again_has_no_result(run):
    (run / 'stages.json').write_text('{"data": "data"}')
    try:
        with pytest.raises(ValueError, match='is of other settings than .*config.json: the run is'):
            collect.read(run)
        (run / 'stages.json').write_text('{"data": "data", "report": "report"}')
        collect.read(run)
    finally:
        (run / 'stages.json').unlink()


def test_two_runs_of_one_name_do_not_replace_each_other(run, tmp_path):
    with pytest.raises(ValueError, match='two of the folders have one name'):
        collect.main([str(run), f'{run}/../{run.name}'], root_of(tmp_path))
