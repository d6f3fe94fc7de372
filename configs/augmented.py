"""The whole experiment: original against original + synthetic images.

    python main.py --config=configs/augmented.py             glyphs (embedded), minutes on 2 cores
    python main.py --config=configs/augmented.py:digits      real handwritten digits, the quickest
    python main.py --config=configs/augmented.py:folder \\
        --config.data.train=train.zip --config.data.test=test.zip      your own images, 32x32
    python main.py --config=configs/augmented.py:auto --config.data.train=photos.zip
                                                       the same, sizes and steps from the images
    python main.py --config=configs/augmented.py:tfds --config.data.source=tfds:NAME
    python main.py --config=configs/augmented.py:cifar \\
        --config.data.train=train.zip --config.data.test=test.zip

For one GPU of the H100's class, with --config.data.train and test as above. Only :grocery was run
at full size yet; about an hour each for :cifar10_lt and :cifar100_lt is an estimate from FLOPs, at
99 TFLOP/s: 45 minutes of steps, and compiling. The network of :grocery reaches 120.

    python main.py --config=configs/augmented.py:grocery      photographs at 64x64, 10 minutes
    python main.py --config=configs/augmented.py:cifar10_lt   imbalance factor 100
    python main.py --config=configs/augmented.py:cifar100_lt  imbalance factor 100
    python main.py --config=configs/augmented.py:folder128    your own images at 128x128
    python main.py --config=configs/augmented.py:folder256    your own images at 256x256, 8 GPUs

The README has the numbers of those that were measured.
"""

from configs import default


def get_config(variant=''):
    """The config of a variant; '' is the embedded glyphs."""
    if variant not in VARIANTS:
        raise ValueError(
            f"unknown variant ':{variant}'; known: " + ', '.join(f"':{v}'" for v in VARIANTS if v)
        )
    config = default.get_config()
    plain = config.judge.to_dict()
    VARIANTS[variant](config)
    if config.judge.to_dict() != plain:
        raise ValueError(f"what ':{variant}' sets in config.judge must stand in JUDGES")
    config.judge = default.judge(config.classifier)
    config.judge.update(JUDGES.get(variant, {}))
    return config


def glyphs(config):
    """37 embedded classes at 16x16."""
    config.classifier.augment_flip = False  # a mirrored letter is another letter, or none
    # a short run: with two blocks, 10,000, 1.2 and 6,000 the gain is hardly larger: docs/tried.md
    config.generator.blocks = 1
    config.generator.steps = 6000
    config.synthesis.guidance_scale = 1.0
    config.classifier.steps = 4000
    # lowest validation loss, the mean of both arms, on another data seed: docs/tried.md
    config.generator.class_map = True
    config.synthesis.fill = '8x'
    config.classifier.first_kernel = 5
    config.classifier.dropout = 0.6
    config.classifier.learning_rate = 2e-3


def digits(config):
    """scikit-learn's 8x8 digits at 16x16, made uneven: 4 to 40 training images a class."""
    config.data.source = 'digits'
    config.data.imbalance = 'range:4-40'
    config.splits.test_fraction = 0.5
    config.generator.steps = 1000
    config.generator.channels = 24
    config.generator.blocks = 1
    config.generator.save_every = 500
    config.synthesis.guidance_scale = 2.0  # so short a training draws no class without it
    config.synthesis.fill = 'largest'
    config.quality.min_relevance = 0.1
    config.classifier.steps = 300
    config.classifier.augment_flip = False
    config.report.many, config.report.few = 25, 12


def folder(config):
    """Photographs in class folders or zips, at 32x32, with flips and shifts in every arm.

    About 1,000 of them take two to four hours on two CPU cores with five classifiers an arm.
    """
    config.data.source = 'folder'
    config.data.image_size = 32
    config.generator.multipliers = (1, 2, 4)  # at 16x16, 8x8 and 4x4: patches of 2
    config.generator.attention = (False, False, True)
    # further than the denoising of held-out images gets better: until it draws its classes
    config.generator.steps = 16_000
    config.generator.batch_size = 32
    config.generator.augment_flip = True
    config.generator.augment_shift = 0.1
    config.classifier.augment = 'flip_shift'
    config.classifier.steps = 12_000  # the scaled validation loss is lower than after 6,000


def auto(config):
    """Class folders at a size, with networks, steps and a dose that fit them: configs/auto.py."""
    folder(config)
    config.auto = True


def tfds(config):
    """Any image classification set of TensorFlow Datasets in array_record format, at 32x32."""
    folder(config)
    config.data.source = 'tfds:cifar10'
    config.synthesis.fill = '2x'  # they are thousands


def cifar(config):
    """Long-tailed CIFAR from class folders: ResNet-32, last-step weights, flips and shifts."""
    folder(config)
    config.classifier.network = 'resnet32'
    config.classifier.steps = 3000  # each takes over ten times the CNN's


