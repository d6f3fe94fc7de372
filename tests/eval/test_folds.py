"""What folds say together, from made-up predictions."""

import numpy as np
import pytest
from sweep_runs import RIGHT, adjustable, change, console, pages, runs

from configs import sweeps
from eval import across, folds, leaderboard, statistics

POINTS = [{'splits.fold': f'{fold}/3', 'generator.seed': fold, 'classifier.seed': 100 * fold}
          for fold in range(3)]


def test_the_folds_of_a_sweep_are_compared_on_all_their_images(tmp_path):
    runs(tmp_path, POINTS)
    pooled = across.together(leaderboard.rows(tmp_path, POINTS), POINTS)
    assert pooled['folds']['test_images'] == 600  # of 200 each
    difference = pooled['differences']['augmented-original']
    labels = np.tile(np.repeat(np.arange(4), 50), 3)
    right = {arm: np.concatenate([np.arange(200) % 50 < count for count in counts])
             for arm, counts in RIGHT.items()}
    predicted = {arm: np.where(hit, labels, (labels + 1) % 4)[None] for arm, hit in right.items()}
    expected = statistics.paired_bootstrap(
        labels, predicted['original'], predicted['augmented'], 4)
    for key in ('accuracy', 'macro_f1'):
        assert difference[key]['mean'] == pytest.approx(expected[key]['mean'])
        assert difference[key]['ci95'] == pytest.approx(expected[key]['ci95'])
    assert difference['accuracy']['mean'] == pytest.approx(0.08)
    assert difference['accuracy']['std'] == pytest.approx(np.std([0.10, 0.02, 0.12], ddof=1))
    assert difference['few']['mean'] == pytest.approx(0.08)
    text = pages(tmp_path, POINTS)
    for page in (text['html'], text['md']):
        assert '3 folds together. Not yet a claim (1 seed). As it stands: ' in page
        assert difference['verdict'][1:] in page and 'No control was run' in page
        assert 'on all 600 images' in page and 'folds of one set, so none is the best' in page
    assert text['md'].count('\n| a | 60 | 150 | ') == 1  # a class: images a fold, test images
    assert '+8.0' in console(tmp_path, POINTS).split('On all images')[1]


def test_the_arms_of_each_fold_are_adjusted_by_its_own_validation_images(tmp_path):
    runs(tmp_path, POINTS)
    found = leaderboard.rows(tmp_path, POINTS)
    assert not across.together(found, POINTS)['folds']['adjusted']['arms']  # none are stored
    classes, labels = adjustable(tmp_path, found), np.repeat(np.arange(4), 50)
    pooled = across.together(found, POINTS)
    whole = pooled['folds']
    for arm, own in classes.items():
        accuracy = whole['adjusted']['arms'][arm]['accuracy']['mean']
        assert accuracy == pytest.approx(np.mean(own == labels))
        assert accuracy != whole['arms'][arm]['accuracy']['mean']
    column = pooled['differences']['augmented-original'][across.ADJUSTED]
    assert column == whole['adjusted']['differences']['augmented-original']['macro_recall']
    for page in (pages(tmp_path, POINTS)[kind] for kind in ('html', 'md')):
        assert 'Macro recall, adjusted' in page


def test_what_is_said_first_of_folds_is_what_a_report_would_say(tmp_path):
    arms = {'original': (25, 28, 22), 'classical': (30, 29, 28), 'augmented': (31, 30, 29)}
    runs(tmp_path, POINTS, arms)
    text = pages(tmp_path, POINTS)
    for page in (text['html'], text['md']):
        assert 'The strongest control is classical' in page
    classes = text['md'].split('By class')[1]
    assert 'F1 original | F1 augmented' in classes  # and not of the first pair, classical
    runs(tmp_path / 'two', POINTS, {arm: arms[arm] for arm in ('original', 'classical')})
    assert 'nothing is said of them' in pages(tmp_path / 'two', POINTS)['md']


def test_a_fold_that_is_not_finished_leaves_nothing_to_say(tmp_path):
    runs(tmp_path, POINTS[:2])
    assert across.together(leaderboard.rows(tmp_path, POINTS), POINTS) == {}
    assert 'together' not in pages(tmp_path, POINTS)['md']


def test_folds_of_other_settings_are_not_pooled(tmp_path):
    runs(tmp_path, POINTS)
    change(tmp_path, {'generator.steps': 7}, POINTS[0])
    assert across.together(leaderboard.rows(tmp_path, POINTS), POINTS) == {}


@pytest.mark.parametrize('points, are', [
    (POINTS, True), (POINTS[:2], False), (POINTS[:1], False), (POINTS[::-1], True),
    ([point | {'splits.seed': i} for i, point in enumerate(POINTS)], False),
    ([point | {'synthesis.fill': '2x'} for point in POINTS], False),
    ([{'splits.seed': 1}, {'splits.seed': 2}], False), ([*POINTS, {}], False)])
def test_folds_are_all_parts_of_one_split(points, are):
    assert folds.are(points) == are


def test_the_sweep_that_comes_along_is_one():
    points = sweeps.read('configs/sweeps/folds.py')
    assert folds.are(points) and len(points) == 5
    assert len({point['classifier.seed'] for point in points}) == 5


def test_what_belongs_together_in_one_fold_is_not_what_does_in_another():
    both = folds._joined([np.array([0, 0, 1]), None, np.array([0, 1, 1])], [3, 2, 3])
    assert both.tolist() == [0, 0, 1, 2, 3, 4, 5, 5]
    assert folds._joined([None, None], [2, 2]) is None
