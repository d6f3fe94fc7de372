"""Predictions whose truth is known."""

import numpy as np


def simulate(rng, images, seeds, accuracy, num_classes=4):
    """Seeds agree on half of the images, as seeds of one network do."""
    labels = rng.integers(num_classes, size=images)
    luck = np.where(rng.random(images) < 0.5, rng.random(images), rng.random((seeds, images)))
    wrong = (labels + rng.integers(1, num_classes, size=(seeds, images))) % num_classes
    return labels, np.where(luck < accuracy, labels, wrong)
