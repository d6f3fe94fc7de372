"""What each stage of a run does: the parts of the project, put together. `main.py` orders them.

Every function writes into the folder it is given. `config` is the whole, frozen config.
"""

import json

import numpy as np

from data import sources, splits
from eval import figures, predict, report
from generation import export, quality, synthesize
from train import classifier, generator, provenance
from train.progress import progress, say


def prepare_data(folder, config):
    """Decodes every image once and cuts train, validation and test."""
    train, test = sources.open_source(
        config.data.source, image_size=config.data.image_size, train=config.data.train,
        test=config.data.test, seed=config.data.seed,
    )  # fmt: skip
    with progress('images') as update:
        parts = splits.prepare(
            train, test, test_fraction=config.splits.test_fraction,
            validation_fraction=config.splits.validation_fraction, imbalance=config.data.imbalance,
            seed=config.splits.seed, on_bad_image=config.data.on_bad_image, progress=update,
        )  # fmt: skip
    if not len(parts.validation):
        raise ValueError('no class has an image to spare for validation; give 2 or more a class')
    splits.save(parts, folder)
    counts = train_counts(parts)
    (folder / 'class_counts.png').write_bytes(figures.class_counts(parts.class_names, counts))
    say(
        f'  {len(counts)} classes, {counts.min()} to {counts.max()} training images each; '
        f'{len(parts.train)} train, {len(parts.validation)} validation, {len(parts.test)} test; '
        f'{len(parts.duplicates)} groups of duplicates'
    )


def train_counts(parts):
    """Training images per class, int [C]."""
    return np.bincount(parts.train.labels, minlength=len(parts.class_names))


def train_generator(folder, config, parts):
    """The class-conditional diffusion model, on the training split alone."""
    with progress('generator') as update:
        generator.train(
            folder, config.generator, parts.train, parts.validation,
            num_classes=len(parts.class_names), update=update,
        )  # fmt: skip


def train_classifier(folder, config, parts, synthetic, arm, seed):
    """One classifier of one arm; the arms differ in these sets and in nothing else."""
    sets, shares, weights = [parts.train], [1.0], [1.0]
    if arm == 'augmented':
        share = synthetic_share(config, parts, synthetic)
        sets, shares = [parts.train, synthetic], [1 - share, share]
        weights = [1.0, config.classifier.synthetic_weight]
    with progress(f'{arm} seed {seed}') as update:
        return classifier.train(
            folder, config.classifier, sets, shares, weights, parts.validation,
            num_classes=len(parts.class_names), seed=seed, update=update,
        )  # fmt: skip


def synthetic_share(config, parts, synthetic):
    """The share of synthetic images in a batch of the augmented arm, in (0, 1)."""
    proportion = len(synthetic) / (len(synthetic) + len(parts.train))
    return config.classifier.synthetic_share or max(proportion, 1 / config.classifier.batch_size)


def train_and_test_classifier(folder, config, parts, synthetic, arm, seed):
    """A classifier, and the one time that it sees the test images."""
    model, variables = train_classifier(folder, config, parts, synthetic, arm, seed)
    probabilities, _ = predict.predict(model, variables, parts.test, config.classifier.batch_size)
    predict.save(folder / 'predictions.npz', probabilities, parts.test.labels)


def fill_plan(config, parts):
    """Synthetic images that each class needs, int [C]; ValueError if none needs any."""
    plan = synthesize.fill_plan(train_counts(parts), config.synthesis.fill)
    if 'augmented' in config.arms and not plan.any():
        raise ValueError(
            f'config.synthesis.fill={config.synthesis.fill!r} asks for no image: every class has '
            "as many already; use a number or a multiple such as '2x'"
        )
    return plan


def make_images(folder, config, parts, plan, generator_folder, judge_folder):
    """Fills every class with images that pass the quality check, and exports them."""
    num_classes, image_shape = len(parts.class_names), parts.train.images.shape[1:]
    network, params = generator.load(generator_folder, config.generator, num_classes)
    draw = synthesize.make_sampler(
        generator.make_predict_x0(network, config.generator), num_classes=num_classes,
        image_shape=image_shape, schedule=config.generator.schedule, seed=config.synthesis.seed,
        sampler=config.synthesis.sampler, steps=config.synthesis.steps,
        guidance_scale=config.synthesis.guidance_scale, batch_size=config.synthesis.batch_size,
    )  # fmt: skip
    judge, reference = _make_judge(judge_folder, config, parts)
    check, thresholds = _make_check(config.quality, judge, reference, num_classes)

    def make(labels, seeds):
        with progress('synthetic images') as update:
            return draw(params, labels, seeds, update)

    rows = synthesize.fill(plan, make, check, rounds=config.synthesis.rounds)
    facts = {
        'guidance_scale': config.synthesis.guidance_scale,
        'sampler': config.synthesis.sampler,
        'sampling_steps': config.synthesis.steps,
        'checkpoint': f'generator/checkpoints/step_{config.generator.steps:08d}',
    }
    export.write(folder, rows, parts.class_names, facts)
    summary = quality.summarise(rows, plan, parts.class_names)
    summary |= facts | {
        'thresholds': thresholds,
        'real_heldout_copy_rate': quality.held_out_copy_rate(reference, config.quality.copy_ratio),
    }
    (folder / 'quality.json').write_text(json.dumps(summary, indent=1), 'utf-8')
    if summary['accepted']:
        (folder / 'contact_sheet.png').write_bytes(_contact_sheet(parts, read_synthetic(folder)))
    say(f'  {summary["accepted"]} of {summary["made"]} accepted; rejected {summary["rejected"]}')
    if summary['unfilled']:
        say(f'  still short after {config.synthesis.rounds} rounds: {summary["unfilled"]}')


