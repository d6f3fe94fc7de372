import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
)

from eval import metrics


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=200)  # class 4 has no test image
    return labels, np.where(rng.random(200) < 0.6, labels, rng.integers(5, size=200))


@pytest.mark.parametrize('average', ['macro', 'weighted'])
@pytest.mark.parametrize('name, score', [
    ('precision', precision_score), ('recall', recall_score), ('f1', f1_score)])
def test_summary_equals_scikit_learn(case, average, name, score):
    result = metrics.summary(*case, 5)
    expected = score(*case, labels=range(4), average=average, zero_division=0)  # those tested
    assert result[f'{average}_{name}'] == pytest.approx(expected)
    per_class = score(*case, labels=range(5), average=None, zero_division=0)
    np.testing.assert_allclose(result['per_class'][name], per_class)


def test_summary_counts(case):
    result = metrics.summary(*case, 5)
    assert result['accuracy'] == accuracy_score(*case)
    np.testing.assert_array_equal(result['confusion'], confusion_matrix(*case, labels=range(5)))
    np.testing.assert_array_equal(result['per_class']['support'], np.bincount(case[0], minlength=5))
    assert result['per_class']['recall'][4] == 0


def test_summary_of_a_perfect_classifier_is_one():
    labels = np.arange(6) % 3
    result = metrics.summary(labels, labels, 3)
    assert {result[key] for key in result if key not in ('per_class', 'confusion')} == {1.0}


@pytest.mark.parametrize('labels, predictions', [([], []), ([0, 1], [0])])
def test_summary_refuses_what_cannot_be_scored(labels, predictions):
    with pytest.raises(ValueError, match='one length'):
        metrics.summary(np.array(labels, int), np.array(predictions, int), 2)


def test_group_masks_at_their_edges():
    masks = metrics.group_masks(np.array([100, 41, 40, 26, 25, 1]), many=40, few=25)
    assert masks['many'].tolist() == [True, True, False, False, False, False]
    assert masks['medium'].tolist() == [False, False, True, True, False, False]
    assert masks['few'].tolist() == [False, False, False, False, True, True]
    with pytest.raises(ValueError, match='few=3'):
        metrics.group_masks(np.array([1]), many=2, few=3)


def test_group_accuracy():
    masks = {'a': np.array([True, False, False]), 'b': np.array([False, True, False]),
             'none': np.array([False, False, True])}
    found = metrics.group_accuracy(np.array([0, 0, 1]), np.array([0, 1, 1]), masks)
    assert found == {'a': 0.5, 'b': 1.0, 'none': None}


def test_calibration_error_closed_forms():
    sure = np.tile([1.0, 0.0], (4, 1))
    labels = np.array([0, 0, 1, 1])
    assert metrics.expected_calibration_error(np.zeros(4, int), sure) == 0
    assert metrics.expected_calibration_error(labels, sure) == pytest.approx(0.5)
    # Two bins: 0.6 sure and always right, 0.9 sure and right half the time.
    mixed = np.array([[0.6, 0.4]] * 2 + [[0.9, 0.1]] * 2)
    labels = np.array([0, 0, 0, 1])
    assert metrics.expected_calibration_error(labels, mixed) == pytest.approx((0.4 + 0.4) / 2)


def test_calibration_error_of_calibrated_confidence_is_small():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 20_000)
    labels = (rng.random(20_000) > confidence).astype(int)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    assert metrics.expected_calibration_error(labels, probabilities) < 0.015


def test_calibration_error_of_exactly_calibrated_bins_is_zero():
    """In bins of 0.55, 0.75 and 0.95 as many of 100 are right as the confidence says."""
    confidence = np.repeat([0.55, 0.75, 0.95], 100)
    labels = np.concatenate([np.arange(100) >= right for right in (55, 75, 95)]).astype(int)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    assert metrics.expected_calibration_error(labels, probabilities) == pytest.approx(0, abs=1e-12)
    wrong = metrics.expected_calibration_error(1 - labels, probabilities)
    assert wrong == pytest.approx((0.10 + 0.50 + 0.90) / 3)  # as many are wrong as should be right


def test_reliability_by_hand():
    probabilities = np.array([[0.6, 0.4], [0.56, 0.44], [0.2, 0.8], [1.0, 0.0]])
    found = metrics.reliability(np.array([0, 1, 1, 0]), probabilities, bins=5)
    assert found['images'].tolist() == [0, 0, 2, 1, 1]  # 0.6 and 0.8 end their bins
    np.testing.assert_allclose(found['confidence'], [0, 0, 0.58, 0.8, 1])
    np.testing.assert_allclose(found['accuracy'], [0, 0, 0.5, 1, 1])


def test_confusion_changes_by_hand():
    before = np.array([[8, 2, 0], [5, 10, 5], [0, 0, 0]])
    after = np.array([[5, 0, 5], [6, 10, 4], [0, 0, 0]])
    found = metrics.confusion_changes(before, after)
    assert [(row['true'], row['predicted']) for row in found] == [(0, 2), (0, 1), (1, 0), (1, 2)]
    assert [row['difference'] for row in found] == pytest.approx([0.5, -0.2, 0.05, -0.05])
    assert found[1]['rates'] == pytest.approx([0.2, 0.0])
    assert len(metrics.confusion_changes(before, after, top=2)) == 2
    assert metrics.confusion_changes(before, before) == []
