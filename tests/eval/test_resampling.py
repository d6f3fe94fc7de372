import numpy as np
import pytest
from simulated import simulate
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from eval import resampling


def test_scores_equal_scikit_learn_under_weights():
    rng = np.random.default_rng(0)
    labels, predictions = simulate(rng, 120, 2, 0.6)
    weights = np.bincount(rng.integers(120, size=120), minlength=120).astype(float)
    groups = {'first': np.array([True, True, False, False])}
    found = resampling.scores(labels, predictions, weights[:, None], 4, groups)
    for s, predicted in enumerate(predictions):
        given = dict(sample_weight=weights, labels=range(4), zero_division=0)
        for key, score, average in [
                ('macro_f1', f1_score, 'macro'), ('macro_precision', precision_score, 'macro'),
                ('macro_recall', recall_score, 'macro'), ('weighted_f1', f1_score, 'weighted'),
                ('per_class_f1', f1_score, None), ('per_class_recall', recall_score, None)]:
            expected = score(labels, predicted, average=average, **given)
            np.testing.assert_allclose(found[key][s, ..., 0], expected, err_msg=key)
        accuracy = accuracy_score(labels, predicted, sample_weight=weights)
        assert found['accuracy'][s, 0] == pytest.approx(accuracy)
        inside = labels < 2
        accuracy = accuracy_score(labels[inside], predicted[inside], sample_weight=weights[inside])
        assert found['first_accuracy'][s, 0] == pytest.approx(accuracy)


def test_a_draw_that_misses_a_class_does_not_lower_the_macro_mean():
    labels, once = np.array([0, 0, 0, 1]), np.array([[1.0], [1], [2], [0]])
    assert resampling.scores(labels, labels[None], once, 2)['macro_f1'] == 1


@pytest.mark.parametrize('accuracies', [(0.4, 0.6), (0.4, 0.6, 0.8), (0.5, 0.6, 0.6, 0.7, 0.7)])
def test_resampled_seeds_vary_as_their_mean_does(accuracies):
    """By s^2 / S with the unbiased s^2; so many images that these add nothing."""
    right = np.arange(20_000) < 20_000 * np.array(accuracies)[:, None]
    draws = resampling.resampled(np.ones(20_000, int), right.astype(int), 2, None, 2000, 0)
    expected = np.var(accuracies, ddof=1) / len(accuracies)
    assert draws['accuracy'].var() == pytest.approx(expected, rel=0.1)
