"""What runs of a sweep say together, from made-up predictions."""

import json

import numpy as np
import pytest
from scipy.stats import ttest_1samp
from sweep_runs import (
    DOSES,
    LOSSES,
    RATES,
    RIGHT,
    SEEDS,
    adjustable,
    change,
    console,
    made_by,
    move_data,
    pages,
    runs,
)

from eval import across, leaderboard, results, statistics


def test_replicates_are_pooled_and_not_ranked(tmp_path):
    runs(tmp_path, SEEDS)
    found = leaderboard.rows(tmp_path, SEEDS)
    assert [row['index'] for row in found] == [0, 1, 2]  # by validation loss: 2, 1, 0
    pooled = across.together(found, SEEDS)
    assert pooled['same_images'] and list(pooled['differences']) == ['augmented-original']
    difference = pooled['differences']['augmented-original']
    assert set(difference) == {'accuracy', 'macro_f1', 'many', 'medium', 'few'}
    gains = [np.arange(50) < RIGHT['augmented'][run] for run in range(3)]
    losses = [np.arange(50) < RIGHT['original'][run] for run in range(3)]
    image = np.mean(np.subtract(gains, losses, dtype=float), axis=0)  # of 50 alike in 4 classes
    for key, images in (('accuracy', 200), ('few', 100)):
        expected = statistics.over_runs([0.10, 0.02, 0.12], image.std() / images**0.5)
        assert difference[key]['mean'] == pytest.approx(0.08)
        assert difference[key]['ci95'] == pytest.approx(expected['ci95'], rel=0.05)
    text = pages(tmp_path, SEEDS)
    basis = ('pets, 4 classes: 1,110 to 1,112 training images, 200 test images, '
             '1 classifiers an arm.')
    assert basis in text['html'] and basis in text['md']
    assert 'none is the best' in text['md'] and 'Best on validation' not in text['html']
    low, high = (100 * bound for bound in difference['accuracy']['ci95'])
    assert f'| augmented − original | +8.0 [{low:+.1f}, {high:+.1f}] ± 5.3 |' in text['md']
    said = f'3 runs together. {results.verdict(difference, "augmented", "original")}'
    assert 'accuracy +8.0 points' in said
    assert said in text['html'] and said in text['md']
    for page in (text['html'], text['md']):
        assert 'and about other test images' in ' '.join(page.split())
    assert '+8.0' in console(tmp_path, SEEDS).split('augmented - original')[1]


def test_replicates_say_what_is_left_of_adjusted_arms(tmp_path):
    runs(tmp_path, SEEDS)
    pair, labels = 'augmented-original', np.repeat(np.arange(4), 50)
    assert across.ADJUSTED not in across.together(
        leaderboard.rows(tmp_path, SEEDS), SEEDS)['differences'][pair]
    assert 'adjusted' not in pages(tmp_path, SEEDS)['html']
    classes = adjustable(tmp_path, leaderboard.rows(tmp_path, SEEDS))
    found = across.together(leaderboard.rows(tmp_path, SEEDS), SEEDS)['differences'][pair]
    recall = {arm: np.reshape(own == labels, (3, 4, 50)).mean((1, 2))
              for arm, own in classes.items()}
    error = statistics.images_error(labels, classes['original'], classes['augmented'], 4)
    expected = statistics.over_runs(
        recall['augmented'] - recall['original'], error['macro_recall'])
    for key in expected:
        assert found[across.ADJUSTED][key] == pytest.approx(expected[key])
    assert found[across.ADJUSTED]['mean'] != pytest.approx(found['accuracy']['mean'])
    for page in (pages(tmp_path, SEEDS)[kind] for kind in ('html', 'md')):
        assert 'Macro recall, adjusted' in page and 'Macro recall, adjusted: after' in page
    path = leaderboard.folder(tmp_path, 1) / 'report' / 'metrics.json'
    metrics = json.loads(path.read_text('utf-8'))
    earlier = {'differences': {pair: {'accuracy': {'mean': 0.1, 'ci95': [0.0, 0.2]}}}}  # its shape
    path.write_text(json.dumps(metrics | {'adjusted': earlier}), 'utf-8')
    assert across.ADJUSTED not in across.together(
        leaderboard.rows(tmp_path, SEEDS), SEEDS)['differences'][pair]


