import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from eval import ranking


def arm(rng, labels, classes=4, seeds=3, skill=1.0):
    """Probabilities [S, N, C] of classifiers that agree in part on which images are hard."""
    shared = rng.normal(size=(len(labels), classes))
    logits = shared + rng.normal(size=(seeds, len(labels), classes))
    logits += skill * np.eye(classes)[labels]
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


@pytest.mark.parametrize('digits', [1, 9])  # of which the first makes many scores equal
def test_average_precision_is_scikit_learns_and_so_is_its_slope(digits):
    rng = np.random.default_rng(0)
    positive = rng.random(40) < 0.3
    scores = np.round(rng.random(40) + 0.3 * positive, digits)
    value, slopes = ranking.average_precision(positive, scores)
    assert value == pytest.approx(average_precision_score(positive, scores))
    assert slopes.sum() == pytest.approx(0, abs=1e-12)

    def moved(image, by):
        weights = np.where(np.arange(40) == image, 1 + by, 1)
        return average_precision_score(positive, scores, sample_weight=weights)

    slope = [(moved(i, 1e-5) - moved(i, -1e-5)) / 2e-5 for i in range(40)]
    assert slopes == pytest.approx(slope, abs=1e-7)


def test_average_precision_closed_forms():
    positive = np.array([True, False, True, False])
    assert ranking.average_precision(positive, np.array([4, 2, 3, 1]))[0] == 1
    assert ranking.average_precision(positive, np.array([4, 3, 2, 1]))[0] == pytest.approx(5 / 6)
    assert ranking.average_precision(positive, np.zeros(4))[0] == 0.5


def test_means_are_over_the_classes_with_test_images():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=60)  # of class 3 there are none
    given = arm(rng, labels)
    masks = {'few': np.array([True, False, False, True]), 'none': np.arange(4) == 3}
    means, values = ranking.by_group(labels, given, masks)
    own = [[average_precision_score(labels == k, p[:, k]) for k in range(3)] for p in given]
    assert values[:, :3] == pytest.approx(np.array(own)) and np.isnan(values[:, 3]).all()
    assert means.keys() == {'all', 'few'}
    assert means['all'].values == pytest.approx(np.mean(own, axis=1))
    assert means['few'].values == pytest.approx(values[:, 0])
    assert means['few'].independent == (labels == 0).sum() and means['few'].hidden == 0


def test_of_two_classes_it_does_not_know_which_one_is_named_more_often():
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=200)
    given = arm(rng, labels, classes=2)
    moved = given * [1, 30]
    moved /= moved.sum(axis=-1, keepdims=True)
    assert (given.argmax(-1) == labels).mean() > (moved.argmax(-1) == labels).mean() + 0.05
    for before, after in zip(given, moved, strict=True):
        np.testing.assert_allclose(ranking.by_group(labels, before[None], {})[1],
                                   ranking.by_group(labels, after[None], {})[1])


@pytest.mark.parametrize('clusters', [None, np.arange(400) // 8])
def test_the_interval_is_as_wide_as_the_bootstraps(clusters):
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 4
    given = arm(rng, labels, seeds=1)
    mean = ranking.by_group(labels, given, {}, clusters)[0]['all']
    low, high = mean.interval()
    groups = 400 if clusters is None else 50
    draws = []
    for _ in range(200):
        weights = np.bincount(rng.integers(groups, size=groups), minlength=groups)
        weights = weights if clusters is None else weights[clusters]
        draws.append(np.mean([average_precision_score(
            labels == k, given[0, :, k], sample_weight=weights) for k in range(4)]))
    assert high - low == pytest.approx(2 * 1.96 * np.std(draws), rel=0.15)
    assert (low + high) / 2 == pytest.approx(mean.values[0])


@pytest.mark.parametrize(('images', 'seeds', 'vary'), [(100, 1, 0), (100, 5, 0), (400, 3, 0.4)])
def test_no_difference_is_seldom_taken_for_one(images, seeds, vary):
    rng, wrong = np.random.default_rng(1), 0
    labels = np.arange(images) % 5
    for _ in range(200):
        one, other = (ranking.by_group(labels, np.concatenate([
            arm(rng, labels, 5, 1, 1 + vary * rng.normal()) for _ in range(seeds)]), {})[0]['all']
            for _ in range(2))
        low, high = (one - other).interval()
        wrong += low > 0 or high < 0
    assert wrong <= 20


@pytest.mark.parametrize(('first', 'clusters'), [
    (np.arange(5), None), (np.repeat(np.arange(5), 8), np.r_[np.repeat(range(5), 8), 5:105])])
def test_of_classes_with_one_image_or_one_cluster_little_is_known(first, clusters):
    rng, labels = np.random.default_rng(1), np.concatenate([first, 5 + np.arange(100) % 5])
    given = [ranking.by_group(labels, arm(rng, labels, 10, 1), {'few': np.arange(10) < 5}, clusters)
             for _ in range(2)]
    for name, least in (('few', 2 * 1.96 * 0.5 / 5**0.5), ('all', 2 * 1.96 * 0.5 * 5**0.5 / 10)):
        low, high = given[0][0][name].interval()
        assert high - low >= least
        low, high = (given[0][0][name] - given[1][0][name]).interval()
        assert low < 0 < high and high - low >= least * 2**0.5


def test_where_nothing_varies_the_interval_still_reaches_both_ways():
    labels = np.arange(20) % 4
    sure = ranking.by_group(labels, np.stack([np.eye(4)[labels]] * 3), {})[0]['all']
    assert (sure - sure).interval() == pytest.approx((-(1 - 0.025 ** (1 / 20)),
                                                      1 - 0.025 ** (1 / 20)))
    assert sure.values.mean() == 1 and sure.interval()[0] < 0.85
