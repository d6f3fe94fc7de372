"""`:auto`: image size, networks, steps and dose from the data and the device, and why.

    python main.py --config=configs/augmented.py:auto --config.data.train=photos.zip

The rules are those by which the other variants were set: they were made on glyphs, groceries and 37
classes of CIFAR-100, and are a start, not an optimum. What is set on the command line stays.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from configs import augmented
from configs.default import flat
from generation.synthesize import fill_plan

IMAGES = 1000  # training images, about, for which `:folder` and `:grocery` have their steps
MODELS = 'generator', 'judge', 'classifier'
MOST = 10  # synthetic images to a real one, at most, with which classes are filled to '4x'


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a choice rests on.

    Attributes:
        counts: training images of each class.
        side: median of the images' smaller sides, pixels.
        grey: whether all looked at have no colour.
        accelerator: whether there is a GPU or TPU.
    """

    counts: Sequence[int]
    side: int
    grey: bool
    accelerator: bool


def names():
    """The fields that `choose` may set."""
    usual, on_a_gpu = (flat(augmented.get_config(name)) for name in ('folder', 'grocery'))
    return {name for name, value in on_a_gpu.items() if value != usual[name]} | {
        'data.image_size', 'generator.patch_size', 'generator.steps', 'generator.sample_every',
        'judge.steps', 'classifier.steps', 'classifier.seeds', 'synthesis.fill', 'report.few',
        'report.many', *(f'{model}.augment_flip' for model in MODELS),
    }


def choose(facts, given):
    """[({field: value}, why)], in the order in which they apply on top of `:folder`.

    Args:
        given: {field: value} of what is set by hand, which the rest has to fit.
    """
    total, counts = sum(facts.counts), np.array(facts.counts)
    usual = flat(augmented.get_config('folder'))
    chosen: list[tuple[dict[str, object], str]] = []
    large = facts.accelerator and facts.side >= 48
    size = 64 if large else 16 if facts.side <= 20 else 32
    where = 'an accelerator carries 64' if large else 'what two CPU cores can learn to draw'
    if facts.accelerator and not large:
        where = 'they hold no more'
    why = f'images of {facts.side} pixels; {where}'
    chosen.append(({'data.image_size': size}, why))
    size = given.get('data.image_size', size)
    large = facts.accelerator and size > 32
    if size <= 16:
        chosen.append(({'generator.patch_size': 1}, 'no patches, for the grid of 32x32'))
    if large:
        on_a_gpu = flat(augmented.get_config('grocery'))
        differ = {name: value for name, value in on_a_gpu.items() if value != usual[name]}
        chosen.append((differ, 'networks and their training as in :grocery, for one GPU'))
        usual = on_a_gpu
    grown = float(np.clip((total / IMAGES) ** 0.5, 0.5, 4.0))
    # roughly, so that a few more images do not make other settings of a run's
    steps = 1000 * round(usual['generator.steps'] * grown / 1000)
    chosen.append(({
        'generator.steps': steps,
        'generator.sample_every': max(1, given.get('generator.steps', steps) // 8),
        **{name: 500 * round(usual[name] * grown / 500)
           for name in ('classifier.steps', 'judge.steps')},
    }, f'as the square root of {total:,} training images; eight looks at samples'))
    uneven = counts.max() / max(counts.min(), 1)
    few = total <= 2 * IMAGES and fill_plan(counts, '4x').sum() <= MOST * total
    fill = '4x' if few else 'largest' if uneven >= 2 else '2x'
    why = f'classes of {counts.min()} to {counts.max()} images'
    chosen.append(({'synthesis.fill': fill}, why))
    asked = given.get('quality.relevance_from', usual['quality.relevance_from'])
    if rare := int((counts < asked).sum()):
        which = f'{rare} of {len(counts)} classes have under {asked} images'
        why = f'{which}: of them no judge is asked'
        chosen.append(({}, why))
    few, many = (int(np.quantile(counts, q)) for q in (1 / 3, 2 / 3))
    few = min(few, given.get('report.many', few))
    many = max(many, given.get('report.few', many))
    if few < many or {'report.few', 'report.many'} & given.keys():
        why = 'the third of the classes with the fewest images, and that with the most'
        chosen.append(({'report.few': few, 'report.many': many}, why))
    if facts.grey:
        why = 'no colour, perhaps writing, which is not mirrored'
        chosen.append(({f'{model}.augment_flip': False for model in MODELS}, why))
    chosen.append(({'classifier.seeds': 5}, 'classifiers an arm, as a claim needs'))
    return chosen


def apply(config, facts, given):
    """Sets what `choose` says in `config`, but for the fields `given`; the reasons, a line each.

    Args:
        given: {field: value}, which `config` has already. So are fields that differ from `:auto`'s,
            as a config file on top of it sets them.
    """
    usual = flat(augmented.get_config('auto'))
    given = {name: value for name, value in flat(config).items() if value != usual[name]} | given
    lines = []
    for fields, why in choose(facts, given):
        kept = {name: value for name, value in fields.items() if name not in given}
        config.update_from_flattened_dict(kept)
        if kept or not fields:
            values = ''.join(f'{name}={value!r}, ' for name, value in kept.items())
            lines.append(f'auto: {values[:-2]}: {why}' if kept else f'auto: {why}')
    return lines
