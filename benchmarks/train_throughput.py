"""How fast a training step is: ours against the same networks in PyTorch, and diffusers' U-Net.

    python -m benchmarks.train_throughput --variant folder
    python -m benchmarks.train_throughput --only 'U-Net, (ours|torch$)'

A step is what the product does in one: a host batch to the devices, noise, forward, backward,
clipping, Adam, the moving average (generator). All take turns on one machine. What only our step
can do is off: class-balancing, rotation, scaling and RandAugment; the classifier is the CNN.
"""

import dataclasses
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import numpy as np

from benchmarks import children, common, flops
from benchmarks import steps as steps_lib
from configs import augmented
from data.augment import CONDITION_SIZE
from train import classifier, generator, parallel

try:
    import torch

    from benchmarks import peer_steps, peers
except ImportError:  # then ours alone is measured
    torch = None
try:
    import diffusers

    from benchmarks import peer_unet
except ImportError:
    diffusers = None

NUM_CLASSES = 37
EAGER, COMPILED = 'torch', 'torch.compile'
DIFFUSERS, DIFFUSERS_COMPILED = 'diffusers', 'diffusers, torch.compile'


@dataclasses.dataclass(frozen=True)
class Task:
    """What is trained: the Flax `model` under a frozen `config.generator` or `.classifier`."""

    config: Any
    model: Any
    image_shape: tuple

    @property
    def generates(self):
        return not isinstance(self.model, classifier.cnn.CNN)

    @functools.cached_property
    def batch(self):
        """A host batch of noise."""
        rng, size = np.random.default_rng(0), self.config.batch_size
        return {
            'image': rng.integers(0, 256, (size, *self.image_shape), np.uint8),
            'label': rng.integers(0, NUM_CLASSES, size, np.int32),
            'weight': np.ones(size, np.float32),
        }


@dataclasses.dataclass(frozen=True)
class Case:
    """`turn()` trains some steps and waits for them; `facts` are columns of the case's row."""

    turn: Callable
    facts: dict


def tasks(variant):
    """{name: Task} of the networks of a variant of configs/augmented.py."""
    config = augmented.get_config(variant)
    config.generator.update(cbdm_weight=0.0, augment_rotate=0.0, augment_scale=0.0)
    config.classifier.network = 'cnn'
    if config.classifier.augment == 'randaugment':
        config.classifier.augment = 'flip_shift'
    shape = (config.data.image_size, config.data.image_size, 3)
    found = {}
    for name, backbone in (('U-Net', 'unet'), ('DiT', 'dit')):
        config.generator.backbone = backbone
        frozen = ml_collections.FrozenConfigDict(config.generator)
        found[name] = Task(frozen, generator.make_model(frozen, NUM_CLASSES), shape)
    frozen = ml_collections.FrozenConfigDict(config.classifier)
    return found | {'CNN': Task(frozen, classifier.make_model(frozen, NUM_CLASSES), shape)}


def ours(task, steps):
    """The product's step, over all devices."""
    training = steps_lib.of_settings(task.config, task.image_shape, NUM_CLASSES)
    step, state = training.step, training.initial.make()
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))

    def turn(count=steps):
        nonlocal state
        for _ in range(count):
            state, metrics = step(state, parallel.shard(task.batch))
        jax.block_until_ready(metrics)

    compiling = _seconds(lambda: turn(1))  # first: to count FLOPs traces the step, too
    inputs = state, parallel.shard(task.batch)
    facts = {
        'GFLOP/step': flops.by_products(step, *inputs),
        'XLA GFLOP/step': flops.by_xla(step, *inputs),
        'parameters': parameters, 'compile s': compiling,
    }
    return Case(turn, facts)


def theirs(task, steps, kind):
    """A peer's step, on one device; `kind` is one of EAGER, COMPILED and the two of diffusers."""
    config = task.config
    peer_steps.set_up()
    if kind in (DIFFUSERS, DIFFUSERS_COMPILED):
        network = peer_unet.UNet2D(config, NUM_CLASSES, task.image_shape)
    else:
        network = peers.twin(task.model, task.image_shape)
    network = network.to(peer_steps.DEVICE, memory_format=torch.channels_last)
    facts = counted(task, network) | {'parameters': sum(p.numel() for p in network.parameters())}
    if task.generates:
        loss_fn = peer_steps.generator_loss(network, config, NUM_CLASSES)
    else:
        loss_fn = peer_steps.classifier_loss(network, config)
    compiled = kind in (COMPILED, DIFFUSERS_COMPILED)
    if compiled:
        loss_fn = torch.compile(loss_fn, dynamic=False)
    step = peer_steps.make_step(
        network, loss_fn, config, b2=config.get('adam_b2', 0.999),
        clip=config.get('clip_norm', 0.0), ema_decay=config.get('ema_decay', 0.0),
    )

    def turn(count=steps):
        for _ in range(count):
            step(task.batch)
        peer_steps.wait()

    seconds = _seconds(lambda: turn(1))
    facts |= {'compile s': seconds} if compiled else {}
    facts['threads'], turn = peer_steps.fastest_threads(turn)
    return Case(turn, facts)


