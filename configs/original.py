"""The baseline alone: the same classifier on the original images, no generator.

    python main.py --config=configs/original.py[:variant]

Variants as in `configs/augmented.py`, from which only the arms differ: no judge and no generator is
trained, and the classifiers are the same.
"""

from configs import augmented


def get_config(variant=''):
    """The config of a variant; '' is the embedded glyphs."""
    config = augmented.get_config(variant)
    config.arms = ('original',)
    return config
