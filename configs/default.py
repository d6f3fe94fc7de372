"""What can be set. Every field once, with its unit and meaning; the deltas are in the other files.

Any field is set on the command line as --config.generator.steps=2000. Config files are Python code
that is executed: run only those you trust.
"""

import os
import pathlib

import ml_collections

LISTS = 'arms', 'trackers'  # fields that hold names


def get_config():
    """The fields and defaults that every config starts from."""
    c = ml_collections.ConfigDict()

    # Ways to train the classifier, of those in train/arms.py; 'original' is the baseline.
    c.arms = ('original', 'augmented')
    c.auto = False  # choose sizes, steps and dose from the images and the device: configs/auto.py
    c.trackers = ()  # of tensorboard, wandb, mlflow: where else the training curves go
    c.cpu_devices = 0  # devices the CPU is split into; 0: one per core, as a power of two up to 8

    c.data = ml_collections.ConfigDict()
    c.data.source = 'glyphs'  # glyphs | digits | folder | tfds:<name>
    c.data.train = ''  # folder: a directory or .zip of class folders, a .csv; tfds: data directory
    c.data.test = ''  # folder: a second one, held out; '' cuts the test set from train
    c.data.image_size = 16  # pixels; larger images are scaled and cropped, smaller ones enlarged
    c.data.seed = 0  # of the images that `glyphs` draws
    c.data.imbalance = ''  # '' | 'exp:100' (imbalance factor) | 'range:12-60' (images a class)
    c.data.on_bad_image = 'error'  # error | skip (named in data/bad_images.json)

    c.splits = ml_collections.ConfigDict()
    c.splits.seed = 0  # which images are held out
    c.splits.test_fraction = 0.3  # of each class, without a test set; 0: none, nothing is measured
    c.splits.fold = ''  # '0/5': instead, the first of five parts; see configs/sweeps/folds.py
    c.splits.validation_fraction = 0.1  # of each class of the training images
    # folder: regular expression; images in whose <class>/<file> it finds the same stay in one split
    c.splits.group_by = ''
    c.splits.duplicate_correlation = 0.995  # of two images' thumbnails, above which they are copies

    c.generator = g = ml_collections.ConfigDict()
    g.seed = 0  # of initialisation, order, noise
    g.steps = 10_000  # optimizer steps
    g.batch_size = 16  # over all devices and hosts
    g.learning_rate = 1e-3  # Adam
    g.adam_b2 = 0.99  # Adam's decay of squared gradients
    g.warmup_steps = 100  # in which the learning rate rises from 0
    g.cosine_decay = True  # of the learning rate, to 0 at the last step
    g.clip_norm = 1.0  # of the gradient; 0: off
    g.ema_decay = 0.999  # of the parameters that draw the images
    g.backbone = 'unet'  # unet | dit
    g.patch_size = 2  # pixels; patches become a position's channels
    g.channels = 32  # unet: of its first level
    g.multipliers = (1, 2)  # unet: channels of each level, in units of `channels`
    g.blocks = 2  # unet: residual blocks a level
    g.attention = (False, True)  # unet: per level
    g.class_map = False  # unet: a learnt map a class, 8x8 positions where a level allows
    g.width = 128  # dit: channels of a patch, a multiple of 32
    g.depth = 6  # dit: transformer blocks
    g.dropout = 0.0  # in residual and transformer blocks
    g.schedule = 'cosine'  # cosine | linear
    g.prediction = 'x0'  # eps | x0 | v
    g.min_snr_gamma = 5.0  # loss weight min(SNR, gamma) / SNR (in eps); 0: off
    g.label_dropout = 0.1  # share of examples trained without a class, for guidance
    g.class_balanced = False  # draw every class equally often
    g.cbdm_weight = 0.0  # tau of class-balancing diffusion, 0.001 in its paper; 0: off
    g.cbdm_commitment = 0.25  # its gamma
    g.augment_flip = False  # mirror left-right, told to the network
    g.augment_shift = 0.0  # of the side, told to the network
    g.augment_rotate = 0.0  # degrees at most, either way, told to the network
    g.augment_scale = 0.0  # at most this fraction larger or smaller, told to the network
    g.augment_probability = 0.5  # of each augmentation
    g.init_from = ''  # a run's folder: start from its generator, where layers fit
    g.accumulate = 1  # parts of a batch, one after another: less memory, the same gradient
    g.remat = False  # compute activations again in the backward pass: less memory, more time
    g.dtype = 'auto'  # of activations: auto (bfloat16 on accelerators) | float32 | bfloat16
    g.log_every, g.validate_every, g.save_every = 50, 500, 1000  # steps
    g.max_skipped_steps = 0  # steps without a finite gradient that are passed over; more: stop
    g.sample_every = 2500  # steps between looks at a small sample, for copies and quality; 0: off
    g.sample_size = 74  # its images, rounded up to equally many a class
    g.max_copy_rate = 0.05  # of it, above which (and twice that of real images) to raise the alarm
    g.select = 'last'  # step whose EMA is used: last | best_validation (lowest kernel distance)

    c.synthesis = s = ml_collections.ConfigDict()
    s.seed = 0  # of the noise that images start from
    # images a class, real + synthetic: largest (class's) | a number | so many times its ('2x')
    s.fill = '4x'
    s.sampler = 'dpm++'  # ddpm | ddim | dpm++
    s.spacing = 'karras'  # of the noise levels: karras | uniform (in t)
    s.steps = 8  # network evaluations an image, twice that with guidance
    s.guidance_scale = 1.2  # 1: off
    s.guidance_interval = (0.0, 1.0)  # of time t, 1 pure noise: outside it guidance is off
    s.batch_size = 256  # over all devices and hosts
    s.rounds = 6  # draws at most; each but the first replaces rejected images

    c.quality = q = ml_collections.ConfigDict()
    q.min_relevance = 0.02  # judge's probability of the class, in [0, 1]
    q.relevance_from = 10  # training images: it is not asked about classes with fewer
    # share of validation images that must pass: how far from its class, flat, extreme one may be
    q.max_distance_quantile = 0.99
    q.copy_ratio = 1 / 3  # nearest / second nearest training image, below which it is a copy
    q.duplicate_ratio = 1 / 3  # of real neighbours' typical distance, below which it is a repeat
    q.min_contrast = 4.0  # deviation of grey values in [0, 255]; less where real images have less
    q.max_saturated = 0.9  # share of values at 0 or 255; more where real images have more

    c.classifier = k = ml_collections.ConfigDict()
    k.seed = 0  # of an arm's first classifier; those of the others follow
    k.seeds = 3  # classifiers an arm; at least 5 for a claim
    k.network = 'cnn'  # cnn | resnet32
    k.widths = (32, 64, 128)  # cnn: channels of each block
    k.first_kernel = 3  # cnn: side of the first block's filters, pixels; 3 in the others
    k.hidden = 256  # cnn: width of the dense layer
    k.dropout = 0.5  # cnn
    k.steps = 3000  # optimizer steps, in every arm
    k.batch_size = 64  # over all devices and hosts
    k.optimizer = 'adam'  # adam | sgd (momentum 0.9)
    k.learning_rate = 1e-3  # at its highest
    k.weight_decay = 0.0  # adam: decoupled (AdamW); sgd: in the gradient; 0: off
    k.warmup_steps = 0  # in which the learning rate rises from 0
    k.cosine_decay = True  # of the learning rate, to 0 at the last step
    k.select = 'last'  # final weights: last | best_validation_loss
    k.init_from = ''  # a run's folder (`original`) or its classifiers/<arm>: every arm starts there
    k.augment = 'none'  # none | flip_shift | randaugment (with flips and shifts), in every arm
    k.augment_flip = True  # mirror left-right, unless augment='none'
    k.augment_shift = 0.1  # of the side, unless augment='none'
    k.randaugment_ops = 2  # operations an image
    k.randaugment_magnitude = 9.0  # their strength, of 30
    k.cutout = 0.25  # side of randaugment's grey square, of the image's; 0: off
    k.logit_adjustment = 0.0  # tau of the prior in the loss, in every arm; 0: off
    k.synthetic_share = 0.0  # of a batch of arms that mix; 0: in proportion to the set's size
    k.synthetic_weight = 1.0  # of a synthetic image in the loss
    k.synthetic_until = 2 / 3  # share of the steps; after them it sees real images only
    k.dtype = 'auto'  # as the generator's
    k.log_every, k.validate_every, k.save_every = 50, 100, 500  # steps
    k.max_skipped_steps = 0  # as the generator's

    c.judge = judge(k)  # the quality check's classifier: as `classifier`, perhaps for fewer steps

    c.report = r = ml_collections.ConfigDict()
    r.many = 40  # a class with more training images than this is one of 'many'
    r.few = 25  # with at most this many, of 'few'
    c.lock()  # a misspelt field is none
    return c


def judge(classifier):
    """`config.judge`: the fields of `config.classifier` that are not about arms, as they are now.

    A setting of its own, so that the classifiers can be tuned and the synthetic images stay.
    """
    of_arms = ('seed', 'seeds', 'init_from', 'logit_adjustment', 'synthetic_share',
               'synthetic_weight', 'synthetic_until')
    fields = {name: value for name, value in classifier.items() if name not in of_arms}
    return ml_collections.ConfigDict(fields)


def is_tested(config):
    """Whether images are held out to measure on; else models are trained to be used, no more."""
    cut = config.splits.test_fraction > 0 or config.splits.fold
    return bool(cut or config.data.test or config.data.source not in ('folder', 'digits'))


def flat(config):
    """{'generator.steps': value, ...} of a config, or of the nested dict that it was saved as."""
    found = {}
    for name, value in config.items():
        if hasattr(value, 'items'):
            found |= {f'{name}.{key}': deeper for key, deeper in flat(value).items()}
        else:
            found[name] = value
    return found


def absolute(path):
    """The path as it is found from any directory; '' as it is."""
    return path and str(pathlib.Path(os.path.expanduser(path)).absolute())
