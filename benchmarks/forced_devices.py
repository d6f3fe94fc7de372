"""Training steps on a forced number of CPU devices, in one process or as one of several.

`benchmarks.scaling` runs it: how many devices a CPU is split into is fixed when JAX starts.
"""

import itertools

from benchmarks import children, common, steps
from data import pipeline
from train import parallel, processes

PREPARED = 8  # batches that the steps go round


def measure(model, devices, variant, fields, count, place):
    """{'ms': a step, 'batch': images}, from `count` steps after as many that do not count.

    Args:
        devices: of all processes.
        place: of this process among several, what `processes.join` takes; {}: it is alone.
    """
    parallel.set_up(devices // place.get('num_processes', 1))
    processes.join(**place)
    if parallel.device_count() != devices:
        raise RuntimeError(f'{parallel.device_count()} devices instead of {devices}')
    config = steps.get_config(variant, fields)
    images = steps.picture_set(1024, config.data.image_size, 37)
    training = steps.make_training(model, config, 37)
    index, number = parallel.process()
    drawn = pipeline.train_batches(
        [images], [1.0], batch_size=training.batch_size, seed=0,
        process_index=index, process_count=number,
    )
    batches = [parallel.shard(batch) for batch in itertools.islice(drawn, PREPARED)]
    feed = steps.feeder(training, count, lambda: itertools.cycle(batches))
    ms = common.interleaved({'step': feed}, rounds=1, repeats=1)['step']['median']
    return {'ms': ms / count, 'batch': training.batch_size}


if __name__ == '__main__':
    request, _ = children.request()
    children.answer(measure(**request))
