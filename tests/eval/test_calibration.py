import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from eval import calibration
from eval.calibration import Calibration

COUNTS = np.array([250, 150, 90, 55, 30, 25])
SHARES = COUNTS / COUNTS.sum()
EVEN = np.full(len(COUNTS), 1 / len(COUNTS))
MEANS = 0.7 * np.random.default_rng(1).normal(size=(len(COUNTS), 12))


def drawn(images, shares, seed=0):
    """Points of Gaussian classes, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(shares), images, p=shares)
    return MEANS[labels] + rng.normal(size=(images, MEANS.shape[1])), labels


def bayes(points, shares, sureness=1.0):
    """What the best classifier of such points says under these shares, so much too sure of it."""
    logits = np.log(shares) - ((points[:, None] - MEANS) ** 2).sum(-1) / 2
    return normed(np.exp(sureness * (logits - logits.max(-1, keepdims=True))))


def normed(weights):
    return weights / weights.sum(-1, keepdims=True)


@pytest.mark.parametrize('tau', [1, 0.5, 0])
@pytest.mark.parametrize('sureness', [0.5, 1, 4])
def test_the_fit_finds_how_sure_a_classifier_is_and_what_shares_it_knows(sureness, tau):
    points, labels = drawn(4000, SHARES)
    found = calibration.fit(bayes(points, normed(SHARES**tau), sureness), labels, COUNTS)
    assert found.temperature == pytest.approx(sureness, rel=0.1)
    # what is given was said at the temperature, its shares with it
    assert found.tau == pytest.approx(tau, abs=0.1)


@pytest.mark.parametrize('tau', [1, 0])
def test_validation_images_need_not_have_the_shares_of_training(tau):
    """A cut takes one image at least of each class: of small ones more than their share."""
    points, labels = drawn(4000, normed(SHARES + 0.1))
    found = calibration.fit(bayes(points, normed(SHARES**tau)), labels, COUNTS)
    assert found.tau == pytest.approx(tau, abs=0.1)


def test_images_of_one_class_tell_nothing():
    found = calibration.fit(np.tile([0.7, 0.3], (50, 1)), np.zeros(50, int), np.array([9, 1]))
    assert dataclasses.astuple(found) == pytest.approx((1, 1))


@pytest.mark.parametrize(('images', 'lowest'), [(1, 0.7), (20, 0.3)])
def test_of_few_images_that_are_all_right_the_temperature_is_not_the_lowest(images, lowest):
    given, labels = np.tile([[0.9, 0.1], [0.1, 0.9]], (images, 1)), np.tile([0, 1], images)
    found = calibration.fit(given, labels, np.array([5, 5]))
    assert lowest < found.temperature < 1 and found.tau == pytest.approx(1)


def test_probabilities_that_are_zero_in_float32_do_not_stop_the_fit():
    given = np.eye(2, dtype=np.float32)[[0, 0, 0, 1]]
    found = calibration.fit(given, np.array([0, 0, 1, 1]), np.array([3, 1]))
    assert 10 < found.temperature <= 30 and np.isfinite(found.tau)


def test_two_classifiers_of_one_knowledge_are_alike_once_adjusted():
    """Though one has learnt from even classes and the other has not, and each is sure of itself."""
    held_out, labels = drawn(300, SHARES)
    test, truth = drawn(20_000, EVEN, seed=1)
    right = {}
    for name, shares in (('uneven', SHARES), ('between', normed(SHARES**0.5)), ('even', EVEN)):
        fits = [calibration.fit(bayes(held_out, shares, 3), labels, COUNTS)]
        before = bayes(test, shares, 3)[None]
        after = calibration.adjusted(before, fits, COUNTS)
        right[name] = [(p[0].argmax(-1) == truth).mean() for p in (before, after)]
    assert right['even'][0] - right['uneven'][0] > 0.03
    assert max(after for _, after in right.values()) - min(
        after for _, after in right.values()) < 0.005
    assert right['even'][1] == pytest.approx(right['even'][0], abs=0.005)


def test_adjusted_probabilities_are_of_classes_that_are_equally_frequent():
    """By Bayes' rule what is known under equal shares follows from what is known under others."""
    counts, likelihoods = np.array([90, 10]), np.random.default_rng(0).random((3, 50, 2))
    uneven, even = normed(likelihoods * counts), normed(likelihoods)
    right, sure = [Calibration(1, 1)] * 3, [Calibration(3, 1)] * 3
    np.testing.assert_allclose(calibration.adjusted(uneven, right, counts), even)
    np.testing.assert_allclose(calibration.adjusted(normed(uneven**3), sure, counts), even)
    np.testing.assert_allclose(calibration.calibrated(normed(uneven**3), sure), uneven)
    np.testing.assert_allclose(
        calibration.adjusted(even, [Calibration(1, 0)] * 3, counts), even)
    each = calibration.adjusted(uneven, right, [counts, counts, np.array([1, 1])])
    np.testing.assert_allclose(each, np.stack([*even[:2], uneven[2]]))
    none = calibration.adjusted(np.array([[[1.0, 0.0]]]), [Calibration(0.1, 1)], np.array([5, 0]))
    assert np.isfinite(none).all()


def test_calibrated_probabilities_name_the_same_classes():
    given = np.random.default_rng(0).dirichlet(np.ones(5), (2, 40))
    found = calibration.calibrated(given, [Calibration(4, 1), Calibration(0.5, 1)])
    np.testing.assert_array_equal(found.argmax(-1), given.argmax(-1))
    np.testing.assert_allclose(found.sum(-1), 1)
    assert (found[0].max(-1) < given[0].max(-1)).all() and (
        found[1].max(-1) > given[1].max(-1)).all()


def test_arrays_of_jax_and_types_stay_what_they_are():
    given, by = np.full((1, 3, 2), 0.5, np.float32), [Calibration(2.0, 0.5)]
    for function in (calibration.calibrated, lambda *of: calibration.adjusted(*of, [3, 1])):
        kept, traced = function(given, by), function(jnp.asarray(given), by)
        assert kept.dtype == traced.dtype == np.float32 and isinstance(traced, jnp.ndarray)
        np.testing.assert_allclose(kept, traced, rtol=1e-6)
