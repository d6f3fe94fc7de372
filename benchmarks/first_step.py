"""One start of training, in a process of its own; `benchmarks.startup` runs it and adds up.

It does what a run does from its command line to the first training step, in that order, and notes
when each part is over. Most imports stand in functions because they are part of what is timed.
"""

import gc
import importlib
import time

FIRST_LINE = time.time()  # what came before is Python's own start


def start_training(model, variant, fields):
    """{part: time.time() at its end}, in the order in which they happen.

    Args:
        model: of `steps.MODELS`; variant, fields: see `steps.get_config`.
    """
    gc.disable()  # as main.py
    import jax

    from benchmarks import steps
    from data import pipeline
    from train import parallel

    importlib.import_module('train.classifying')  # main.py's; it brings all that any stage needs
    gc.freeze()
    gc.enable()
    ends = {'imports': time.time()}
    config = steps.get_config(variant, fields)
    parallel.set_up(config.cpu_devices)
    parallel.device_count()
    ends['devices'] = time.time()
    images, num_classes = _train_set(config)
    training = steps.make_training(model, config, num_classes)
    batches = pipeline.train_batches([images], [1.0], batch_size=training.batch_size, seed=0)
    batch = parallel.shard(next(batches))
    ends['data'] = time.time()
    shapes = training.initial.shapes()
    ends['shapes'] = time.time()
    state = parallel.compile_beside(training.initial.make, training.step, shapes, batch)
    jax.block_until_ready(state)
    ends['compile'] = time.time()
    jax.block_until_ready(training.step(state, batch))
    ends['first_step'] = time.time()
    return ends


def _train_set(config):
    """(training split of the config, number of classes); noise where the images are a user's."""
    from benchmarks import steps
    from train import preparing

    if config.data.source not in ('glyphs', 'digits'):
        return steps.picture_set(10_000, config.data.image_size, 10), 10
    parts = preparing.read_splits(config)
    return parts.train, len(parts.class_names)


def main():
    from benchmarks import children

    request, started = children.request()
    children.answer({'start': started, 'python': FIRST_LINE, **start_training(**request)})


if __name__ == '__main__':
    main()
