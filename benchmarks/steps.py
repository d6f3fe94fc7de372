"""The two training steps as the product takes them, on images that need no download."""

import collections
import itertools

import jax
import ml_collections
import numpy as np

from configs import augmented
from data import image_sets
from train import classifier, generator, parallel

MODELS = ('generator', 'classifier')

Training = collections.namedtuple('Training', 'step initial batch_size')
Training.__doc__ = """A step, its `state.InitialState`, and its global batch size."""


def get_config(variant='', fields=None):
    """A frozen config of configs/augmented.py; `fields` ({'generator.steps': 3}) differ from it."""
    config = augmented.get_config(variant)
    config.update_from_flattened_dict(fields or {})
    return ml_collections.FrozenConfigDict(config)


def pictures(count, side, seed=0, some=4096):
    """uint8 [count, side, side, 3] with about the spectrum of photographs, 1 / frequency.

    Noise in squares of every size, the larger the stronger; made `some` at a time.
    """
    rng, images = np.random.default_rng(seed), np.empty((count, side, side, 3), np.uint8)
    for first in range(0, count, some):
        chunk = images[first : first + some]
        values = np.full(chunk.shape, 128, np.float32)
        for cells in (size for size in range(1, side + 1) if side % size == 0):
            noise = rng.standard_normal((len(chunk), cells, cells, 3), np.float32)
            values += (40 / cells * noise).repeat(side // cells, 1).repeat(side // cells, 2)
        chunk[:] = values.clip(0, 255)
    return images


def picture_set(count, side, classes, seed=0):
    """An `ImageSet` of `pictures`, [count, side, side, 3], whose classes are equally large."""
    images = pictures(count, side, seed)
    labels = (np.arange(count) % classes).astype(np.int32)
    return image_sets.ImageSet(images, labels, tuple(f'{i}.png' for i in range(count)))


def make_training(name, config, num_classes):
    """The `Training` of one of MODELS; `config` is the whole, frozen config."""
    shape = (config.data.image_size, config.data.image_size, 3)
    return of_settings(config[name], shape, num_classes)


def of_settings(settings, shape, num_classes):
    """The `Training` of a frozen `config.generator` or `config.classifier`; shape = (H, W, C)."""
    if 'backbone' in settings:
        model, optimizer, step = generator.build(settings, num_classes)
        initial = generator.initial_state(model, optimizer, settings, shape)
    else:
        model, optimizer, step = classifier.build(settings, num_classes)
        initial = classifier.initial_state(model, optimizer, settings, shape, 0)
    return Training(step, initial, settings.batch_size)


def feeder(training, count, make_batches):
    """A function that takes `count` steps and returns when the last one is done.

    Args:
        make_batches: called once; an endless iterator of sharded batches, on the host or the
            devices. It goes on, with the state, from call to call.
    """
    state, batches = training.initial.make(), make_batches()

    def feed():
        nonlocal state
        for i, batch in enumerate(itertools.islice(batches, count), start=1):
            state, metrics = training.step(state, batch)
            parallel.throttle(metrics, i)  # as the loop does
        jax.block_until_ready(metrics)

    return feed