def test_the_interval_of_runs_with_other_test_images_is_over_runs_alone(tmp_path):
    runs(tmp_path, SEEDS)
    move_data(tmp_path)
    listing = tmp_path / 'shared' / 'data' / '2' / 'splits.json'
    images = {'train': [], 'validation': [], 'test': [['a/2.png', '5678', 0]]}
    listing.write_text(json.dumps(images))
    pooled = across.together(leaderboard.rows(tmp_path, SEEDS), SEEDS)
    t = ttest_1samp([0.10, 0.02, 0.12], 0).confidence_interval()
    found = pooled['differences']['augmented-original']['accuracy']
    assert found['ci95'] == pytest.approx((t.low, t.high)) and not pooled['same_images']
    text = pages(tmp_path, SEEDS)
    said = ('3 runs together. No difference between augmented and original can be told from '
            'chance: accuracy +8.0 points (95% interval -5.1 to +21.1), not distinguishable from '
            'zero; ')
    assert said in text['html'] and said in text['md']
    for page in (text['html'], text['md']):
        assert 'and of nothing else' in ' '.join(page.split())


def test_with_the_same_test_images_a_group_counts_if_it_has_the_same_classes(tmp_path):
    runs(tmp_path, SEEDS)
    path = leaderboard.folder(tmp_path, 1) / 'report' / 'metrics.json'
    path.write_text(path.read_text().replace('"train_count": 30', '"train_count": 41'))
    pooled = across.together(leaderboard.rows(tmp_path, SEEDS), SEEDS)
    assert set(pooled['differences']['augmented-original']) == {'accuracy', 'macro_f1', 'few'}


def test_runs_that_agree_on_no_difference_in_accuracy_have_an_answer(tmp_path):
    """What one class gains, another loses: accuracy is the same, and macro-F1 is not."""
    runs(tmp_path, SEEDS)
    for index in range(3):
        path = leaderboard.folder(tmp_path, index) / 'report' / 'metrics.json'
        metrics = json.loads(path.read_text('utf-8'))
        metrics['differences']['augmented-original']['accuracy']['mean'] = 0.0
        path.write_text(json.dumps(metrics), 'utf-8')
    pooled = across.together(leaderboard.rows(tmp_path, SEEDS), SEEDS)
    assert pooled['differences']['augmented-original']['accuracy']['mean'] == 0
    assert 'accuracy +0.0 points' in pages(tmp_path, SEEDS)['md']


def test_other_sweeps_are_ranked_and_not_pooled(tmp_path):
    runs(tmp_path, DOSES)
    found = leaderboard.rows(tmp_path, DOSES)
    assert [row['index'] for row in found] == [2, 1, 0]
    assert across.together(found, DOSES) == {}
    text = pages(tmp_path, DOSES)
    assert 'Best on validation: run 2' in text['html'] and 'together' not in text['md']
    assert 'Best on validation first' in console(tmp_path, DOSES)


def test_one_finished_replicate_says_nothing_together(tmp_path):
    runs(tmp_path, SEEDS[:1])
    text = pages(tmp_path, SEEDS)
    assert '1 of 3 runs' in text['md'] and 'runs together' not in text['md'] + text['html']
    console(tmp_path, SEEDS)


def test_a_pair_counts_if_every_run_has_it(tmp_path):
    runs(tmp_path / 'both', SEEDS)
    runs(tmp_path / 'alone', SEEDS, {'original': RIGHT['original']})
    both, alone = (leaderboard.rows(tmp_path / name, SEEDS) for name in ('both', 'alone'))
    assert across.together([*both[:2], alone[2]], SEEDS) == {}
    pages(tmp_path / 'alone', SEEDS)
    assert 'all' not in console(tmp_path / 'alone', SEEDS)


def test_runs_of_other_settings_are_not_pooled_with_the_rest(tmp_path):
    """As when a sweep is done again with another number of steps, and is not through yet."""
    runs(tmp_path, SEEDS)
    change(tmp_path, {'generator.steps': 7})
    assert across.together(leaderboard.rows(tmp_path, SEEDS), SEEDS) == {}
    text = pages(tmp_path, SEEDS)
    assert 'made with other settings' in text['md'] and 'made with other settings' in text['html']


@pytest.mark.parametrize(('points', 'are'), [
    (SEEDS, True),
    (SEEDS[:1], False),  # one alone
    ([{'synthesis.seed': 0, 'generator.steps': 9}, {'synthesis.seed': 1, 'generator.steps': 8}],
     False),
    ([{'generator.seed': g, 'synthesis.seed': s} for g in (0, 1) for s in (2, 3)],
     False),  # four runs of two generators do not vary as four do
    ([{'generator.seed': 1}, {}], False),
])
def test_replicates_differ_in_every_seed_and_in_nothing_else(points, are):
    assert across.replicates(points) is are