def read_synthetic(folder):
    """The exported images, as an `ImageSet`."""
    images, labels, names = export.read(folder)
    if not len(labels):
        raise ValueError(
            f'{folder}: no synthetic image passed the quality check, see quality.json; train the '
            'generator longer (config.generator.steps) or relax config.quality'
        )
    return splits.ImageSet(np.stack(images), labels, tuple(names))


def write_report(folder, config, parts, synthetic_folder, classifier_folders, generator_folder,
                 seconds, command):  # fmt: skip
    """metrics.json, report.md, index.html and the figures."""
    counts = train_counts(parts)
    seconds = _by_topic(seconds)
    synthetic_counts = summary = sheet = None
    curves = {arm: [f / 'metrics.jsonl' for f in fs] for arm, fs in classifier_folders.items()}
    if synthetic_folder:
        synthetic = read_synthetic(synthetic_folder)
        synthetic_counts = np.bincount(synthetic.labels, minlength=len(counts))
        summary = json.loads((synthetic_folder / 'quality.json').read_text('utf-8'))
        summary['share'] = synthetic_share(config, parts, synthetic)
        sheet = synthetic_folder / 'contact_sheet.png'
        curves['generator'] = [generator_folder / 'metrics.jsonl']
    report.write(
        folder, dataset=config.data.source, class_names=parts.class_names, train_counts=counts,
        synthetic_counts=synthetic_counts,
        groups={'many': config.report.many, 'few': config.report.few},
        predictions={arm: [f / 'predictions.npz' for f in fs]
                     for arm, fs in classifier_folders.items()},
        quality=summary, curves=curves, sheet=sheet,
        facts={
            'seeds': list(range(config.classifier.seeds)), 'steps': config.classifier.steps,
            'seconds': seconds, 'command': command, 'config': config.to_dict(),
            **provenance.facts(),
        },
    )  # fmt: skip


def _by_topic(seconds):
    """Seconds of the stages under the names of metrics.json's schema."""
    names = {'judge': 'synthesis', 'synthetic': 'synthesis'}
    totals = {}
    for stage, value in seconds.items():
        name = names.get(stage, stage.split('/')[0])
        totals[name] = round(totals.get(name, 0) + value, 1)
    return totals


def _make_judge(folder, config, parts):
    """(images -> (probabilities, features), Reference): what the quality check measures with."""
    model, variables = classifier.load(folder, config.classifier, len(parts.class_names))

    def judge(images, labels):
        image_set = splits.ImageSet(images, np.int32(labels), ('',) * len(labels))
        return predict.predict(model, variables, image_set, config.classifier.batch_size)

    train, held_out = parts.train, parts.validation
    reference = quality.Reference(
        np.asarray(train.images), train.labels, judge(train.images, train.labels)[1],
        np.asarray(held_out.images), held_out.labels,
        judge(held_out.images, held_out.labels)[1],
    )  # fmt: skip
    return judge, reference


def _make_check(config, judge, reference, num_classes):
    """The quality check as `synthesize.fill` wants it, and its thresholds."""
    max_distance = quality.distance_limit(reference, config.max_distance_quantile)
    limits = quality.duplicate_limits(
        reference.images, reference.labels, num_classes, config.duplicate_ratio
    )
    thresholds = {
        'min_relevance': config.min_relevance,
        'max_distance': max_distance,
        'copy_ratio': config.copy_ratio,
        'min_contrast': config.min_contrast,
        'max_saturated': config.max_saturated,
    }

    def check(images, labels, accepted, accepted_labels):
        probabilities, features = judge(images, labels)
        scores = quality.score(images, labels, probabilities, features, reference)
        duplicate = quality.duplicates(images, labels, accepted, accepted_labels, limits)
        return quality.decide(scores, duplicate, **thresholds), scores

    return check, thresholds


def _contact_sheet(parts, synthetic, rows=40):
    """PNG of real beside synthetic images, the classes with the fewest training images first."""
    classes = np.argsort(train_counts(parts), kind='stable')[:rows]
    return figures.sheet(
        parts.train.images, parts.train.labels, synthetic.images, synthetic.labels,
        parts.class_names, classes=classes,
    )  # fmt: skip