def counted(task, network):
    """The columns of PyTorch's FLOP counter."""
    height, width, channels = task.image_shape
    inputs = [torch.zeros(1, channels, height, width)]
    if task.generates:
        inputs += [torch.zeros(1), torch.zeros(1, dtype=torch.long), torch.zeros(1, CONDITION_SIZE)]
    forward, both = flops.by_counter(network, inputs)
    return {'GFLOP/image': forward, 'GFLOP/step': both * task.config.batch_size}


def builders(name, task, steps):
    """{case: function that builds it}, ours first."""
    found = {f'{name}, ours': functools.partial(ours, task, steps)}
    if torch is not None:
        kinds = [EAGER, COMPILED]
        if name == 'U-Net' and diffusers is not None:
            kinds += [DIFFUSERS, DIFFUSERS_COMPILED]
        found |= {f'{name}, {kind}': functools.partial(theirs, task, steps, kind) for kind in kinds}
    return found


def measure(name, task, options, product_rate, notes):
    """The rows of one task's cases; a case that cannot be built becomes a note.

    Large matrix products take a turn beside them; the fastest is the peak of these rows.
    """
    cases = {}
    for case, build in builders(name, task, options.steps).items():
        if not re.search(options.only, case):
            continue
        try:
            start = time.perf_counter()
            cases[case] = build()
            print(f'{case}: ready in {time.perf_counter() - start:.0f} s', file=sys.stderr)
        except Exception as error:  # a peer's, as torch.compile has many
            if case == f'{name}, ours':
                raise
            notes.append(f'{case}: left out, {type(error).__name__}: {str(error)[:200]}')
    turns = {case: built.turn for case, built in cases.items()}
    rates = []
    products = {'': lambda: rates.append(product_rate())}
    times = common.interleaved(turns | products, rounds=options.rounds, repeats=1)
    notes.append(f'Peak beside {name}: {max(rates):,.0f} GFLOP/s, at least {min(rates):,.0f}.')
    rows = []
    for case, built in cases.items():
        spent = {key: value / options.steps for key, value in times[case].items()}
        rows.append(_row(case, spent, built.facts, task.config.batch_size, max(rates)))
    baseline = next((row['images/s'] for row in rows if row['case'] == f'{name}, {EAGER}'), None)
    for row in rows:
        row['x torch'] = row['images/s'] / baseline if baseline else None
    return rows


def _seconds(action):
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _row(case, spent, facts, batch_size, peak):
    return {
        'case': case, 'ms/step': spent['median'], 'min': spent['min'], 'max': spent['max'],
        'images/s': 1e3 * batch_size / spent['median'], 'x torch': None,
        'GFLOP/image': facts.get('GFLOP/image'), 'GFLOP/step': facts['GFLOP/step'],
        'XLA GFLOP/step': facts.get('XLA GFLOP/step'),
        '% of peak': 100 * facts['GFLOP/step'] / (peak * 1e-3 * spent['median']),
        'threads': facts.get('threads'), 'parameters': facts['parameters'],
        'compile s': facts.get('compile s'),
    }


def peak_memory(build):
    """MiB that building and running a case takes at most, beyond the imports, in this process."""
    before = children.peak_mb()
    build().turn()
    if torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    stats = jax.devices()[0].memory_stats()  # None on CPU
    if stats:
        return stats['peak_bytes_in_use'] / 2**20
    return children.peak_mb() - before


def memory_of(case, options):
    """`peak_memory` of a case in a process of its own, which alone tells it from the others'."""
    command = [
        sys.executable, '-m', __spec__.name, '--variant', options.variant, '--memory',
        '--only', case, '--steps', str(options.steps),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    options = common.arguments(
        __doc__.splitlines()[0], variant='', rounds=5, steps=40, only='', memory=False
    )
    os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')  # PyTorch wants some, too
    parallel.set_up(0)
    jax.config.update('jax_enable_compilation_cache', False)  # 'compile s' is of a first run
    found = tasks(options.variant)
    every = {
        case: build for name, task in found.items()
        for case, build in builders(name, task, options.steps).items()
    }
    if options.memory and options.only in every:
        print(json.dumps(peak_memory(every[options.only])))
        return
    report(found, options)


def report(found, options):
    """Measures the tasks `found` and writes the table, what there is of it after each task."""
    product_rate = flops.product_rates()
    notes = [common.load(), 'Peak: the best of large matrix products on all devices, in turns.']
    if torch is None or diffusers is None:
        notes.append(common.PEERS_MISSING)
    sizes = ', '.join(f'{name} {task.config.batch_size}' for name, task in found.items())
    notes += [f'Images a step: {sizes}. {options.rounds} turns of {options.steps} steps.']
    table = {
        'name': 'train_throughput', 'rows': [], 'out': options.out, 'notes': notes,
        'title': f'Training step, {parallel.describe()}', 'variant': options.variant,
    }
    with tempfile.TemporaryDirectory() as cache:  # else a first run's kernels would be found again
        os.environ['TORCHINDUCTOR_CACHE_DIR'] = cache
        for name, task in found.items():
            table['rows'] += measure(name, task, options, product_rate, notes)
            common.save(**table)
    if options.memory:
        for row in table['rows']:
            row['peak MiB'] = memory_of(row['case'], options)
    common.report(**table)


if __name__ == '__main__':
    main()
