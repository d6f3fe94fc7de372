"""What the stage `generator` does, and what it reads.

What takes a `folder` writes into it. `config` is the whole, frozen config.
"""

from eval import generative
from generation import samples
from train import fingerprints, generator, judging, runs, synthesizing
from train.progress import progress, say


def train_generator(folder, config, parts, judge_folder):
    """The class-conditional diffusion model, on the training split alone."""
    watch = init = None
    if config.generator.init_from:
        init = runs.open_run(config.generator.init_from).generator()
    if config.generator.sample_every:
        watch = _make_watch(folder, config, parts, judge_folder)
    with progress('generator') as update:
        generator.train(
            folder, config.generator, parts.train, parts.validation,
            num_classes=len(parts.class_names), update=update, watch=watch, init=init,
        )


def chooses(config):
    """Whether samples choose the weights: else they are only looked at, and change no result."""
    return config.generator.select == 'best_validation'


def depends(config):
    """What the generator depends on besides the training images, for `stages.Runner.run`."""
    reads, code = {'generator': _own_reads(config)}, [*generator.CODE]
    if chooses(config):
        reads |= _watch_reads(config)
        code += synthesizing.CODE
    return {'reads': reads, 'code': code}


def _own_reads(config):
    reads = fingerprints.reads(config.generator, generator.BACKBONES, config.generator.backbone)
    if reads.pop('init_from'):
        reads['init'] = runs.open_run(config.generator.init_from).digest('generator')
    if not chooses(config):
        for name in fingerprints.WATCH:
            del reads[name]
    return reads


def _watch_reads(config):
    """What of the config the looks at the generator read; see `_make_watch`."""
    draws = ('seed', 'sampler', 'steps', 'spacing', 'guidance_scale', 'guidance_interval')
    return {
        'synthesis': {name: config.synthesis[name] for name in draws},
        'quality': {name: config.quality[name] for name in ('copy_ratio', 'duplicate_ratio')},
    }


def _make_watch(folder, config, parts, judge_folder):
    """What looks at the generator while it trains; see `samples.make_watch`."""
    num_classes = len(parts.class_names)
    each = -(-config.generator.sample_size // num_classes)
    judge, reference, _ = judging.open_judge(judge_folder, config, parts)
    draw = synthesizing.make_draw(config, parts, each * num_classes)
    return samples.make_watch(
        folder, draw, judge, reference, generative.kernel_distance,
        num_classes=num_classes, each=each,
        first_step=min(config.generator.sample_every, config.generator.steps),
        copy_ratio=config.quality.copy_ratio, max_copy_rate=config.generator.max_copy_rate,
        say=say,
    )
