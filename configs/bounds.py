"""What each field of a config may hold, whatever the others do."""

import math

import ml_collections

from configs.default import flat, get_config
from generation import diffusion, samplers
from train import trackers
from train.classifier import NETWORKS
from train.generator import BACKBONES
from train.state import OPTIMIZERS

CHOICES = {
    'generator.backbone': BACKBONES,
    'generator.schedule': diffusion.SCHEDULES,
    'generator.prediction': diffusion.PREDICTIONS,
    'generator.dtype': ('auto', 'float32', 'bfloat16'),
    'generator.select': ('last', 'best_validation'),
    'synthesis.sampler': samplers.SAMPLERS,
    'synthesis.spacing': samplers.SPACINGS,
    'classifier.network': NETWORKS,
    'classifier.optimizer': OPTIMIZERS,
    'classifier.select': ('best_validation_loss', 'last'),
    'classifier.augment': ('none', 'flip_shift', 'randaugment'),
    'classifier.dtype': ('auto', 'float32', 'bfloat16'),
    'data.on_bad_image': ('error', 'skip'),
}
# What a number must be, in words: (the test, the fields). All are finite and 0 or more, besides.
NUMBERS = {
    'above 0': (lambda x: x > 0, (
        'data.image_size', 'generator.steps', 'generator.batch_size', 'generator.learning_rate',
        'generator.channels', 'generator.blocks', 'generator.width', 'generator.depth',
        'generator.patch_size', 'generator.accumulate', 'generator.log_every',
        'generator.validate_every', 'generator.save_every', 'generator.sample_size',
        'synthesis.steps', 'synthesis.batch_size', 'synthesis.rounds', 'classifier.steps',
        'classifier.seeds', 'classifier.batch_size', 'classifier.hidden',
        'classifier.first_kernel', 'classifier.learning_rate', 'classifier.log_every',
        'classifier.validate_every', 'classifier.save_every',
    )),
    'at least 0 and below 1': (lambda x: x < 1, (
        'splits.test_fraction', 'splits.validation_fraction', 'generator.label_dropout',
        'generator.augment_probability', 'generator.augment_shift', 'generator.augment_scale',
        'generator.max_copy_rate', 'generator.dropout', 'generator.ema_decay',
        'generator.adam_b2', 'classifier.dropout', 'classifier.augment_shift',
        'classifier.synthetic_share', 'classifier.cutout',
        'quality.copy_ratio',  # of distances, the nearest and the next: at 1 all are copies
    )),
    '1 at most': (lambda x: x <= 1, (
        'quality.min_relevance', 'quality.max_distance_quantile', 'quality.max_saturated',
    )),
    'above 0 and at most 1': (lambda x: 0 < x <= 1, ('splits.duplicate_correlation',)),
    '30 at most': (lambda x: x <= 30, ('classifier.randaugment_magnitude',)),
    '180 degrees at most': (lambda x: x <= 180, ('generator.augment_rotate',)),
    # JAX's random numbers have seeds of 32 bits
    f'below 2^32, which is {2**32}': (lambda x: x < 2**32, ('generator.seed', 'synthesis.seed')),
}
WHOLE = 'generator.multipliers', 'classifier.widths'


def require_fields(config):
    """Raises ValueError if a config file of the user's own gives no config, lacks a field, or has
    another kind of value in one."""
    if not isinstance(config, ml_collections.ConfigDict | ml_collections.FrozenConfigDict):
        raise ValueError(
            f'--config: get_config() gives {config!r}, and must give a config; begin with config = '
            'default.get_config(), of configs/default.py'
        )
    fields = flat(config)
    for name, usual in flat(get_config()).items():
        if name not in fields:
            raise ValueError(
                f'config.{name} is missing; begin with config = default.get_config(), of '
                'configs/default.py'
            )
        kind = {int: (int, float), float: (int, float), tuple: (tuple, list)}.get(
            type(usual), type(usual))
        if not isinstance(fields[name], kind) or type(fields[name]) is bool is not kind:
            raise ValueError(f'config.{name}={fields[name]!r} must be such as {usual!r}')


def check(config):
    """Raises ValueError, one line with field, value and remedy, if a field has no such value."""
    require_fields(config)
    fields = flat(config)
    for name, value in fields.items():
        if isinstance(value, (int, float)):
            check_number(name, value)
    for words, (fits, names) in NUMBERS.items():
        for name in _with_judge(names, fields):
            if not fits(fields[name]):
                raise ValueError(f'config.{name}={fields[name]} must be {words}')
    for name in _with_judge(WHOLE, fields):
        if not fields[name] or not all(type(x) is int and x > 0 for x in fields[name]):
            raise ValueError(
                f'config.{name}={tuple(fields[name])} must hold whole numbers above 0, one or more'
            )
    if not all(type(one) is bool for one in config.generator.attention):
        raise ValueError(
            f'config.generator.attention={tuple(config.generator.attention)} must hold True and '
            'False, one of them for each of config.generator.multipliers'
        )
    for name in _with_judge(CHOICES, fields):
        choices = CHOICES[name.replace('judge.', 'classifier.')]
        if fields[name] not in choices:
            raise ValueError(
                f'config.{name}={fields[name]!r} is unknown; use one of {", ".join(choices)}'
            )
    for name in config.trackers:
        if name not in trackers.TRACKERS:
            raise ValueError(
                f'config.trackers={tuple(config.trackers)} may name {", ".join(trackers.TRACKERS)}'
            )
        trackers.find(name)


def check_number(name, value):
    """Raises ValueError if a number is none that any field may hold."""
    if abs(value) >= 2**31 and isinstance(value, int) and not name.endswith('seed'):
        raise ValueError(f'config.{name} must be below 2^31')
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f'config.{name}={value} must be a finite number, 0 or more')


def _with_judge(names, fields):
    """The names, and of those of the classifier the same of the judge, where it has them."""
    judges = (name.replace('classifier.', 'judge.') for name in names)
    return [*names, *(name for name in judges if name in fields and name not in names)]
