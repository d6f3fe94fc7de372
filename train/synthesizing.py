"""What the stage `synthetic` does, and what it reads: images drawn, checked, and on disk.

What takes a `folder` writes into it, but for `require_some` and `read_synthetic`. `config` is the
whole, frozen config.
"""

import functools
import hashlib
import json
import shutil
import zipfile

import jax
import numpy as np

from data import image_sets
from generation import export, priors, quality, synthesize
from train import arms, disk, generator, judging, loop, parallel, processes
from train.progress import progress, say

# What decides on images, besides the generator and its code; code that only draws pictures is left
# out, here and elsewhere: those of a finished stage stay as they are.
CODE = (
    'train/synthesizing.py', 'train/judging.py', 'eval/generative.py', 'eval/predict.py',
    'generation', 'data/image_sets.py', 'data/cache.py',
)
DRAWN = 'drawn'  # folder of batches that are not checked yet


def fill_plan(config, parts):
    """Images that each class lacks, int [C]; ValueError if an arm fills classes and none does."""
    plan = synthesize.fill_plan(parts.train_counts, config.synthesis.fill)
    fills = [arm for arm in config.arms if arms.ARMS[arm].synthetic or arms.ARMS[arm].repeated]
    if fills and not plan.any():
        raise ValueError(
            f'config.synthesis.fill={config.synthesis.fill!r} asks for no image: every class has '
            "as many already; use a number or a multiple such as '2x'"
        )
    return plan


def require_space(folder, parts, plan):
    """Raises OSError unless what is yet to be drawn into `folder` has room there."""
    # an image as drawn and its PNG, as much again for what is rejected, a block of the disk each
    size = 2 * int(plan.sum()) * (2 * parts.train.images[0].size + 4096)

    def look():
        there = sum(path.stat().st_size for path in (folder / DRAWN).glob('*'))
        disk.require_space(folder, max(0, size - there), int(plan.sum()))

    processes.on_main(look)


def make_images(folder, config, parts, plan, generator_folder, judge_folder):
    """Fills every class with images that pass the quality check, and exports them."""
    require_space(folder, parts, plan)
    params, step = generator.load(generator_folder, config.generator.steps)
    weights = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        weights.update(np.asarray(leaf).tobytes())
    draw = make_draw(config, parts)
    judge, reference, limits = judging.open_judge(judge_folder, config, parts)
    check, thresholds = judging.make_check(config.quality, judge, reference, limits)

    def make(labels, seeds):
        with progress('synthetic images') as update, loop.StopSignal() as stop:
            once = functools.partial(_once, folder / DRAWN, weights, stop)
            images = draw(params, labels, seeds, update, once)
            stop.end_if_asked()
        return images

    rows = synthesize.fill(plan, make, check, rounds=config.synthesis.rounds)
    facts = {
        'guidance_scale': config.synthesis.guidance_scale,
        'guidance_interval': list(config.synthesis.guidance_interval),
        'sampler': config.synthesis.sampler,
        'sampling_steps': config.synthesis.steps,
        'checkpoint': f'generator/checkpoints/step_{config.generator.steps:08d}'
                      + (f', best at step {step}' if step < config.generator.steps else ''),
    }
    found, sheets = judging.measure(config, parts, rows, judge, reference)
    summary = quality.summarise(rows, plan, parts.class_names) | facts
    summary |= {'generator_step': step, 'thresholds': thresholds} | found

    def write():
        export.write(folder, rows, parts.class_names, facts)
        for name, png in sheets.items():
            (folder / name).write_bytes(png)
        (folder / 'quality.json').write_text(json.dumps(summary, indent=1), 'utf-8')
        shutil.rmtree(folder / DRAWN)

    processes.on_main(write)
    rejected = ''.join(f', {n:,} {reason}' for reason, n in summary['rejected'].items() if n)
    say(f'  {summary["accepted"]:,} of {summary["made"]:,} accepted{rejected}')
    if short := summary['unfilled']:
        say(f'  {len(short)} classes lack {sum(short.values()):,} images, which were not drawn in '
            f'{config.synthesis.rounds} rounds')


def depends(config):
    """What images depend on besides generator and judge, for `stages.Runner.run`: not on how many
    are drawn at once.
    """
    drawing = {k: v for k, v in config.synthesis.to_dict().items() if k != 'batch_size'}
    return {
        'reads': {'synthesis': drawing, 'quality': config.quality},
        'code': [*generator.CODE, *CODE],
    }


def make_draw(config, parts, count=None):
    """(EMA parameters, labels, seeds) -> images, by `config.synthesis`.

    Args:
        parts: the `Splits`, of whose training images the drawn ones are to be.
        count: images at most that are asked for at once, where a batch of more would be in vain.
    """
    settings = config.synthesis
    batch_size = min(settings.batch_size, count or settings.batch_size)
    num_classes = len(parts.class_names)
    network = generator.make_model(config.generator, num_classes)
    prior = priors.fit(parts.train.images, parts.train.labels, num_classes)
    return synthesize.make_sampler(
        generator.make_predict_x0(network, config.generator), prior,
        schedule=config.generator.schedule, seed=settings.seed, sampler=settings.sampler,
        steps=settings.steps, spacing=settings.spacing, guidance_scale=settings.guidance_scale,
        batch_size=parallel.round_up(batch_size),
        guidance_interval=tuple(settings.guidance_interval),
    )


def _once(folder, weights, stop, batch, draw):
    """What draw() returns, or returned for the same batch before the run was interrupted.

    Args:
        folder: of the batches that were drawn. weights: the SHA-256 of the generator's.
        stop: a `loop.StopSignal`, by which drawing ends between two batches.
    """
    stop.end_if_asked()
    source = weights.copy()
    for name in sorted(batch):
        source.update(batch[name].tobytes())
    path = folder / f'{source.hexdigest()}.npz'
    images = _read_drawn(path)
    if not parallel.any_process(images is None):
        return images
    images = draw()

    def keep():
        with disk.atomic_write(path) as aside:
            np.savez(aside, images=images)

    processes.on_main(keep)
    return images


def _read_drawn(path):
    """The images; None where there are none, or not as they were written: they are drawn again."""
    try:
        with np.load(path) as stored:
            return stored['images']
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile):
        return None


def require_some(folder):
    """ValueError if no image passed the quality check."""
    if not json.loads((folder / 'quality.json').read_text('utf-8'))['accepted']:
        raise ValueError(
            f'{folder}: no synthetic image passed the quality check, see quality.json; train the '
            'generator longer (config.generator.steps) or relax config.quality'
        )


def read_synthetic(folder):
    """The exported images, as an `ImageSet`."""
    images, labels, names = export.read(folder)
    return image_sets.ImageSet(np.stack(images), labels, tuple(names))
