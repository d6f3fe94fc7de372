"""Is this config possible? Asked before anything is built or compiled."""

import math

from configs import bounds
from configs.default import is_tested
from data import augment, cuts
from generation import samplers
from generation.synthesize import fill_plan
from models.dit import DiT
from train import runs
from train.arms import ARMS, JUDGE_SEED, any_synthetic, seeds, stage, twin


def check(config, device_count):
    """Raises ValueError, one line with field, value and remedy, if a run cannot work."""
    bounds.check(config)
    cuts.long_tail([0, 1], config.data.imbalance, 0)  # of any labels: is it one of the rules?
    if config.generator.init_from:
        runs.open_run(config.generator.init_from).digest('generator')
    if config.classifier.init_from:
        run = runs.open_run(config.classifier.init_from, 'original')
        for seed in run.seeds:
            run.digest(stage(run.arm, seed))
    if config.report.few > config.report.many:
        raise ValueError(
            f'config.report.few={config.report.few} must not exceed config.report.many='
            f'{config.report.many}: classes with no more images than the one are few, with more '
            'than the other many'
        )
    _check_arms(config)
    _check_splits(config)
    _check_network('classifier', config, device_count)
    _check_mixture(config)
    fill_plan([1000], config.synthesis.fill)  # of any size that a multiple suits
    if any_synthetic(config.arms):
        _check_network('judge', config, device_count)
        _check_sizes(config)
        _check_generator(config, device_count)


def check_guidance(config):
    """Raises ValueError if the guidance scale is 0, or needs what the generator never learnt."""
    bounds.check_number('synthesis.guidance_scale', config.synthesis.guidance_scale)
    if config.synthesis.guidance_scale == 0:
        raise ValueError(
            'config.synthesis.guidance_scale=0 draws images of no class; 1 turns guidance off'
        )
    if config.generator.label_dropout == 0 and config.synthesis.guidance_scale != 1:
        raise ValueError(
            'config.generator.label_dropout=0 never trains what guidance compares with; use 0.1, '
            'or config.synthesis.guidance_scale=1'
        )


def _divisible(name, size, devices):
    if size % devices:
        lower, upper = size // devices * devices, -(-size // devices) * devices
        choice = f'{lower} or {upper}' if lower else f'{upper}'
        raise ValueError(
            f'config.{name}={size} cannot be divided over {devices} devices; use {choice} or, to '
            'go on with a run that has begun, as many devices as divide it'
        )


def _check_arms(config):
    arms = tuple(config.arms)
    unknown = [arm for arm in arms if arm not in ARMS]
    tested = is_tested(config)
    lacking = 'original' not in arms if tested else not arms
    if unknown or lacking or len(set(arms)) != len(arms):
        must = "must name 'original', the baseline, and" if tested else 'must name one arm, and'
        raise ValueError(
            f'config.arms={arms} {must} may name each of {", ".join(ARMS)} once'
            + (f'; unknown: {", ".join(unknown)}' if unknown else '')
        )
    for arm in arms:
        for name in ARMS[arm].fields:
            if name not in config.classifier:
                raise ValueError(
                    f'config.arms={arms}: {arm!r} sets {name!r} in train/arms.py, and '
                    f'config.classifier has only {", ".join(config.classifier)}'
                )
        if equal := twin(config.classifier, arm):
            fields = ARMS[arm].fields.items()
            settings = ' '.join(f'config.classifier.{name}={value!r}' for name, value in fields)
            raise ValueError(
                f'{settings} in every arm makes the arm {arm!r} equal to {equal!r}; leave out the '
                'one or the other'
            )
    if seeds(config.classifier).stop > JUDGE_SEED:
        raise ValueError(
            f'config.classifier.seed={config.classifier.seed} is too large: with '
            f'config.classifier.seeds={config.classifier.seeds} all must be below {JUDGE_SEED:,}'
        )


def _check_splits(config):
    if config.splits.validation_fraction == 0:
        raise ValueError(
            'config.splits.validation_fraction=0 leaves nothing to choose the weights by; use 0.1'
        )
    if config.data.source.startswith('tfds:') and not config.splits.test_fraction:
        raise ValueError(
            'config.splits.test_fraction=0 is for class folders, tables and digits; TFDS sets need '
            'test images, so use 0.3'
        )
    cuts.group((), config.splits.group_by)
    given = config.data.test or config.data.source == 'glyphs'
    if cuts.parse_fold(config.splits.fold) and given:
        raise ValueError(
            f'config.splits.fold={config.splits.fold!r} cuts the test set from the training '
            'images, and this set has one of its own (config.data.test, glyphs)'
        )
    if config.splits.group_by and config.data.source != 'folder':
        raise ValueError(
            f'config.splits.group_by={config.splits.group_by!r} goes by the names of files, and '
            f'config.data.source={config.data.source!r} has none; leave it empty'
        )


def _check_network(name, config, device_count):
    part, size = config[name], config.data.image_size
    _divisible(f'{name}.batch_size', part.batch_size, device_count)
    if part.network == 'cnn' and size < 2 ** len(part.widths):
        raise ValueError(
            f'config.{name}.widths={tuple(part.widths)} halves config.data.image_size={size} until '
            'no pixel is left; use fewer blocks'
        )
    _check_pixels(f'{name}.augment_shift', part.augment_shift, size)
    _check_pixels(f'{name}.cutout', part.cutout, size)
    _check_warmup(name, part)


