"""Weights and images -> probabilities, features, predictions.npz. The last part of a run that needs
a device.
"""

import collections
import dataclasses
import functools
import itertools
import pathlib

import jax
import numpy as np
import scipy  # scipy.optimize is imported when it is first used

from data import augment, pipeline
from train import disk, parallel

_AHEAD = 8  # batches that the devices are given before the first one's results are fetched


def predict(model, variables, image_set, batch_size):
    """Class probabilities and features of every image, in the set's order.

    Args:
        model: a classifier, (x [B, H, W, 3]) -> (logits [B, C], features [B, F]).
        variables: its {'params', ...}.
        batch_size: over all devices; made to fit as many as there are.
    Returns:
        (probabilities float32 [N, C], features float32 [N, F]).
    """
    forward, batch_size = _forward(model), parallel.round_up(batch_size)
    size = len(image_set.labels)
    batches = pipeline.eval_batches(image_set, batch_size=batch_size, **parallel.place())
    variables, found = parallel.everywhere(variables), []
    outputs = (forward(variables, parallel.shard(batch['image'])) for batch in batches)
    for first, parts in zip(itertools.count(0, batch_size), _fetched(outputs)):
        found = found or [np.empty((size, *part.shape[1:]), part.dtype) for part in parts]
        for whole, part in zip(found, parts, strict=True):
            whole[first : first + batch_size] = part[: size - first]
    return tuple(found)


def _fetched(outputs):
    """What the devices made, batch by batch, while they are at the next ones."""
    ahead = collections.deque()
    for output in outputs:
        ahead.append(output)
        if len(ahead) > _AHEAD:
            yield parallel.unshard(ahead.popleft())
    yield from map(parallel.unshard, ahead)


def views(image_set, count, flip):
    """The set, then slightly moved copies of it, up to `count` in all, to average predictions over.

    Shifts by a sixteenth of the side, edges repeated, right, left, down, up; where `flip` says that
    a mirrored image is of the same class, every second view is mirrored. No view comes twice: there
    are 5 of them, mirrored 10.
    """
    yield image_set  # as it is, larger than memory perhaps
    if count == 1:
        return
    images = np.asarray(image_set.images)
    by = max(1, images.shape[1] // 16)
    shifts = [(0, 0), (0, by), (0, -by), (by, 0), (-by, 0)]
    for i in range(1, min(count, len(shifts) * (2 if flip else 1))):
        down, right = shifts[i // 2 if flip else i]
        rows = np.clip(np.arange(images.shape[1]) - down, 0, images.shape[1] - 1)
        columns = np.clip(np.arange(images.shape[2]) - right, 0, images.shape[2] - 1)
        view = images[:, rows][:, :, columns]
        if flip and i % 2:
            view = view[:, :, ::-1]
        yield dataclasses.replace(image_set, images=view)


def save(path, probabilities, labels):
    """Writes predictions.npz: `probabilities` float32 [N, C], `labels` int32 [N]."""
    if not parallel.is_main():
        return
    with disk.atomic_write(pathlib.Path(path)) as unfinished:
        np.savez(unfinished, probabilities=probabilities, labels=labels)


def validation_metrics(probabilities, labels, prior=None):
    """{'val_loss', 'val_scaled_loss' (mean cross-entropies, nats), 'val_accuracy' in [0, 1]}.

    Args:
        probabilities: float [N, C]; labels: int [N].
        prior: float [C], by which the losses multiply them, of a network that leaves it out of what
            it predicts: validation images are as unequally many a class as those it learnt from.
    """
    accuracy = (probabilities.argmax(-1) == labels).mean()
    if prior is not None:
        probabilities = probabilities * np.asarray(prior)
        probabilities = probabilities / probabilities.sum(-1, keepdims=True)
    likelihood = probabilities[np.arange(len(labels)), labels]
    return {
        'val_loss': float(-np.log(np.maximum(likelihood, 1e-12)).mean()),
        'val_scaled_loss': scaled_loss(probabilities, labels),
        'val_accuracy': float(accuracy),
    }


def scaled_loss(probabilities, labels):
    """The lowest mean cross-entropy, nats, over temperatures of 0.1 to 30.

    What a network knows, however sure it is: one that has come to know its training images by heart
    is too sure of all others, and pays for that in its loss and not in its accuracy.

    Args:
        probabilities: float [N, C]; labels: int [N].
    Source: temperature scaling, Guo et al. 2017, arXiv 1706.04599, section 4.2; on these images.
    """
    logits = np.log(np.maximum(probabilities, 1e-12), dtype=np.float64)
    logits -= logits.max(-1, keepdims=True)
    own = logits[np.arange(len(labels)), labels]

    def loss(log_temperature):
        cold = np.exp(-log_temperature)
        return (np.log(np.exp(cold * logits).sum(-1)) - cold * own).mean()

    return float(scipy.optimize.minimize_scalar(loss, bounds=np.log((0.1, 30.0))).fun)


@functools.lru_cache(maxsize=8)
def _forward(model):
    """One compiled forward pass a network, whatever its weights."""

    def forward(variables, images):
        logits, features = model.apply(variables, augment.to_float(images))
        return jax.nn.softmax(logits), features

    return parallel.mapped(forward)