def grocery(config):
    """37 classes of products in shops (GroceryStoreDataset) from class folders, at 64x64, on a GPU.

    In pieces of under 10 minutes: docs/launch/one_gpu.sh.
    """
    folder(config)
    config.data.image_size = 64
    _unet_for_a_gpu(config)
    config.generator.channels = 96
    config.generator.multipliers = (1, 2, 3)
    config.generator.attention = (False, True, True)  # at 16x16 and 8x8
    config.generator.steps = 20_000  # 8 minutes on an H100, 2 of them compiling
    config.generator.batch_size = 64
    config.generator.augment_rotate = 10.0
    config.generator.augment_scale = 0.1
    config.generator.sample_every = 2500
    config.generator.sample_size = 370
    config.generator.select = 'best_validation'  # so long on 1,000 images it may come to copy them
    config.classifier.seeds = 5
    config.classifier.steps = 3000  # as measured; at 32x32 it takes four times as many
    config.classifier.widths = (32, 64, 128, 256)


def folder128(config):
    """Class folders at 128x128, on a GPU; not tuned, and not run at full size yet."""
    grocery(config)
    config.data.image_size = 128
    config.generator.channels = 128
    config.generator.multipliers = (1, 2, 3, 4)
    config.generator.attention = (False, False, True, True)  # at 16x16 and 8x8
    config.generator.steps = 100_000
    config.generator.remat = True
    config.generator.sample_every = 10_000
    config.synthesis.batch_size = 256
    config.synthesis.fill = 'largest'  # drawing is dear at this size
    config.classifier.widths = (32, 64, 128, 256, 256)


def folder256(config):
    """Class folders at 256x256, on several GPUs; not tuned, and not run at full size yet."""
    folder128(config)
    config.data.image_size = 256
    config.generator.patch_size = 4  # the network's work is that of 128x128
    config.generator.accumulate = 2
    config.classifier.widths = (32, 64, 128, 256, 256, 256)


def cifar10_lt(config):
    """CIFAR-10-LT of the long-tail literature, on a GPU: 12,406 images, 5,000 to 50 a class."""
    _long_tail(config)
    config.classifier.steps = 18_500  # 200 epochs
    config.report.many, config.report.few = 900, 200


def cifar100_lt(config):
    """CIFAR-100-LT of the long-tail literature, on a GPU: 10,847 images, 500 to 5 a class."""
    _long_tail(config)
    config.classifier.steps = 16_000  # 200 epochs
    config.report.many, config.report.few = 100, 19  # Liu et al. 2019


def _long_tail(config):
    """Classifiers are trained as by Cao et al. 2019, who cut the rate to a hundredth at epochs 160
    and 180 where it follows a cosine here.
    """
    cifar(config)
    _unet_for_a_gpu(config)
    config.generator.channels = 128
    config.generator.multipliers = (1, 2, 2, 2)
    config.generator.attention = (False, True, False, False)  # at 16x16 (Ho et al. 2020)
    config.generator.patch_size = 1
    config.generator.steps = 30_000  # 268 PFLOP (11.6 GFLOP an image forward): estimated 45 minutes
    config.generator.batch_size = 128
    config.generator.augment_shift = 0.0
    config.generator.cbdm_weight = 0.001  # twice the work of a step
    config.generator.sample_every = 5000
    config.generator.sample_size = 500
    config.synthesis.guidance_scale = 1.5
    config.synthesis.fill = 'largest'
    config.quality.min_relevance = 0.0  # distance only: the judge hardly ever names a rare class
    config.splits.validation_fraction = 0.05  # the literature holds nothing out
    config.classifier.synthetic_weight = 0.3
    config.classifier.seeds = 3
    config.classifier.batch_size = 128
    config.classifier.optimizer = 'sgd'
    config.classifier.learning_rate = 0.1
    config.classifier.weight_decay = 2e-4
    config.classifier.warmup_steps = 400  # 4 to 5 epochs
    config.classifier.augment_shift = 4 / 32


def _unet_for_a_gpu(config):
    """What the larger networks have in common."""
    config.generator.dropout = 0.1
    config.generator.learning_rate = 2e-4
    config.generator.warmup_steps = 1000
    config.generator.ema_decay = 0.9995
    config.generator.save_every = 5000  # in a save, of seconds, a GPU waits; a signal saves, too
    config.classifier.save_every = 3000  # six saves would be about one of its six seconds
    config.synthesis.batch_size = 1024
    config.synthesis.steps = 12  # fewer were tried at 16x16 and 32x32 alone


VARIANTS = {
    '': glyphs, 'digits': digits, 'folder': folder, 'auto': auto, 'tfds': tfds, 'cifar': cifar,
    'grocery': grocery, 'folder128': folder128, 'folder256': folder256,
    'cifar10_lt': cifar10_lt, 'cifar100_lt': cifar100_lt,
}
# Where the judge is not trained as the classifiers: with fewer steps it accepts about as many
# images (docs/tried.md).
JUDGES = {'': {'steps': 3000}} | dict.fromkeys(('folder', 'auto', 'tfds'), {'steps': 6000})