def _check_pixels(name, share, size):
    if share and not augment.whole_pixels(share, size):
        raise ValueError(
            f'config.{name}={share} of config.data.image_size={size} comes to no pixel, and it is '
            f'in whole ones; use {math.ceil(51 / size) / 100} or more, or 0'
        )


def _check_warmup(name, part):
    if part.warmup_steps >= part.steps:
        raise ValueError(
            f'config.{name}.warmup_steps={part.warmup_steps} must be below '
            f'config.{name}.steps={part.steps}'
        )


def _check_mixture(config):
    classifier = config.classifier
    share, batch = classifier.synthetic_share, classifier.batch_size
    mixed = any(ARMS[arm].mixed for arm in config.arms)
    if mixed and batch < 2:
        raise ValueError(
            f'config.classifier.batch_size={batch} holds no real and no synthetic image at once; '
            'use 2 or more'
        )
    if mixed and not classifier.synthetic_weight:
        raise ValueError(
            'config.classifier.synthetic_weight=0 trains on the real images of each batch alone; '
            'leave out the arm to train without synthetic images'
        )
    if share and not 1 <= round(share * batch) < batch:
        raise ValueError(
            f'config.classifier.synthetic_share={share} of a batch of {batch} must leave at least '
            'one synthetic and one real image'
        )
    until = classifier.synthetic_until
    if not 0 < until <= 1 or not round(until * classifier.steps):
        raise ValueError(
            f'config.classifier.synthetic_until={until} must be at most 1 and, of '
            f'{classifier.steps} steps, one or more; leave out the arm to train without synthetic '
            'images'
        )
    changing = [arm for arm in config.arms if ARMS[arm].changes]
    if classifier.logit_adjustment and until < 1 and changing:
        raise ValueError(
            f'config.classifier.logit_adjustment={classifier.logit_adjustment} corrects for one '
            f'frequency of each class, and in {", ".join(changing)} it changes after '
            f'config.classifier.synthetic_until={until} of the steps; use 1'
        )


def _check_generator(config, device_count):
    generator, interval = config.generator, tuple(config.synthesis.guidance_interval)
    _divisible('generator.batch_size', generator.batch_size, device_count)
    parts = generator.accumulate
    if generator.batch_size % (device_count * parts):
        raise ValueError(
            f'config.generator.accumulate={parts} cuts the batch of each of {device_count} devices '
            f'into equal parts; config.generator.batch_size={generator.batch_size} must be a '
            f'multiple of {device_count * parts}'
        )
    _check_warmup('generator', generator)
    numbers = all(isinstance(t, (int, float)) for t in interval)
    if len(interval) != 2 or not numbers or not 0 <= interval[0] < interval[1] <= 1:
        raise ValueError(
            f'config.synthesis.guidance_interval={interval} must be (lo, hi) with 0 <= lo < hi <= '
            '1; config.synthesis.guidance_scale=1 turns guidance off'
        )
    check_guidance(config)
    _check_interval(config, interval)
    if generator.select == 'best_validation' and not generator.sample_every:
        raise ValueError(
            "config.generator.select='best_validation' chooses among samples, and "
            'config.generator.sample_every=0 draws none'
        )


def _check_interval(config, interval):
    synthesis, schedule = config.synthesis, config.generator.schedule
    if synthesis.guidance_scale == 1 or interval == (0, 1):
        return
    levels = samplers.noise_levels(synthesis.steps, schedule, synthesis.spacing)[:-1]
    if not samplers.in_interval(levels, interval, schedule).any():
        raise ValueError(
            f'config.synthesis.guidance_interval={interval} holds none of the '
            f'config.synthesis.steps={synthesis.steps} noise levels; use a wider one, or '
            'config.synthesis.guidance_scale=1, which turns guidance off'
        )


def _check_sizes(config):
    generator, size = config.generator, config.data.image_size
    _check_pixels('generator.augment_shift', generator.augment_shift, size)
    if generator.backbone == 'unet' and generator.channels < 2:
        raise ValueError(
            f'config.generator.channels={generator.channels} leaves no room for the noise level; '
            'use 2 or more'
        )
    head = DiT.head_width
    if generator.backbone == 'dit' and generator.width % head:
        raise ValueError(
            f'config.generator.width={generator.width} must be a multiple of {head}, the width of '
            'an attention head'
        )
    if len(generator.multipliers) != len(generator.attention):
        raise ValueError(
            f'config.generator.multipliers={generator.multipliers} and '
            f'config.generator.attention={generator.attention} must have one entry a level'
        )
    levels = len(generator.multipliers) if generator.backbone == 'unet' else 1
    factor = generator.patch_size * 2 ** (levels - 1)
    if size % factor:
        upper = -(-size // factor) * factor
        network = f'a U-Net of {levels} levels' if generator.backbone == 'unet' else 'a DiT'
        raise ValueError(
            f'config.data.image_size={size} must be a multiple of {factor} for {network} on '
            f'patches of {generator.patch_size}; use {upper}'
        )
