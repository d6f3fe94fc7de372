"""Which backbone learns most in the same time?

    python -m benchmarks.backbones [--minutes=3]
    python -m benchmarks.backbones --variant=folder --train=photos.zip

First the training steps of both take turns, on noise. Then each is trained, whole, for as many
steps as it does in so many minutes, its learning rate brought to zero over them, and the validation
loss stands for what it has learnt: the same noise, levels and weights for both, and no test image.
What else the machine does after the first part changes nothing but the waiting.
"""

import json
import pathlib
import tempfile

import ml_collections

from benchmarks import common, steps
from data import pipeline
from train import generator, parallel, preparing, provenance
from train.progress import progress

NOTES = (
    'steps: what the minutes hold at the ms that were measured, median, min and max of turns',
    'val_loss: of the denoising, of the average at the last step; best: the lowest on the way',
    "one seed each; both at the config's learning rate, average and patch size, which were chosen "
    'for the U-Net',
)


def measure(config, *, minutes, steps_each, rounds):
    """Rows, one for each backbone: its step, and what it reaches in so many minutes.

    Args:
        config: the whole, frozen config. All but the backbone, the steps and, where these are
            few, `generator.warmup_steps` is the same for all.
        steps_each: steps a turn; rounds: turns.
    """
    parts, rows = preparing.read_splits(config), []
    num_classes, batch_size = len(parts.class_names), config.generator.batch_size
    variants = {name: _with(config.generator, backbone=name) for name in generator.BACKBONES}
    noise = steps.picture_set(10 * batch_size, config.data.image_size, num_classes)

    def batches():
        made = pipeline.train_batches([noise], [1.0], batch_size=batch_size, seed=0)
        return map(parallel.shard, made)

    shape = parts.train.images.shape[1:]
    turns = {
        name: steps.feeder(steps.of_settings(settings, shape, num_classes), steps_each, batches)
        for name, settings in variants.items()
    }
    times = common.interleaved(turns, rounds=rounds, repeats=1)
    for name, settings in variants.items():
        ms = {key: value / steps_each for key, value in times[name].items()}
        count = max(1, round(60e3 * minutes / ms['median']))
        settings = _with(
            settings, steps=count, validate_every=max(1, count // 20),
            warmup_steps=min(settings.warmup_steps, count // 10),
        )
        losses = _train(settings, parts)
        rows.append({
            'backbone': name, 'ms': ms['median'], 'ms_min': ms['min'], 'ms_max': ms['max'],
            'minutes': minutes, 'steps': count, 'val_loss': losses[-1], 'best': min(losses),
        })
    return rows


def _with(settings, **fields):
    """The frozen `config.generator` with other fields."""
    return ml_collections.FrozenConfigDict(settings.to_dict() | fields)


def _train(settings, parts):
    """Validation losses on the way of a generator trained in a folder that then goes."""
    with tempfile.TemporaryDirectory() as folder, progress(settings.backbone) as update:
        generator.train(
            folder, settings, parts.train, parts.validation, num_classes=len(parts.class_names),
            update=update,
        )
        log = pathlib.Path(folder, 'metrics.jsonl').read_text('utf-8')
        rows = map(json.loads, log.splitlines())
        return [row['val_loss'] for row in rows if 'val_loss' in row]


def main():
    options = common.arguments(
        'The validation loss that each backbone reaches in the same time.',
        variant='', train='', minutes=3.0, steps=20, rounds=7,
    )
    load, config = common.load(), steps.get_config(options.variant, {'data.train': options.train})
    parallel.set_up(config.cpu_devices)
    rows = measure(config, minutes=options.minutes, steps_each=options.steps, rounds=options.rounds)
    name, size = provenance.dataset_name(config.data), config.data.image_size
    batch = config.generator.batch_size
    common.report(
        'backbones', rows, out=options.out, notes=[*NOTES, load],
        variant=options.variant or 'glyphs',
        title=f'{name}: backbones after {options.minutes:g} minutes, {size}x{size}, batch {batch}',
    )


if __name__ == '__main__':
    main()
