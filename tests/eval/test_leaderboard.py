"""The pages of a sweep, from made-up predictions; tests/test_sweep.py has real runs."""

import io
import json

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import ttest_1samp

from configs import augmented
from eval import leaderboard, results

RIGHT = {'original': (25, 28, 22), 'augmented': (30, 29, 28)}  # of 50 images a class, by run
SEEDS = [dict.fromkeys(('splits.seed', 'generator.seed'), seed) for seed in range(3)]
DOSES = [{'synthesis.fill': fill} for fill in ('2x', '3x', '4x')]


def runs(workdir, points, arms=RIGHT):
    """Finished runs in the folders of a sweep; the later, the lower their validation loss."""
    labels, counts = np.repeat(np.arange(4), 50), np.array([60, 30, 10, 12])
    for index, point in enumerate(points):
        right = {arm: np.arange(200) % 50 < count[index] for arm, count in arms.items()}
        probabilities = {arm: np.eye(4)[np.where(hit, labels, (labels + 1) % 4)][None]
                         for arm, hit in right.items()}
        config = augmented.get_config()
        config.update_from_flattened_dict(point)
        metrics = {
            'seeds': 1, 'synthetic': {'accepted': 7},
            'validation': {arm: {'loss': {'mean': 1 / (1 + index)}, 'accuracy': {'mean': 0.5}}
                           for arm in arms},
            **results.compare(labels, probabilities, 'abcd', counts, {'many': 40, 'few': 25})}
        folder = leaderboard.folder(workdir, index)
        (folder / 'report').mkdir(parents=True)
        (folder / 'report' / 'metrics.json').write_text(json.dumps(results.jsonable(metrics)))
        (folder / 'config.json').write_text(json.dumps({'config': config.to_dict()}))
    return workdir


def change(workdir, fields):
    """Says of the first run that it was made with these fields."""
    path = leaderboard.folder(workdir, 0) / 'config.json'
    config = augmented.get_config()
    config.update_from_flattened_dict(SEEDS[0] | fields)
    path.write_text(json.dumps({'config': config.to_dict()}))


def pages(workdir, points):
    leaderboard.write(workdir, points)
    return {name: (workdir / 'report' / f'sweep.{name}').read_text('utf-8')
            for name in ('html', 'md', 'csv')}


def console(workdir, points):
    text = io.StringIO()
    Console(file=text, width=80).print(leaderboard.console_table(workdir, points))
    return text.getvalue()


def test_replicates_are_pooled_and_not_ranked(tmp_path):
    runs(tmp_path, SEEDS)
    found = leaderboard.rows(tmp_path, SEEDS)
    assert [row['index'] for row in found] == [0, 1, 2]  # by validation loss: 2, 1, 0
    pooled = leaderboard.together(found, SEEDS)['augmented-original']
    t = ttest_1samp([0.10, 0.02, 0.12], 0).confidence_interval()
    assert pooled['accuracy']['mean'] == pytest.approx(0.08)
    assert pooled['accuracy']['ci95'] == pytest.approx((t.low, t.high))
    assert set(pooled) == {'accuracy', 'macro_f1', 'many', 'medium', 'few'}
    text = pages(tmp_path, SEEDS)
    assert 'none is the best' in text['md'] and 'Best on validation' not in text['html']
    assert '| augmented − original | +8.0 [-5.1, +21.1] ± 5.3 |' in text['md']
    said = ('3 runs together. No difference between augmented and original can be told from '
            'chance: accuracy +8.0 points (95% interval -5.1 to +21.1), not distinguishable from '
            'zero; ')
    assert said in text['html'] and said in text['md']
    assert '+8.0' in console(tmp_path, SEEDS).split('augmented - original')[1]


def test_other_sweeps_are_ranked_and_not_pooled(tmp_path):
    runs(tmp_path, DOSES)
    found = leaderboard.rows(tmp_path, DOSES)
    assert [row['index'] for row in found] == [2, 1, 0]
    assert leaderboard.together(found, DOSES) == {}
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
    assert leaderboard.together([*both[:2], alone[2]], SEEDS) == {}
    pages(tmp_path / 'alone', SEEDS)
    assert 'all' not in console(tmp_path / 'alone', SEEDS)


def test_runs_of_other_settings_are_not_pooled_with_the_rest(tmp_path):
    """As when a sweep is done again with another number of steps, and is not through yet."""
    runs(tmp_path, SEEDS)
    change(tmp_path, {'generator.steps': 7})
    assert leaderboard.together(leaderboard.rows(tmp_path, SEEDS), SEEDS) == {}
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
])  # fmt: skip
def test_replicates_differ_in_every_seed_and_in_nothing_else(points, are):
    assert leaderboard.replicates(points) is are


def test_what_changes_no_result_does_not_keep_runs_apart(tmp_path):
    runs(tmp_path, SEEDS)
    change(tmp_path, {'generator.save_every': 7, 'synthesis.batch_size': 7, 'cpu_devices': 1})
    assert leaderboard.together(leaderboard.rows(tmp_path, SEEDS), SEEDS)
    assert 'further values of splits.seed, generator.seed and' in pages(tmp_path, SEEDS)['md']