@pytest.mark.parametrize('code, dtype', [('new', 'float32'), ('old', 'bfloat16')])
def test_runs_of_other_code_or_hardware_are_not_pooled(tmp_path, code, dtype):
    runs(tmp_path, SEEDS)
    for index in range(3):
        made_by(tmp_path, 'old', 'float32', index)
    assert across.together(leaderboard.rows(tmp_path, SEEDS), SEEDS)
    made_by(tmp_path, code, dtype, 1)
    found = leaderboard.rows(tmp_path, SEEDS)
    assert across.together(found, SEEDS) == {}
    assert 'other settings, images, code or hardware' in across.unranked(found, SEEDS)


def test_what_changes_no_result_does_not_keep_runs_apart(tmp_path):
    runs(tmp_path, SEEDS)
    change(tmp_path, {'generator.save_every': 7, 'synthesis.batch_size': 7, 'cpu_devices': 1})
    assert across.together(leaderboard.rows(tmp_path, SEEDS), SEEDS)
    fields = 'splits.seed, generator.seed, classifier.seed'
    assert f'further values of {fields} and' in pages(tmp_path, SEEDS)['md']


def test_runs_that_share_classifiers_seeds_are_not_pooled(tmp_path):
    """With five a run, seeds 0 and 1 have classifiers 1 to 4 in common."""
    for name, step, pooled in (('apart', 5, True), ('overlap', 4, False), ('same', 0, False)):
        points = [{'generator.seed': i, 'classifier.seed': step * i} for i in range(3)]
        points = points if step else [{'generator.seed': i} for i in range(3)]
        runs(tmp_path / name, points)
        for i in range(3):
            change(tmp_path / name, {'classifier.seeds': 5}, points[i], i)
        found = leaderboard.rows(tmp_path / name, points)
        assert bool(across.together(found, points)) is pooled
        text = pages(tmp_path / name, points)
        for page in (text['md'], text['html']):
            assert ('share seeds of classifiers' in ' '.join(page.split())) is not pooled


def test_classifiers_of_before_they_had_a_seed_start_from_0():
    old, new = {'config': {'classifier.seeds': 5}}, {'classifier.seed': 5, 'classifier.seeds': 5}
    assert across.apart([{'config': new}, old]) and not across.apart([old, old])


def test_each_arm_is_taken_at_its_own_lowest_validation_loss(tmp_path):
    right = {'original': (25, 40, 30), 'augmented': (34, 49, 31), 'oversampled': (20, 20, 27)}
    runs(tmp_path, RATES, right, LOSSES | {'oversampled': (3, 3, 2)})
    each = across.tuned(leaderboard.rows(tmp_path, RATES), RATES)
    assert {arm: row['index'] for arm, row in each['best'].items()} == {
        'original': 2, 'augmented': 0, 'oversampled': 2}
    found = {pair: entry['accuracy'] for pair, entry in each['differences'].items()}
    assert found['augmented-original']['mean'] == pytest.approx(0.08)  # 34 and 30 of 50
    assert found['oversampled-original']['mean'] == pytest.approx(-0.06)
    low, high = found['augmented-original']['ci95']
    assert 0.08 - 3 * 0.02 < low < 0.08 < high < 0.08 + 3 * 0.02
    text = pages(tmp_path, RATES)
    for page in (text['md'], text['html']):
        assert 'Yes, augmented is better than original: accuracy +8.0 points' in page
        assert 'No, oversampled is worse than original: accuracy -6.0 points' in page
    assert r'| original | 2 | classifier.learning\_rate=0.004 | 1.7000 | 60.0 |' in text['md']
    assert r'| augmented | 0 | classifier.learning\_rate=0.001 | 1.0000 | 68.0 |' in text['md']
    said = console(tmp_path, RATES).split('each', 1)[1]
    assert 'augmented (run 0)' in said and 'original (run 2)' in said and '+8.0' in said


def test_one_change_at_a_time_is_comparable_with_none(tmp_path):
    points = [{}, *RATES[1:]]
    runs(tmp_path, points, losses=LOSSES)
    assert across.tuned(leaderboard.rows(tmp_path, points), points)


@pytest.mark.parametrize('why', ['one run', 'seeds', 'baseline', 'images', 'settings', 'alone'])
def test_arms_at_their_best_are_not_compared_where_losses_cannot_be(tmp_path, why):
    points = {'seeds': SEEDS, 'one run': RATES[:1]}.get(why, RATES)
    losses = LOSSES | ({'original': (2, 2, 2)} if why == 'baseline' else {})
    arms = {'original': RIGHT['original']} if why == 'alone' else RIGHT
    runs(tmp_path, points, arms, losses)
    if why == 'images':
        move_data(tmp_path)
    if why == 'settings':
        change(tmp_path, {'generator.steps': 7}, RATES[0])
    assert across.tuned(leaderboard.rows(tmp_path, points), points) == {}
    assert 'Each arm' not in pages(tmp_path, points)['md']


