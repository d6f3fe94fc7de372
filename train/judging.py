"""What synthetic images are measured with: a judge that saw the training split alone.

The judge is one more classifier of the arm `original`, with settings of its own, `config.judge`;
the rules are in `generation.quality`.
"""

import numpy as np

from configs import default
from data import image_sets
from eval import generative, predict, sheets
from generation import quality
from train import arms, classifier
from train.progress import progress

SUSPECTS = 12  # synthetic images most like a copy that the report shows


def train_judge(folder, config, parts):
    """The judge, from scratch, on the training split alone."""
    with progress('judge') as update:
        classifier.train(
            folder, _settings(config), [parts.train], [1.0], [1.0], parts.validation,
            num_classes=len(parts.class_names), seed=arms.JUDGE_SEED, update=update,
        )


def depends(config):
    """What the judge depends on besides the training images, for `stages.Runner.run`."""
    return {
        'reads': {'judge': arms.reads(_settings(config), 'original')},
        'code': [*classifier.CODE, 'train/judging.py'],
    }


def _settings(config):
    """`config.judge`, frozen, with the fields that are about arms as they are by default: off."""
    plain = default.get_config().classifier.to_dict()
    return type(config.judge)(plain | config.judge.to_dict())


def open_judge(folder, config, parts):
    """What the quality check measures with.

    Args:
        folder: of the stage `judge`. config: the whole, frozen config.
    Returns:
        (images, labels -> (probabilities, features); Reference; pixel distance per class below
        which two images are one, [num_classes]).
    """
    model, variables = classifier.load(folder, config.judge, len(parts.class_names))

    def judge(images, labels):
        image_set = image_sets.ImageSet(images, np.asarray(labels, np.int32), ('',) * len(labels))
        return predict.predict(model, variables, image_set, config.judge.batch_size)

    train, held_out = parts.train, parts.validation
    images = train.images
    limits = quality.duplicate_limits(
        images, train.labels, len(parts.class_names), config.quality.duplicate_ratio
    )
    reference = quality.Reference(
        images, train.labels, judge(train.images, train.labels)[1],
        held_out.images, held_out.labels,
        judge(held_out.images, held_out.labels)[1],
        quality.distinct(images, train.labels, limits) & ~parts.repeats,  # of all classes
    )
    return judge, reference, limits


def make_check(config, judge, reference, limits):
    """The quality check as `synthesize.fill` wants it, and its thresholds.

    Args:
        config: `config.quality`; the others: of `open_judge`.
    """
    quantile, unasked = config.max_distance_quantile, rare(config, reference)
    thresholds = {
        'min_relevance': config.min_relevance,
        'max_distance': quality.distance_limit(reference, quantile),
        'copy_ratio': config.copy_ratio,
        **quality.extreme_limits(
            reference, quantile, min_contrast=config.min_contrast,
            max_saturated=config.max_saturated,
        ),
    }

    def check(images, labels, accepted, accepted_labels):
        probabilities, features = judge(images, labels)
        scores = quality.score(images, labels, probabilities, features, reference)
        duplicate = quality.duplicates(images, labels, accepted, accepted_labels, limits)
        relevance = np.where(np.isin(labels, unasked), 0.0, config.min_relevance)
        limits_of_each = thresholds | {'min_relevance': relevance}
        return quality.decide(scores, duplicate, **limits_of_each), scores

    return check, thresholds


def rare(config, reference):
    """Labels of the classes of which the judge is not asked, by `config.relevance_from`; none where
    it is not asked at all."""
    counts = np.bincount(reference.labels)
    asked = config.min_relevance > 0
    return np.flatnonzero((counts > 0) & (counts < config.relevance_from) & asked)


def measure(config, parts, rows, judge, reference):
    """(what quality.json says of judge, copies and likeness to real images, sheets {name: PNG}).

    Args:
        config: the whole config. rows: as `synthesize.fill` returns them.
    """
    copies = quality.copies(rows, reference, config.quality.copy_ratio)
    found = {
        'copies': copies, 'copy_rate': copies['made']['either'],
        'real_heldout_copy_rate': copies['real_held_out']['either'],
        'judge': _assess(judge, parts),
        'unasked': [parts.class_names[label] for label in rare(config.quality, reference)],
    }
    sheets = {}
    if len(chosen := quality.suspects(rows, SUSPECTS)):
        suspects = {name: values[chosen] for name, values in rows.items()}
        sheets['copies.png'] = _suspects_sheet(parts, suspects, judge, reference)
    stay = np.flatnonzero(rows['reasons'] == '')
    if len(stay):
        images, labels = rows['images'][stay], rows['labels'][stay]
        sheets['contact_sheet.png'] = _contact_sheet(parts, images, labels)
        features = judge(images, labels)[1]
        found['generative'] = generative.compare(
            (features, labels), (reference.held_out_features, reference.held_out_labels),
            (reference.features, reference.labels),
        ) | {'network': config.judge.network, 'features': features.shape[1]}
    return found, sheets


def _assess(judge, parts):
    """How often the judge is right on validation images, and how often one who always names the
    largest class would be."""
    images, labels = parts.validation.images, parts.validation.labels
    predicted = judge(images, labels)[0].argmax(-1)
    return {
        'validation_images': len(labels),
        'accuracy': float((predicted == labels).mean()),
        'largest_class': float((labels == parts.train_counts.argmax()).mean()),
    }


def _suspects_sheet(parts, rows, judge, reference):
    """PNG of synthetic images beside the training images that they might be copies of."""
    images, labels, kept = rows['images'], rows['labels'], rows['reasons'] == ''
    near = quality.neighbours(images, judge(images, labels)[1], reference)
    spaces = np.where(rows['pixel_ratio'] <= rows['feature_ratio'], 'pixels', 'features')
    ratios = np.minimum(rows['pixel_ratio'], rows['feature_ratio'])
    nearest = np.stack([near[space][1][i] for i, space in enumerate(spaces)])
    names = [parts.class_names[label] for label in labels]
    return sheets.copies(images, reference.images[nearest], ratios, spaces, names, kept)


def _contact_sheet(parts, images, labels, rows=40):
    """PNG of real beside synthetic images, the classes with the fewest training images first."""
    classes = np.argsort(parts.train_counts, kind='stable')[:rows]
    return sheets.sheet(
        parts.train.images, parts.train.labels, images, labels, parts.class_names, classes=classes,
    )
