"""What a stage `classifiers/<arm>/seed_<n>` does, and what it reads.

`config` is the whole, frozen config.
"""

import dataclasses
import itertools

import numpy as np

from eval import predict, results
from eval.formats import percent
from train import arms, classifier, loop, parallel, runs, synthesizing
from train.progress import progress, say


def train_and_test_classifier(folder, config, parts, synthetic, arm, seed):
    """A classifier, and the one time that it sees the test images, if there are any.

    Raises:
        loop.Diverged, loop.Interrupted: see `loop.fit`; Diverged also where its probabilities are
            not finite.
    """
    model, variables = train_classifier(folder, config, parts, synthetic, arm, seed)
    for name, unseen in ((results.VALIDATION, parts.validation), ('predictions.npz', parts.test)):
        if not len(unseen):
            continue
        probabilities, _ = predict.predict(model, variables, unseen, config.classifier.batch_size)
        if not np.isfinite(probabilities).all():
            raise loop.Diverged(
                f'the classifier of arm {arm!r}, seed {seed}, gives no finite probabilities; lower '
                'config.classifier.learning_rate'
            )
        predict.save(folder / name, probabilities, unseen.labels)
    if parallel.is_main():
        rows = results.read_log(folder / 'metrics.jsonl')
        found = results.validation({arm: [rows]}, config.classifier.select)[arm]['accuracy']
        say(f'  {arm} seed {seed}: {percent(found["mean"])}% of the validation images right')


def train_classifier(folder, config, parts, synthetic, arm, seed):
    """One classifier of one arm; the arms differ in what `arms.ARMS` says and in nothing else."""
    made_of, settings = arms.ARMS[arm], arms.settings(config.classifier, arm)
    sets, shares, weights = [parts.train if made_of.real else synthetic], [1.0], [1.0]
    if made_of.mixed:
        share = synthetic_share(settings, parts, synthetic)
        sets, shares = [parts.train, synthetic], [1 - share, share]
        weights = [1.0, settings.synthetic_weight]
    init = _start(config, seed)
    with progress(f'{arm} seed {seed}') as update:
        return classifier.train(
            folder, settings, sets, shares, weights, parts.validation,
            num_classes=len(parts.class_names), seed=seed, update=update,
            class_counts=repeated_counts(config, parts, arm),
            init=init and init.classifiers()[0][1],
        )


def synthetic_share(settings, parts, synthetic):
    """The share of synthetic images in a batch of an arm with these `arms.settings`, in (0, 1)."""
    proportion = len(synthetic) / (len(synthetic) + len(parts.train))
    one = 1 / settings.batch_size  # a batch has an image of either kind
    return settings.synthetic_share or min(max(proportion, one), 1 - one)


def planned(config, parts):
    """{(arm, seed): what its classifier `depends` on}, seed by seed: a run that is cut short has
    whole pairs of arms.
    """
    return {(arm, seed): depends(config, parts, arm, seed)
            for seed, arm in itertools.product(arms.seeds(config.classifier), config.arms)}


def refuse_changed(stage, trained, *, synthetic, after):
    """`stages.Runner.refuse_changed` of the classifiers that see synthetic images, or that do not.

    Args: after: the digest of the images that they build on.
    """
    for (arm, seed), its in trained.items():
        if arms.ARMS[arm].synthetic == synthetic:
            stage.refuse_changed(arms.stage(arm, seed), after=[after], **its)


def depends(config, parts, arm, seed):
    """What a classifier depends on besides its images, for `stages.Runner.run`."""
    reads = arms.reads(config.classifier, arm)
    del reads['init_from']  # it is what lies there that counts
    if (counts := repeated_counts(config, parts, arm)) is not None:
        reads['class_counts'] = counts.tolist()
    if start := _start(config, seed):
        first = arms.stage(start.arm, start.seeds[0])
        reads['init'] = f'{first} {start.digest(first)}'
    return {'reads': {'classifier': reads}, 'code': [*classifier.CODE, 'train/classifying.py']}


def repeated_counts(config, parts, arm):
    """Images of each class in an epoch of the arm that repeats them, int [C]; None in others."""
    if not arms.ARMS[arm].repeated:
        return None
    return parts.train_counts + synthesizing.fill_plan(config, parts)


def _start(config, seed):
    """The `Run` with the one classifier that the classifier of this seed starts from, or None."""
    if not config.classifier.init_from:
        return None
    run = runs.open_run(config.classifier.init_from, 'original')
    place = seed - config.classifier.seed
    return dataclasses.replace(run, seeds=(run.seeds[place % len(run.seeds)],))
