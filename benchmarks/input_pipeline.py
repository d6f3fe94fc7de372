"""Can the data keep up with the step? Images/s of the input pipeline, part by part.

    python -m benchmarks.input_pipeline [--variant=folder] [--images=50000]

Measured in turns: the ordering of grain, what the gather adds, what the transfer and the device's
augmentation add, PyTorch's DataLoader over the same decoded arrays, and the training step itself
on batches prepared beforehand, whose appetite the others are compared with. Then the share of a
step that is spent waiting for data: the same steps fed by the pipeline and by prepared batches.
"""

import functools
import itertools

import jax
import ml_collections
import numpy as np

from benchmarks import common, steps
from data import augment, pipeline
from train import classifier, parallel
from train import state as state_lib

# What is done on the device to the batches of each; 'none' is the transfer alone.
AUGMENTED = {
    'generator': ('none', 'flip_shift'), 'classifier': ('none', 'flip_shift', 'randaugment'),
}
SHORTER = 10  # times as short, and as many, are the turns of the steps
PREPARED = 8  # batches that the prepared cases go round: too few to fall out of memory
TURNS = {'torch item by item': 0, 'torch item by item, 2 workers': 2, 'torch whole batches': None}


def measure(name, config, images, *, steps_each, rounds):
    """Rows of one model.

    Args:
        name: of `steps.MODELS`; config: the whole, frozen config.
        images: an `ImageSet`.
        steps_each: steps a round; rounds: turns of the parts of the pipeline, an epoch each, so
            that the shuffle at its start is paid once a turn.
    Returns:
        [{'case', 'batch': images, 'ms': a batch, median; 'ms_min', 'ms_max', 'images_per_s',
        'of_appetite': images/s in units of the step's}].
    """
    training = steps.make_training(name, config, len(np.unique(images.labels)))
    size = training.batch_size
    # These three differ by less than a shared machine's speed does in a second: short turns.
    few, epoch = -(-steps_each // SHORTER), max(len(images) // size, 1)
    fed = common.interleaved(_fed(training, images, few), rounds=SHORTER * rounds, repeats=1)
    cases = _host(images, size, epoch)
    cases |= {
        'ordering + gather + transfer' + (f' + {kind}' if kind != 'none' else ''):
            _augmented(kind, config, images, size, epoch)
        for kind in AUGMENTED[name]
    }
    cases |= _torch(images, size, epoch)
    rest = common.interleaved(cases, rounds=rounds, repeats=1)
    times = {case: _each(t, few) for case, t in fed.items()}
    times |= {case: _each(t, epoch) for case, t in rest.items()}
    appetite = times['step, batches on the device']['median']
    return [
        {
            'case': f'{name}: {case}', 'batch': size,
            'ms': t['median'], 'ms_min': t['min'], 'ms_max': t['max'],
            'images_per_s': 1e3 * size / t['median'], 'of_appetite': appetite / t['median'],
        }
        for case, t in times.items()
    ]


def _each(times, batches):
    return {name: value / batches for name, value in times.items()}


def waiting(rows):
    """Shares of a step, fed by the pipeline, that it waits for data.

    Args:
        rows: of `measure`.
    Returns:
        {'for the pipeline': by how much steps on prepared batches are quicker, below 0 where noise
        is the larger; 'for the transfer': the same of batches prepared on the device; 'at most':
        the pipeline's own time, which is the wait if none of it is hidden behind the device}.
    """
    ms = {row['case'].split(': ')[1]: row['ms'] for row in rows}
    fed, host = ms['step, fed by the pipeline'], ms['step, batches on the host']
    return {
        'for the pipeline': 1 - host / fed,
        'for the transfer': (host - ms['step, batches on the device']) / fed,
        'at most': ms['ordering + gather'] / fed,
    }


def _stream(images, batch_size):
    return pipeline.train_batches([images], [1.0], batch_size=batch_size, seed=0)


def _fed(training, images, batches):
    """{case: function}: the step, by where its batches come from."""
    streams = {
        'step, batches on the device': lambda: itertools.cycle(map(_put, host())),
        'step, batches on the host': lambda: itertools.cycle(host()),
        'step, fed by the pipeline': lambda: map(
            parallel.shard, _stream(images, training.batch_size)),
    }

    def host():
        drawn = itertools.islice(_stream(images, training.batch_size), PREPARED)
        return [parallel.shard(batch) for batch in drawn]

    return {case: steps.feeder(training, batches, make) for case, make in streams.items()}


@functools.cache
def _identity():
    """What puts a batch on the devices exactly as the pmapped step wants it."""
    return parallel.mapped(lambda _, batch: batch)


def _put(batch):
    return _identity()(np.int32(0), batch)


def _host(images, batch_size, batches):
    """{case: function}: what costs host time alone."""
    order = pipeline.index_batches([np.arange(len(images))], [1.0], batch_size=batch_size, seed=0)
    return {
        'ordering': functools.partial(_take, order, batches),
        'ordering + gather': functools.partial(_take, _stream(images, batch_size), batches),
    }


def _take(iterator, count):
    for _ in itertools.islice(iterator, count):
        pass


def _augmented(kind, config, images, batch_size, batches):
    """A function that brings batches through `kind` of augmentation, as the classifier's step does.

    Args:
        kind: a value of `config.classifier.augment`.
    """
    settings = config.classifier.to_dict() | {'augment': kind, 'augment_flip': True}
    settings = ml_collections.FrozenConfigDict(settings)
    rng = jax.random.key_data(jax.random.key(0))

    def on_device(step, batch):
        keys = state_lib.example_keys(rng, step, batch['label'].shape[0])
        return classifier.augment_images(keys, augment.to_float(batch['image']), settings)

    mapped, stream = parallel.mapped(on_device), _stream(images, batch_size)

    def run():
        for i, batch in enumerate(itertools.islice(stream, batches), start=1):
            made = mapped(np.int32(i), parallel.shard(batch))
            parallel.throttle(made, i)
        jax.block_until_ready(made)

    return run


def _torch(images, batch_size, batches):
    """{case: function} of PyTorch's DataLoader, {} where it is not installed."""
    try:
        from benchmarks import torch_loader
    except ModuleNotFoundError:
        return {}
    streams = {
        case: torch_loader.endless(images, batch_size, workers) for case, workers in TURNS.items()
    }
    return {case: functools.partial(_take, stream, batches) for case, stream in streams.items()}


def main():
    options = common.arguments(
        'Images/s of the input pipeline against the appetite of the training steps.',
        variant='', images=20_000, classes=37, steps=100, rounds=5,
    )
    config = steps.get_config(options.variant)
    parallel.set_up(config.cpu_devices)
    images = steps.picture_set(options.images, config.data.image_size, options.classes)
    rows, notes = [], []
    for name in steps.MODELS:
        found = measure(name, config, images, steps_each=options.steps, rounds=options.rounds)
        rows += found
        share = waiting(found)
        notes.append(
            f'{name}: a step waits {share["for the pipeline"]:.1%} of its time for the pipeline '
            f'(by its own time {share["at most"]:.2%} at most), '
            f'{share["for the transfer"]:.1%} for the transfer'
        )
    if not any('torch' in row['case'] for row in rows):
        notes.append('PyTorch is not installed: no DataLoader to compare with')
    notes.append('ms are of a batch; of_appetite is images/s over those of the step alone')
    common.report(
        'input_pipeline', rows, out=options.out, notes=notes, variant=options.variant,
        title=f'{options.images:,} images of {config.data.image_size} px, medians of '
              f'{options.rounds} epochs and of {options.rounds} x {options.steps} steps',
    )


if __name__ == '__main__':
    main()