def test_what_auto_makes_of_a_point_is_no_other_setting(tmp_path):
    rows = [{'point': {'generator.steps': steps}, 'code': {}, 'dtypes': {},
             'config': {'auto': True, 'generator.steps': steps, 'classifier.steps': 9,
                        'generator.sample_every': steps // 8,
                        'generator.select': 'best_validation'},
             'places': {'data': tmp_path}} for steps in (8000, 16_000)]
    (tmp_path / 'splits.json').write_text('{"train": [], "validation": [], "test": []}')
    assert across.alike(rows)
    rows[0]['config']['data.imbalance'] = 10.0  # which auto never sets
    assert not across.alike(rows)
    del rows[0]['config']['data.imbalance']
    for row in rows:
        row['config']['auto'] = False
    assert not across.alike(rows)
    for seed, row in enumerate(rows):
        row['config'].update({'auto': True, 'splits.seed': seed})
        row['point'] = {'splits.seed': seed}
    assert not across.alike(rows)  # of a seed no other number of steps follows
    for row in rows:
        row['config']['splits.group_by'] = '(.*)_'
    assert across.alike(rows)  # but where it changes how many images a class has
    for row in rows:
        del row['config']['splits.group_by']
    listed = {'train': [['x', '12', 0]], 'validation': [], 'test': [], 'groups': {'train': ['p']}}
    (tmp_path / 'splits.json').write_text(json.dumps(listed))
    assert across.alike(rows)  # as a table's groups do


def test_runs_on_other_images_are_not_alike(tmp_path):
    rows, listing = [], {'train': [['x/1', '12', 0]], 'validation': [], 'test': [['y/1', '34', 1]]}
    for seed in range(2):
        (tmp_path / f'{seed}').mkdir()
        rows.append({'point': {'data.image_size': 16 + seed}, 'inputs': [str(seed)],  # touched
                     'config': {'data.image_size': 16 + seed}, 'code': {}, 'dtypes': {},
                     'places': {'data': tmp_path / f'{seed}'}})
        (tmp_path / f'{seed}' / 'splits.json').write_text(json.dumps(listing))
    assert across.alike(rows)
    listing = {**listing, 'train': [['x/2', '56', 0]]}
    (tmp_path / '1' / 'splits.json').write_text(json.dumps(listing))
    assert not across.alike(rows)
    rows[0]['inputs'] = rows[1]['inputs']
    assert across.alike(rows)
    rows[0]['inputs'] = ['0']
    for i in range(2):
        groups = {'train': ['p'], 'validation': [], 'test': [f'q{i}']}
        (tmp_path / f'{i}' / 'splits.json').write_text(json.dumps({**listing, 'groups': groups}))
    assert not across.alike(rows)  # another table of the same images, so another cut
    for row, inputs in zip(rows, 'ab'):
        row |= {'point': {'data.train': inputs}, 'config': {'data.train': inputs},
                'inputs': [inputs]}
    assert across.alike(rows)  # the sweep says so


def grouped(tmp_path, points, **options):
    """The sweep's rows, of `runs` whose 200 test images are of 40 people."""
    runs(tmp_path, points, **options)
    images = [[f'a/p{i // 5}_{i}.png', f'{i}', 0] for i in range(200)]
    listed = json.dumps({'train': [], 'validation': [], 'test': images})
    for index in range(len(points)):
        data = leaderboard.folder(tmp_path, index) / '../../shared/data/1/splits.json'
        data.resolve().write_text(listed)
        change(tmp_path, {'splits.group_by': 'p[0-9]+'}, points[index], index)
    return leaderboard.rows(tmp_path, points)


def width(found):
    return np.ptp(found['differences']['augmented-original']['accuracy']['ci95'])


def test_test_images_of_a_group_are_one_of_runs_together(tmp_path):
    runs(tmp_path / 'alone', SEEDS)
    alone = across.together(leaderboard.rows(tmp_path / 'alone', SEEDS), SEEDS)
    assert width(across.together(grouped(tmp_path / 'groups', SEEDS), SEEDS)) > 1.02 * width(alone)


def test_test_images_of_a_group_are_one_of_arms_at_their_best(tmp_path):
    runs(tmp_path / 'alone', RATES, losses=LOSSES)
    alone = across.tuned(leaderboard.rows(tmp_path / 'alone', RATES), RATES)
    whole = across.tuned(grouped(tmp_path / 'groups', RATES, losses=LOSSES), RATES)
    assert width(whole) > 1.2 * width(alone) and 'on 200 test images' not in whole['answers'][0]
