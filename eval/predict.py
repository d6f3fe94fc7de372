"""checkpoint -> predictions.npz. The last file of a run that needs a device."""

import functools
import pathlib

import jax
import numpy as np

from data import augment, pipeline
from train import parallel


def predict(model, variables, image_set, batch_size):
    """Class probabilities and features of every image, in the set's order.

    Args:
        model: a classifier, (x [B, H, W, 3]) -> (logits [B, C], features [B, F]).
        variables: its {'params', ...}.
        batch_size: over all devices.
    Returns:
        (probabilities float32 [N, C], features float32 [N, F]).
    """
    forward = _forward(model)
    size = len(image_set.labels)
    index, count = parallel.process()
    outputs = [
        forward(variables, parallel.shard(batch['image']))
        for batch in pipeline.eval_batches(
            image_set, batch_size=batch_size, process_index=index, process_count=count
        )
    ]
    outputs = [parallel.unshard(output) for output in outputs]  # after all were dispatched
    return tuple(np.concatenate(part)[:size] for part in zip(*outputs, strict=True))


def save(path, probabilities, labels):
    """Writes predictions.npz: `probabilities` float32 [N, C], `labels` int32 [N]."""
    if not parallel.is_main():
        return
    path = pathlib.Path(path)
    unfinished = path.with_name('unfinished_' + path.name)
    np.savez(unfinished, probabilities=probabilities, labels=labels)
    unfinished.rename(path)


def validation_metrics(probabilities, labels):
    """{'val_loss' (mean cross-entropy, nats), 'val_accuracy' in [0, 1]}."""
    likelihood = probabilities[np.arange(len(labels)), labels]
    return {
        'val_loss': float(-np.log(np.maximum(likelihood, 1e-12)).mean()),
        'val_accuracy': float((probabilities.argmax(-1) == labels).mean()),
    }


@functools.lru_cache(maxsize=8)
def _forward(model):
    """One compiled forward pass a network, whatever its weights."""

    def forward(variables, images):
        logits, features = model.apply(variables, augment.to_float(images))
        return jax.nn.softmax(logits), features

    return parallel.mapped(forward)
