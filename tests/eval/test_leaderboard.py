"""The pages of a sweep, from made-up predictions; tests/test_sweep.py has real runs."""

import json

import pytest
from sweep_runs import DOSES, RATES, SEEDS, change, console, pages, runs

from eval import leaderboard


def test_runs_of_other_settings_are_not_ranked_with_the_rest(tmp_path):
    runs(tmp_path, DOSES)
    change(tmp_path, {'generator.steps': 7}, DOSES[0])
    assert [row['index'] for row in leaderboard.rows(tmp_path, DOSES)] == [0, 1, 2]
    text = pages(tmp_path, DOSES)
    for page in (text['html'], text['md']):
        assert 'none is said to be the best' in ' '.join(page.split())
        assert 'Best on validation' not in page and 'how to choose' not in page
    assert 'other settings' in console(tmp_path, DOSES).replace('\n', ' ')


def test_a_run_made_before_a_field_was_there_is_left_out(tmp_path):
    runs(tmp_path, DOSES)
    path = leaderboard.folder(tmp_path, 0) / 'config.json'
    text = json.loads(path.read_text('utf-8'))
    del text['config']['synthesis']['fill']
    path.write_text(json.dumps(text))
    assert [row['index'] for row in leaderboard.rows(tmp_path, DOSES)] == [2, 1]


def test_runs_of_other_images_are_not_ranked(tmp_path):
    """Their validation images, of which the losses are, are not the same."""
    points = [{'data.imbalance': rule, 'classifier.steps': steps}
              for rule, steps in (('', 300), ('exp:10', 600))]
    runs(tmp_path, points)
    assert [row['index'] for row in leaderboard.rows(tmp_path, points)] == [0, 1]
    text = pages(tmp_path, points) | {'console': console(tmp_path, points).replace('\n', ' ')}
    for name in ('html', 'md', 'console'):
        assert 'other images than each other' in text[name] and 'Best on' not in text[name], name


def test_runs_of_the_same_images_are_ranked_whatever_their_size(tmp_path):
    points = [{'data.imbalance': 'exp:10', 'data.image_size': size} for size in (16, 32)]
    runs(tmp_path, points)
    assert [row['index'] for row in leaderboard.rows(tmp_path, points)] == [1, 0]


def test_a_run_that_is_being_done_again_is_left_out(tmp_path):
    """Its old report stands there, but its classifiers are listed no longer."""
    runs(tmp_path, RATES)
    every = leaderboard.rows(tmp_path, RATES)
    path = leaderboard.folder(tmp_path, 1) / 'stages.json'
    path.write_text('{"data": "../../shared/data/1"}')
    found = leaderboard.rows(tmp_path, RATES)
    assert len(found) == len(every) - 1 and 1 not in [row['index'] for row in found]
    leaderboard.write(leaderboard.read(tmp_path, RATES))


def test_a_run_of_which_a_stage_is_gone_is_left_out_until_it_is_there_again(tmp_path):
    runs(tmp_path, DOSES)
    lost = tmp_path / 'shared' / 'classifiers' / 'augmented' / 'seed_100' / '1'
    lost.rename(lost.with_name('1.unfinished'))
    assert [row['index'] for row in leaderboard.rows(tmp_path, DOSES)] == [2, 0]
    pages(tmp_path, DOSES)


def test_settings_with_brackets_are_shown_as_they_are(tmp_path):
    patterns = [{'splits.group_by': pattern} for pattern in ('x[a-z]y', '[/_]')]
    runs(tmp_path, patterns)
    said = console(tmp_path, patterns)
    assert 'x[a-z]y' in said and '[/_]' in said


def test_a_run_of_code_before_the_scaled_loss_is_left_out(tmp_path):
    runs(tmp_path, RATES)
    path = leaderboard.folder(tmp_path, 1) / 'report' / 'metrics.json'
    path.write_text(path.read_text().replace('scaled_loss', 'loss'))
    assert [row['index'] for row in leaderboard.rows(tmp_path, RATES)] == [2, 0]


@pytest.mark.parametrize('seeds, said', [(1, {'3 seeds': 'all runs together'}), (2, {})])
def test_seeds_of_runs_together_add_up(tmp_path, seeds, said):
    runs(tmp_path, SEEDS)
    for index in range(len(SEEDS)):
        path = leaderboard.folder(tmp_path, index) / 'report' / 'metrics.json'
        path.write_text(json.dumps(json.loads(path.read_text()) | {'seeds': seeds}))
    board = leaderboard.rows(tmp_path, SEEDS)
    found = leaderboard._doubts(leaderboard.Board(tmp_path, SEEDS, board, {'differences': {}}, {}))
    assert found == said
    runs(tmp_path / 'doses', DOSES)
    assert 'Not yet a claim: 1 seed (all runs).' in pages(tmp_path / 'doses', DOSES)['md']
