"""What the runs of a sweep say together: of replicates a mean, of others each arm at its best."""

import functools
import itertools
import json
from collections.abc import Mapping, Sequence

import numpy as np

from configs import auto
from data import cache, clusters
from data.image_sets import SPLITS
from eval import calibration, folds, results, statistics
from eval.results import BASELINE
from train import fingerprints
from train.arms import stage

DIFFERENCES = {key: results.METRICS[key] for key in results.DECIDING}
ADJUSTED = 'adjusted'  # the column of adjusted arms' macro recall
# What fields that change no result end in.
HARMLESS = 'trackers', 'cpu_devices', *fingerprints.HARMLESS


def replicates(points: Sequence[Mapping]) -> bool:
    """Whether the runs differ in seeds only, and no two of them share one of the fields' values."""
    return len(points) > 1 and all(
        name.endswith('seed') and all(name in point for point in points)
        and len({point[name] for point in points}) == len(points)
        for name in itertools.chain(*points))


def alike(found: Sequence[Mapping]) -> bool:
    """Whether the configs are the same, but for what the sweep sets and what changes nothing.

    And whether they were made by the same code, on hardware that computes in the same type, and of
    the same images, where the sweep does not set which. Under `:auto` settings may differ in what
    this may choose, too: some of it follows from the sweep's.
    """
    varied = {'synthesis.batch_size', *itertools.chain(*(row['point'] for row in found))}
    if not varied & {'data.source', 'data.train', 'data.test'} and not _same_images(found):
        return False
    if not (_agree([row['code'] for row in found], ())
            and _agree([row['dtypes'] for row in found], varied)):
        return False
    if all(row['config'].get('auto') for row in found) and not _counts_stay(found):
        varied |= auto.names()
    # by which no weights are chosen where `select` is 'last'
    watched = {f'generator.{name}' for name in fingerprints.WATCH}
    rest = [{name: value for name, value in row['config'].items()
             if name not in varied and name.split('.')[-1] not in HARMLESS
             and not (name in watched and row['config']['generator.select'] == 'last')}
            for row in found]
    return all(config == rest[0] for config in rest)


def _agree(facts, varied):
    """Whether the dicts that have a key say the same of it, of all but those in `varied`."""
    keys = set(itertools.chain(*facts)).difference(varied)
    return all(len({repr(one[key]) for one in facts if key in one}) == 1 for key in keys)


def apart(found: Sequence[Mapping]) -> bool:
    """Whether no two runs share a seed of their classifiers, without which they vary too little."""
    configs = (row['config'] for row in found)  # of runs before there was a seed: from 0 on
    starts = sorted((one.get('classifier.seed', 0), one['classifier.seeds']) for one in configs)
    return all(seed + count <= later
               for (seed, count), (later, _) in itertools.pairwise(starts))


def unranked(found: Sequence[Mapping], points: Sequence[Mapping]) -> str:
    """Why none of the runs is the best, in a sentence or two; '' where one is."""
    again = "the sweep's command does these again (of other hardware, in another folder)."
    if replicates(points) or folds.are(points):
        said = ('The runs differ in seeds only, so none is the best.' if replicates(points) else
                'The runs are the folds of one set, so none is the best.')
        if not alike(found):
            return (f'{said} Some were made with other settings, images, code or hardware than the '
                    f'rest, so nothing is said of all together; {again}')
        return said if apart(found) else (
            f'{said} Some share seeds of classifiers, so nothing is said of all together: give '
            'each run a classifier.seed of its own, as far from the next as classifier.seeds.')
    if not alike(found):
        return ('Some runs were made with other settings, images, code or hardware than the rest, '
                f'so none is said to be the best; {again}')
    varied = (name for name in set(itertools.chain(*points))
              if len({repr(row['config'].get(name)) for row in found}) > 1)
    if any(name.startswith(('data.', 'splits.')) and name != 'data.image_size' for name in varied):
        return 'The runs have other images than each other, so none is the best.'
    return ''


def together(found: Sequence[Mapping], points: Sequence[Mapping]) -> dict:
    """What replicates, or all folds of a set, say together.

    Returns: {'differences': {pair of arms: {column: what `statistics.over_runs` says}},
        'same_images': whether all runs have the same test images, so that the intervals know how
        these vary}; of folds {'differences', 'folds': what `folds.pool` says}. {} if no pair is in
        every finished run, and while some of the runs still are of other settings than the rest, as
        when a sweep is being done again, or share seeds of classifiers. A group of classes counts
        if every run has it, and with the same test images the same classes in it, and if any run
        has a difference there; so does ADJUSTED.
    """
    if len(found) < 2 or not (alike(found) and apart(found)):
        return {}
    if folds.are(points) and len(found) == len(points):
        pooled = folds.pool(found, _predictions, _clusters)
        moved = pooled['adjusted']['differences'] if pooled else {}
        for pair, entry in moved.items():
            pooled['differences'][pair][ADJUSTED] = entry['macro_recall']
        return {'differences': pooled['differences'], 'folds': pooled} if pooled else {}
    if not replicates(points):
        return {}
    runs = [row['differences'] for row in found]
    pairs = [pair for pair in runs[0] if all(pair in run for run in runs)]
    if not pairs:
        return {}
    same = _same_test_images(found)
    errors = _images_errors(found, pairs) if same else {
        pair: dict.fromkeys(runs[0][pair], 0.0) for pair in pairs}
    differences = {
        pair: {key: statistics.over_runs([run[pair][key]['mean'] for run in runs], error)
               for key, error in errors[pair].items() if _tell(runs, pair, key)}
        for pair in pairs}
    return {'differences': differences, 'same_images': same}


