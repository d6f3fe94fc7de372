"""Scores of one classifier on one test set. Pure functions over arrays; no files."""

from collections.abc import Mapping

import numpy as np


def summary(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> dict:
    """Accuracy, precision, recall, F1 and the confusion matrix.

    Args: labels, predictions: int [N] in [0, num_classes).
    Returns: `accuracy`, `{macro,weighted}_{precision,recall,f1}` as fractions in [0, 1];
        `per_class` with `precision`, `recall`, `f1` float [C] and `support` int [C];
        `confusion` int [C, C], rows true and columns predicted. A ratio without a denominator
        is 0. Macro means are over the classes that have test images: of others nothing is known.
    Raises: ValueError if the arrays are empty or differ in length.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape or labels.ndim != 1 or not labels.size:
        raise ValueError(f'need labels and predictions of one length > 0, got {labels.shape} '
                         f'and {predictions.shape}')
    # here, as it takes half a second that training need not wait for
    from sklearn.metrics import precision_recall_fscore_support

    def scores(average, classes):
        return precision_recall_fscore_support(
            labels, predictions, labels=classes, average=average, zero_division=0)

    result: dict = {'accuracy': float((labels == predictions).mean())}
    for average in ('macro', 'weighted'):
        for name, value in zip(('precision', 'recall', 'f1'), scores(average, np.unique(labels))):
            result[f'{average}_{name}'] = float(value)
    each = scores(None, np.arange(num_classes))
    result['per_class'] = dict(zip(('precision', 'recall', 'f1', 'support'), each))
    result['confusion'] = confusion(labels, predictions, num_classes)
    return result


def confusion(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Images of each true class, in rows, that were given each class, in columns; int [C, C]."""
    cells = np.ravel_multi_index((labels, predictions), (num_classes, num_classes))
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def group_masks(train_counts: np.ndarray, many: int, few: int) -> dict[str, np.ndarray]:
    """Classes by their number of real training images, as bool [C] masks, one True a class.

    many: count > many; medium: few < count <= many; few: count <= few.
    Raises: ValueError if few > many.
    """
    if few > many:
        raise ValueError(f'few={few} must not exceed many={many}')
    counts = np.asarray(train_counts)
    return {'many': counts > many, 'medium': (counts > few) & (counts <= many),
            'few': counts <= few}


def group_accuracy(labels: np.ndarray, predictions: np.ndarray,
                   masks: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """Accuracy over the test images whose true class is in the group; None for a group without any.

    Args: labels, predictions: int [N]; masks: name -> bool [C].
    """
    correct = np.asarray(labels) == np.asarray(predictions)
    members = {name: mask[labels] for name, mask in masks.items()}
    return {name: float(correct[member].mean()) if member.any() else None
            for name, member in members.items()}


def reliability(labels: np.ndarray, probabilities: np.ndarray,
                bins: int = 15) -> dict[str, np.ndarray]:
    """How often predictions of each confidence are right, in bins of equal width over [0, 1].

    The confidence is the top probability.
    Args: labels: int [N]; probabilities: float [N, C], rows sum to 1.
    Returns: `images` int [bins]; `confidence` and `accuracy` float [bins], their means, 0 where
        there is no image. Bins are (lower, upper].
    Source: Guo et al. 2017, sec. 2 (arXiv 1706.04599).
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    images = np.bincount(bin_of, minlength=bins)
    sums = {'confidence': np.bincount(bin_of, weights=confidence, minlength=bins),
            'accuracy': np.bincount(bin_of, weights=correct, minlength=bins)}
    return {'images': images, **{key: value / np.maximum(images, 1) for key, value in sums.items()}}


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray,
                               bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over the bins of `reliability`, in [0, 1].

    Source: Guo et al. 2017, eq. 3 (arXiv 1706.04599).
    """
    found = reliability(labels, probabilities, bins)
    gaps = np.abs(found['accuracy'] - found['confidence'])
    return float((found['images'] * gaps).sum() / len(labels))


def confusion_changes(before: np.ndarray, after: np.ndarray, top: int = 10) -> list[dict]:
    """The confusions whose rate changed most, largest change first; those that did not, left out.

    Args: before, after: counts [C, C] on the same test images, rows true and columns predicted.
    Returns: rows with `true` and `predicted`, class indices that differ; `rates`, before and after,
        and their `difference`: shares of the true class's images.
    """
    rates = [counts / np.maximum(np.sum(counts, axis=1, keepdims=True), 1)
             for counts in (np.asarray(before), np.asarray(after))]
    difference = rates[1] - rates[0]
    np.fill_diagonal(difference, 0)
    order = np.argsort(-np.abs(difference), axis=None, kind='stable')[:top]
    pairs = [divmod(int(i), len(difference)) for i in order]
    return [{'true': true, 'predicted': predicted,
             'rates': [float(rate[true, predicted]) for rate in rates],
             'difference': float(difference[true, predicted])}
            for true, predicted in pairs if difference[true, predicted]]
