"""How fast images are drawn, and how good they are after how many steps.

    python -m benchmarks.sampling
    python -m benchmarks.sampling --run runs/augmented

The first table sets the product's sampler beside diffusers' schedulers around the same U-Net in
PyTorch, with equal weights, evaluations and batch. The second, for a finished run, gives the kernel
distance between features of its samples and of its validation images, by the run's own judge.
"""

import functools
import itertools
import json
import os
import pathlib

import jax
import ml_collections
import numpy as np

from benchmarks import common
from benchmarks import steps as steps_lib
from configs import augmented, default
from data import cache, image_sets
from eval import generative
from train import generator, judging, parallel, synthesizing
from train import state as state_lib

try:
    import torch

    from benchmarks import peer_sampling, peer_steps, peers, weights
except ImportError:  # then ours alone is measured
    torch = None

NUM_CLASSES = 37
SAMPLERS = {'ddim': 'DDIM', 'dpm++': 'DPM-Solver++'}
STEPS = (5, 10, 20, 50, 250)


def make_sampler(config, parts, **settings):
    """The product's sampler under `config`, some of its `synthesis` settings replaced."""
    config = ml_collections.ConfigDict(config)
    config.synthesis.update(settings)
    return synthesizing.make_draw(config, parts)


def speed(config, options, write):
    """The rows of the first table, one for each sampler, guidance and side.

    Args:
        write: called with those there are, after each sampler and guidance.
    """
    shape = (config.data.image_size, config.data.image_size, 3)
    model = generator.make_model(config.generator, NUM_CLASSES)
    params = initial_params(model, config.generator, shape)
    network = None
    if torch is not None:
        network = peers.twin(model, shape)
        weights.copy_weights(network, params)
        network = peer_sampling.prepare(network)
    params = parallel.replicate(params)
    size = options.batch
    labels, seeds = np.arange(size) % NUM_CLASSES, np.arange(size)
    one_each = steps_lib.picture_set(NUM_CLASSES, config.data.image_size, NUM_CLASSES)
    parts = image_sets.Splits(one_each, one_each, one_each, one_each.names)
    rows = []
    for (sampler, name), scale in itertools.product(SAMPLERS.items(), (1.0, 1.2)):
        settings = {'sampler': sampler, 'steps': options.steps, 'guidance_scale': scale}
        make = make_sampler(config, parts, batch_size=size, **settings)
        threads = None
        cases = {'ours': functools.partial(make, params, labels, seeds)}
        if network is not None:
            run = functools.partial(
                peer_sampling.sample, network, labels, NUM_CLASSES, shape, **settings
            )
            threads, cases['diffusers'] = peer_steps.fastest_threads(run)
        times = common.interleaved(cases, rounds=options.rounds, repeats=1)
        base = times.get('diffusers', {}).get('median')
        for side, spent in times.items():
            each = {key: value / options.steps for key, value in spent.items()}
            rows.append({
                'case': f'{name}, {side}', 'guidance': scale,
                'images/s': 1e3 * size / spent['median'], 'ms/evaluation': each['median'],
                'min': each['min'], 'max': each['max'],
                'x diffusers': base and base / spent['median'],
                'threads': threads if side == 'diffusers' else None,
            })
        write(rows=rows)
    return rows


def initial_params(model, config, shape):
    """Parameters at step 0, but for the zero layers: they get noise, so that outputs are not 0."""
    optimizer = state_lib.make_optimizer(learning_rate=1e-3, steps=1)
    params = generator.initial_state(model, optimizer, config, shape).make().params
    rng = np.random.default_rng(0)
    noise = lambda leaf: leaf + 0.01 * rng.standard_normal(leaf.shape, np.float32)  # noqa: E731
    return jax.tree.map(noise, jax.device_get(params))


def quality(run, options):
    """The rows of the second table: a finished run's generator, by sampler and steps.

    Samples have the classes of the validation images. Each of `options.seeds` sets has
    `options.images` images or a few more, to be whole multiples of the validation set.
    """
    config = read_config(run)
    parts = cache.load(run / 'data')
    judge, reference, _ = judging.open_judge(run / 'judge', config, parts)
    real, of_real = reference.held_out_features, reference.held_out_labels

    def distance(features, of):
        return generative.kernel_distance(features, real, of, of_real)

    params = parallel.replicate(generator.load(run / 'generator')[0])
    repeats = -(-options.images // len(reference.held_out_labels))
    labels = np.tile(reference.held_out_labels, repeats)
    rows = [{'case': 'training images', 'evaluations': None} | _spread(
        [distance(reference.features, reference.labels)])]
    for sampler, name in SAMPLERS.items():
        for steps in STEPS:
            make = make_sampler(config, parts, sampler=sampler, steps=steps)
            distances = []
            for seed in range(options.seeds):
                images = make(params, labels, seed * len(labels) + np.arange(len(labels)))
                features = judge(images, labels)[1]
                distances.append(distance(features, labels))
            rows.append({'case': name, 'evaluations': steps} | _spread(distances))
    scale = config.synthesis.guidance_scale
    notes = [
        f'{run}: {options.seeds} sets of {len(labels):,} images against {len(real):,} validation '
        f'images, guidance {scale:g}' + ' (two evaluations a step)' * (scale != 1) + '.',
    ]
    return rows, notes


def read_config(run):
    """The frozen config of a finished run, from its config.json."""
    saved = default.flat(json.loads((run / 'config.json').read_text('utf-8'))['config'])
    config = default.get_config()
    with config.ignore_type():
        config.update_from_flattened_dict(saved)
    return ml_collections.FrozenConfigDict(config)


def _spread(values):
    return {
        'kernel distance': float(np.median(values)), 'lowest': min(values), 'highest': max(values),
    }


def main():
    options = common.arguments(
        __doc__.splitlines()[0], variant='', batch=256, steps=12, rounds=5, run='', images=500,
        seeds=3,
    )
    os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')  # PyTorch wants some, too
    parallel.set_up(0)
    config = ml_collections.FrozenConfigDict(augmented.get_config(options.variant))
    notes = [
        common.load(),
        f'{options.batch} images a batch, {options.steps} steps; with guidance other than 1 an '
        'evaluation is of twice the batch.',
    ]
    if torch is None:
        notes.append(common.PEERS_MISSING)
    table = {
        'name': 'sampling', 'out': options.out, 'notes': notes, 'variant': options.variant,
        'title': f'Sampling, {parallel.describe()}',
    }
    rows = speed(config, options, functools.partial(common.save, **table))
    common.report(**table, rows=rows)
    if not options.run:
        print('No --run, so no table of quality against steps.')
        return
    rows, notes = quality(pathlib.Path(options.run), options)
    common.report(
        'sampling_quality', rows, out=options.out, notes=notes, title='Quality against steps'
    )


if __name__ == '__main__':
    main()