def _tell(runs, pair, key):
    """Whether runs that agree on zero, as on a group of few test images, are not all there is."""
    return key in DIFFERENCES or (
        all(key in run[pair] for run in runs) and any(run[pair][key]['mean'] for run in runs))


def _same_images(found):
    """Whether the runs were made of the same files or, where these were touched, images."""
    if len({json.dumps(row.get('inputs')) for row in found}) == 1:
        return True
    images = [sorted(itertools.chain(*map(_images(row).get, SPLITS))) for row in found]
    return all(one == images[0] for one in images)


def _same_test_images(found):
    tests = [_images(row)['test'] for row in found]
    return all(test == tests[0] for test in tests)


def _images(row):
    """{split: [(name, digest, label, group) of each image]} of a run."""
    listed, found = cache.listing(row['places']['data']), {}
    for split in SPLITS:
        groups = listed.get('groups', {}).get(split) or [''] * len(listed[split])
        found[split] = [(*one, own) for one, own in zip(listed[split], groups, strict=True)]
    return found


def _counts_stay(found):
    """Whether all runs have as many training images of each class: replicates whose images neither
    belong together nor are thinned, so that each cut has as many.
    """
    return replicates([row['point'] for row in found]) and not any(
        row['config'].get('data.imbalance') or row['config'].get('splits.group_by')
        or cache.listing(row['places']['data']).get('groups') for row in found)


def _clusters(row):
    """Which test images belong together, see `statistics`; None: none do."""
    pattern = row['config'].get('splits.group_by')  # runs before there was one have none
    folder = row['places']['data']
    names, _, labels, groups = zip(*_images(row)['test'])
    copies = json.loads((folder / 'duplicates.json').read_text('utf-8'))
    given = groups if any(groups) else ()
    return clusters.find(names, np.array(labels), pattern, copies, 'test', given)


def _images_errors(found, pairs):
    """pair -> column -> `statistics.images_error` of the mean over all runs and seeds."""
    masks = [row['masks'] for row in found]
    groups = {name: mask for name, mask in masks[0].items()
              if mask.any() and all(np.array_equal(mask, other[name]) for other in masks)}
    columns = {**dict.fromkeys(DIFFERENCES), **{f'{name}_accuracy': name for name in groups}}
    labels, predicted, moved = np.zeros(0, int), {}, {}
    # arm by arm: the probabilities of all, of every run and seed, would be large
    for arm in dict.fromkeys(itertools.chain(*(pair.split('-') for pair in pairs))):
        files = [path for row in found for path in _predictions(row, arm)]
        labels, probabilities = results.read({arm: files}, found[0]['classes'])
        predicted[arm] = probabilities[arm].argmax(-1)
        fits = [(one, row['train_counts']) for row in found for one in results.calibrations(
            {arm: _predictions(row, arm)}, row['train_counts']).get(arm, ())]
        if len(fits) == len(files):
            moved[arm] = calibration.adjusted(probabilities[arm], *zip(*fits)).argmax(-1)
    errors, belonging = {}, _clusters(found[0])
    for pair in pairs:
        arm, other = pair.split('-')
        error = functools.partial(
            statistics.images_error, labels, num_classes=found[0]['classes'], clusters=belonging)
        own = error(predictions_a=predicted[other], predictions_b=predicted[arm], groups=groups)
        errors[pair] = {name or key: float(own[key]) for key, name in columns.items()}
        if arm in moved and other in moved:
            own = error(predictions_a=moved[other], predictions_b=moved[arm])
            errors[pair][ADJUSTED] = float(own['macro_recall'])
    return errors


def tuned(found: Sequence[Mapping], points: Sequence[Mapping]) -> dict:
    """What separates the arms, each as in the run of its own lowest scaled validation loss.

    Returns: {'best': {arm: its row}, 'differences': {pair: {column: difference}}, 'answers':
        [a sentence a pair]}; {} where the baseline is the same in all runs, and where these are
        `unranked` or differ in their images or their number of seeds.
    """
    if len(found) < 2 or unranked(found, points):
        return {}
    shared = {(row['places']['data'].resolve(), row['seeds']) for row in found}
    arms = [arm for arm in found[0]['losses'] if all(arm in row['losses'] for row in found)]
    if len(shared) > 1 or len(arms) < 2 or BASELINE not in arms or len(
            {row['losses'][BASELINE] for row in found}) == 1:
        return {}
    best = {arm: min(found, key=lambda row: (row['losses'][arm], row['index'])) for arm in arms}
    labels, probabilities = results.read(
        {arm: _predictions(row, arm) for arm, row in best.items()}, found[0]['classes'])
    predicted = {arm: p.argmax(-1) for arm, p in probabilities.items()}
    differences, answers, belonging = {}, [], _clusters(found[0])
    for arm in arms:
        if arm == BASELINE:
            continue
        pair = statistics.paired_bootstrap(
            labels, predicted[BASELINE], predicted[arm], found[0]['classes'], clusters=belonging)
        differences[f'{arm}-{BASELINE}'] = {key: pair[key] for key in DIFFERENCES}
        answers.append(results.verdict(pair, arm, BASELINE, labels, belonging))
    return {'best': best, 'differences': differences, 'answers': answers}


def _predictions(row, arm):
    """The files of an arm's predictions, one a seed, in the order of the seeds."""
    places, start = row['places'], stage(arm, '')
    seeds = sorted(int(name.removeprefix(start)) for name in places if name.startswith(start))
    return [places[f'{start}{seed}'] / 'predictions.npz' for seed in seeds]
