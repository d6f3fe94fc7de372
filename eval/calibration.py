"""How sure a classifier is, and what shares of the classes it has taken up: fitted on validation
images, applied to any.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy  # scipy.optimize is imported when it is first used


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Of one classifier: p^(1 / temperature) / shares^tau * the classes' shares of the validation
    images fits these best.

    Attributes:
        temperature: above 1 if the classifier is surer than it is right.
        tau: how much of the classes' shares of the real training images it has taken up: about 1 if
            it was trained on images of these shares, 0 if on equally many of each class.
    """
    temperature: float
    tau: float


def fit(probabilities: np.ndarray, labels: np.ndarray, train_counts: np.ndarray) -> Calibration:
    """The `Calibration` of the lowest mean cross-entropy.

    Of few images it stays near (1, 1), by normal priors of log(temperature) and tau with standard
    deviations of 1: of images that are all right the lowest loss would be that of no temperature.

    Args: probabilities: float [N, C]; labels: int [N]; train_counts: of real images, int [C].
    Source: bias-corrected temperature scaling, Alexandari et al. 2020 (arXiv 1901.06852), its
        biases those of one direction, so that few images can tell.
    """
    logits, shares = _logs(probabilities).astype(np.float64), _log_shares(train_counts)
    row = np.arange(len(labels))
    with np.errstate(divide='ignore'):  # not those of training: a small class has one all the same
        own = np.log(np.bincount(labels, minlength=len(train_counts)) / len(labels))

    def loss(parameters):
        """And its slopes."""
        log_temperature, tau = parameters
        scaled = logits * np.exp(-log_temperature)
        moved = scaled - tau * shares + own
        moved -= moved.max(-1, keepdims=True)
        expected = np.exp(moved)
        total = expected.sum(-1, keepdims=True)
        expected /= total
        value = (np.log(total[:, 0]) - moved[row, labels]).mean()
        slopes = np.array([(scaled[row, labels] - (expected * scaled).sum(-1)).mean(),
                           (shares[labels] - expected @ shares).mean()])
        off = np.array([log_temperature, tau - 1])
        return value + off @ off / 2 / len(labels), slopes + off / len(labels)

    found = scipy.optimize.minimize(
        loss, (0.0, 1.0), jac=True, method='L-BFGS-B', bounds=[np.log((0.1, 30.0)), (-2.0, 4.0)])
    return Calibration(float(np.exp(found.x[0])), float(found.x[1]))


def calibrated(probabilities: np.ndarray, by: Sequence[Calibration]) -> np.ndarray:
    """Probabilities at each classifier's temperature: the same classes, said less surely above 1.

    Args: probabilities: float [S, N, C] of NumPy or JAX, rows sum to 1; by: of each of the S
        classifiers.
    Returns: the same shape and type; rows sum to 1.
    Source: Guo et al. 2017, section 4.2 (arXiv 1706.04599).
    """
    return _softmax(_cooled(probabilities, by))


def adjusted(probabilities: np.ndarray, by: Sequence[Calibration],
             train_counts: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    """`calibrated` ones over shares^tau: what a classifier would say, by Bayes' rule, if classes
    were equally frequent. Rare classes are named more often, the more of their shares it took up.

    Args, returns: as of `calibrated`; train_counts: int [C], or one such for each classifier.
    Source: post-hoc logit adjustment, Menon et al. 2021, section 4.1 (arXiv 2007.07314).
    """
    shares = np.atleast_2d(_log_shares(train_counts))[:, None].astype(probabilities.dtype)
    taus = _each([one.tau for one in by], probabilities)
    return _softmax(_cooled(probabilities, by) - taus * shares)


def _cooled(probabilities, by):
    return _logs(probabilities) / _each([one.temperature for one in by], probabilities)


def _logs(probabilities):
    xp = probabilities.__array_namespace__()
    return xp.log(xp.maximum(probabilities, np.finfo(np.float32).tiny))


def _log_shares(train_counts):
    counts = np.maximum(1, np.asarray(train_counts, np.float64))
    return np.log(counts / counts.sum(-1, keepdims=True))


def _each(values, probabilities):
    """One a classifier, to broadcast against its [N, C]."""
    return np.reshape(np.asarray(values, probabilities.dtype), (-1, 1, 1))


def _softmax(logits):
    xp = logits.__array_namespace__()
    shares = xp.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)
