import pytest

from eval import formats, verdict


def test_images_needed():
    assert verdict.images_needed(0.02, (-0.02, 0.06), 100) == 401  # half width 0.04 -> 0.02
    assert verdict.images_needed(-0.02, (-0.06, 0.02), 100) == 401
    assert verdict.images_needed(0.0, (-0.1, 0.1), 100) is None
    assert verdict.images_needed(0.1, (0.05, 0.15), 100) <= 100


@pytest.mark.parametrize('accuracy, f1, beginning', [
    ((0.03, 0.05), (0.01, 0.05), 'Yes, b is better than a'),
    ((-0.05, -0.03), (-0.05, -0.01), 'No, b is worse than a'),
    ((-0.01, 0.03), (-0.01, 0.03), 'No difference between b and a can be told from chance'),
    ((-0.01, 0.03), (0.01, 0.05), 'In part, b is better than a'),
    ((-0.05, -0.01), (-0.01, 0.03), 'No, b is in part worse than a'),
    ((-0.05, -0.01), (0.01, 0.03), 'It depends on the metric')])
def test_verdict_says_what_the_intervals_say(accuracy, f1, beginning):
    differences = {name: {'mean': sum(ci95) / 2, 'ci95': ci95}
                   for name, ci95 in (('accuracy', accuracy), ('macro-F1', f1))}
    said = verdict.sentence('b', 'a', differences, 500)
    assert said.startswith(beginning) and said.endswith('.')
    distinguishable = sum(low > 0 or high < 0 for low, high in (accuracy, f1))
    assert said.count('), distinguishable from zero') == distinguishable
    assert said.count('not distinguishable from zero on 500') == 2 - distinguishable
    assert said.count('would need at least') == 2 - distinguishable


def test_verdict_gives_points_interval_and_images():
    difference = {'mean': 0.01, 'ci95': (-0.02, 0.04)}
    said = verdict.sentence('b', 'a', {'accuracy': difference}, 500)
    assert 'accuracy +1.0 points (95% interval -2.0 to +4.0)' in said
    assert 'at least 4,500' in said
    groups = verdict.sentence('b', 'a', {'accuracy': difference}, 500, 'groups of test images')
    assert 'not distinguishable from zero on 500 groups of test images (by more' in groups


def test_an_end_just_below_zero_is_told_from_zero():
    difference = {'mean': -0.01, 'ci95': (-0.02, -2e-4)}
    assert '(95% interval -2.0 to -0.0), dist' in verdict.sentence('b', 'a', {'f1': difference})
    assert formats.interval((-0.02, -2e-4)) == '[-2.0, -0.0]'
    assert formats.interval((-0.0, 2e-4)) == formats.interval((-1e-17, 2e-4)) == '[+0.0, +0.0]'


def test_an_interval_that_ends_at_zero_but_for_rounding_holds_zero():
    for low, high in ((1e-17, 0.04), (-0.04, -1e-17)):
        said = verdict.sentence('b', 'a', {'f1': {'mean': (low + high) / 2, 'ci95': (low, high)}})
        assert said.startswith('No difference') and '+0.0' in said and ', not dist' in said
