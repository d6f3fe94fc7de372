"""The whole experiment: original against original + synthetic images.

    python main.py --config=configs/augmented.py             glyphs (embedded), minutes on 2 cores
    python main.py --config=configs/augmented.py:digits      real handwritten digits, the quickest
    python main.py --config=configs/augmented.py:folder \\
        --config.data.train=train.zip --config.data.test=test.zip      your own images, 32x32
    python main.py --config=configs/augmented.py:tfds --config.data.source=tfds:NAME
    python main.py --config=configs/augmented.py:cifar \\
        --config.data.train=train.zip --config.data.test=test.zip

The README gives the hours and the numbers that each of them took and reached.
"""

from configs import default


def get_config(variant=''):
    """The config of a variant; '' is the embedded glyphs."""
    if variant not in VARIANTS:
        raise ValueError(
            f"unknown variant ':{variant}'; known: " + ', '.join(f"':{v}'" for v in VARIANTS if v)
        )
    config = default.get_config()
    VARIANTS[variant](config)
    return config


def glyphs(config):
    """37 embedded classes at 16x16."""
    config.classifier.augment_flip = False  # a mirrored letter is another letter, or none


def digits(config):
    """scikit-learn's 8x8 digits at 16x16, made uneven: 4 to 40 training images a class."""
    config.data.source = 'digits'
    config.data.imbalance = 'range:4-40'
    config.splits.test_fraction = 0.5
    config.generator.steps = 1000
    config.generator.channels = 24
    config.generator.blocks = 1
    config.generator.save_every = 500
    config.classifier.steps = 300
    config.classifier.augment_flip = False
    config.report.many, config.report.few = 25, 12


def folder(config):
    """Photographs in class folders or zips, at 32x32, with flips and shifts in every arm."""
    config.data.source = 'folder'
    config.data.image_size = 32
    config.generator.patch_size = 4  # an 8x8 grid, as cheap a pixel as on two cores can be
    config.generator.channels = 48
    config.generator.steps = 3000
    config.generator.batch_size = 32
    config.generator.augment_flip = True
    config.generator.augment_shift = 0.1
    config.classifier.augment = 'flip_shift'


def tfds(config):
    """Any image classification set of TensorFlow Datasets in array_record format, at 32x32."""
    folder(config)
    config.data.source = 'tfds:cifar10'


def cifar(config):
    """Long-tailed CIFAR from class folders: ResNet-32, last-step weights, flips and shifts."""
    folder(config)
    config.classifier.network = 'resnet32'
    config.classifier.select = 'last'
    config.classifier.cosine_decay = True


VARIANTS = {'': glyphs, 'digits': digits, 'folder': folder, 'tfds': tfds, 'cifar': cifar}
