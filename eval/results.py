"""From saved predictions to the numbers of metrics.json. Every rate is a fraction in [0, 1]."""

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from eval import calibration, metrics, ranking, statistics
from eval.calibration import Calibration
from eval.verdict import sentence

BASELINE = 'original'
CLAIM = 'augmented'
CONTROLS = ('oversampled', 'classical', 'logit_adjusted')  # what the claim must beat as well
ON_TOP = ('augmented_classical', 'classical')  # do synthetic images help it, too?
DECIDING = {'accuracy': 'accuracy', 'macro_f1': 'macro-F1'}  # what a verdict goes by
EVENLY = {'macro_recall': 'macro recall'}  # and one of adjusted arms
VALIDATION = 'validation.npz'  # beside predictions.npz, and as that but of validation images
METRICS = {'accuracy': 'Accuracy', 'macro_precision': 'Macro precision',
           'macro_recall': 'Macro recall', 'macro_f1': 'Macro-F1', 'weighted_f1': 'Weighted F1'}


def compare(labels: np.ndarray, probabilities: Mapping[str, np.ndarray],
            class_names: Sequence[str], train_counts: np.ndarray,
            groups: Mapping[str, int], clusters: np.ndarray | None = None,
            pairs: Sequence[tuple[str, str]] | None = None,
            calibrated: Mapping[str, np.ndarray] | None = None) -> dict:
    """Scores of every arm, and what separates the arms: `arms` and `differences`.

    Differences are those of `pairs` or, without them, every other arm minus `original`, `augmented`
    minus each control, and `ON_TOP`.

    Args: labels: int [N]; probabilities: arm -> float [S, N, C]; train_counts: int [C];
        groups: {'many': above, 'few': up to} in training images; clusters: see `statistics`;
        calibrated: the same after `calibration.calibrated`, by which images are ranked; arms that
        are not among them are ranked as they are.
    """
    masks = metrics.group_masks(train_counts, groups['many'], groups['few'])
    predicted = {arm: p.argmax(-1) for arm, p in probabilities.items()}
    calibrated = calibrated or {}
    ranked = {arm: ranking.by_group(labels, p, masks, clusters)
              for arm, p in {**probabilities, **calibrated}.items()}
    if pairs is None:
        pairs = [(arm, BASELINE) for arm in predicted if BASELINE in predicted and arm != BASELINE]
        pairs += [(CLAIM, arm) for arm in predicted if CLAIM in predicted and arm in CONTROLS]
        pairs += [ON_TOP] if set(ON_TOP) <= set(predicted) else []
    found = {'arms': {arm: _arm(labels, p, class_names, train_counts, masks, clusters)
                      for arm, p in probabilities.items()},
             'differences': {f'{arm}-{other}': _difference(labels, predicted, arm, other,
                                                           class_names, masks, clusters)
                             for arm, other in pairs}}
    for arm, p in calibrated.items():
        found['arms'][arm]['calibration']['calibrated_ece'] = _error(labels, p)
    for arm, (means, per_class) in ranked.items():
        found['arms'][arm]['average_precision'] = {
            **_ranked(means, 0), 'per_class': dict(zip(class_names, per_class.mean(0)))}
    for arm, other in pairs:
        means = {group: mean - ranked[other][0][group] for group, mean in ranked[arm][0].items()}
        found['differences'][f'{arm}-{other}']['average_precision'] = _ranked(means, -1)
    return found


def adjusted(labels: np.ndarray, moved: Mapping[str, np.ndarray], class_names: Sequence[str],
             train_counts: np.ndarray, groups: Mapping[str, int],
             clusters: np.ndarray | None = None) -> dict:
    """What `compare` says, but for single classes, of probabilities after `calibration.adjusted`.

    Its verdicts go by the macro recall, which is the accuracy on equally many images of each class.
    """
    found = compare(labels, moved, class_names, train_counts, groups, clusters)
    for pair, entry in found['differences'].items():
        arm, other = pair.split('-')
        entry['verdict'] = verdict(entry, arm, other, labels, clusters, EVENLY)
    kept = (*EVENLY, 'accuracy', 'groups', 'average_precision', 'verdict')
    return {kind: {name: {key: entry[key] for key in kept if key in entry}
                   for name, entry in entries.items()} for kind, entries in found.items()}


def read_log(path: Path) -> list[dict]:
    """The rows of a metrics.jsonl."""
    return [json.loads(line) for line in path.read_text('utf-8').splitlines()]


def validation(logs: Mapping[str, Sequence[list[dict]]], rule: str) -> dict:
    """What the final weights of each arm reached on validation, per seed.

    Returns: arm -> {'loss', 'scaled_loss', 'accuracy'}; see `predict.validation_metrics`.

    Args: logs: arm -> the rows of one metrics.jsonl a seed; rule: 'last' or 'best_validation_loss'.
    """
    found = {}
    for arm, seeds in logs.items():
        rows = [[row for row in seed if 'val_loss' in row] for seed in seeds]
        chosen = [seed[-1] if rule == 'last' else min(seed, key=lambda row: row['val_loss'])
                  for seed in rows]
        found[arm] = {name: over_seeds([row[f'val_{name}'] for row in chosen])
                      for name in ('loss', 'scaled_loss', 'accuracy')}
    return found


def training(logs: Mapping[str, Sequence[list[dict]]]) -> dict:
    """How well the classifiers of each arm knew what they were trained on at the end, per seed.

    Returns: arm -> {'loss', 'accuracy'}, means of the last tenth of the logged batches, as the
        networks saw them: augmented, under dropout, and by the loss that they were trained with.

    Args: logs: arm -> the rows of one metrics.jsonl a seed.
    """
    found = {}
    for arm, seeds in logs.items():
        rows = [[row for row in seed if 'accuracy' in row] for seed in seeds]
        last = [seed[-max(1, len(seed) // 10):] for seed in rows]
        found[arm] = {name: over_seeds([np.mean([row[name] for row in seed]) for seed in last])
                      for name in ('loss', 'accuracy')}
    return found


def verdict(differences: Mapping[str, Mapping], arm: str, other: str,
            labels: np.ndarray | None = None, clusters: np.ndarray | None = None,
            deciding: Mapping[str, str] = DECIDING) -> str:
    """`verdict.sentence` on arm - other: of what is `deciding` in `differences`.

    Args: labels, clusters: of the test images that the intervals rest on, see `statistics`; None,
        None if on runs.
    """
    headline = {name: differences[key] for key, name in deciding.items()}
    if clusters is not None:
        return sentence(arm, other, headline, len(np.unique(clusters)),
                        'test images or groups of them')
    return sentence(arm, other, headline, None if labels is None else len(labels))


def asked(metrics: Mapping) -> list[str]:
    """The pair of arms whose difference answers what synthetic images do; [] without any.

    `augmented` less `original`; else `ON_TOP`, as `original` has neither synthetic images nor
    RandAugment; else another arm less `original`, a control at last.
    """
    others = sorted(metrics['arms'], key=lambda arm: arm in CONTROLS)
    pairs = [f'{CLAIM}-{BASELINE}', '-'.join(ON_TOP), *(f'{arm}-{BASELINE}' for arm in others)]
    return next((pair.split('-') for pair in pairs if pair in metrics['differences']), [])


def shown(metrics: Mapping) -> list[str]:
    """The arms that figures and the class table compare, the one that the other is `asked` of
    first; or the only one.
    """
    if pair := asked(metrics):
        return pair[::-1]
    return [CLAIM] if CLAIM in metrics['arms'] else list(metrics['arms'])[:1]


def strongest_control(arms: Mapping[str, Mapping]) -> str | None:
    """The control of the highest macro-F1 among metrics.json's `arms`, None without any."""
    controls = [arm for arm in arms if arm in CONTROLS]
    return max(controls, key=lambda arm: arms[arm]['macro_f1']['mean'], default=None)


def read(predictions: Mapping[str, Sequence[Path]],
         num_classes: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Labels int [N] and, for each arm, probabilities float [S, N, C].

    Args: predictions: arm -> one predictions.npz a seed.
    Raises: ValueError, with the file's name, if test sets differ or a file does not fit; OSError
        if one cannot be read.
    """
    labels, first, arms = np.zeros(0, int), None, {}
    for arm, paths in predictions.items():
        arms[arm] = []
        for path in paths:
            own_labels, probabilities = _stored(path)
            labels, first = (own_labels, path) if first is None else (labels, first)
            if not np.array_equal(own_labels, labels):
                raise ValueError(f'{path}: its test labels are not those of {first}, so the '
                                 'classifiers cannot be compared; predict both on one test set')
            if probabilities.shape != (len(labels), num_classes):
                raise ValueError(f'{path}: probabilities have shape {probabilities.shape}, need '
                                 f'{(len(labels), num_classes)}')
            if not np.isfinite(probabilities).all():
                raise ValueError(f'{path}: probabilities are not finite; did training diverge?')
            arms[arm].append(probabilities)
    if len({len(paths) for paths in arms.values()}) != 1 or not all(arms.values()):
        raise ValueError('every arm needs one predictions file for each seed, got '
                         f'{ {arm: len(paths) for arm, paths in arms.items()} }')
    return labels, {arm: np.stack(stack) for arm, stack in arms.items()}


def calibrations(predictions: Mapping[str, Sequence[Path]],
                 train_counts: np.ndarray) -> dict[str, list[Calibration]]:
    """arm -> the `calibration.fit` of each of its seeds, to the validation images that are stored
    beside its predictions; without arms of earlier code, which has stored none.

    Args: as of `read`; train_counts: int [C].
    """
    stored = {arm: [Path(path).with_name(VALIDATION) for path in paths]
              for arm, paths in predictions.items()}
    return {arm: [calibration.fit(probabilities, labels, train_counts)
                  for labels, probabilities in map(_stored, paths)]
            for arm, paths in stored.items() if all(path.exists() for path in paths)}


def _stored(path):
    try:
        with np.load(path) as stored:
            return stored['labels'], stored['probabilities']
    except (EOFError, KeyError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise OSError(f'{path} is damaged; delete {Path(path).parent} and give the command that '
                      'made it again') from error


def jsonable(value):
    """The same value in plain Python; what JSON cannot hold as a number (NaN, infinity) is None."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, np.ndarray)):
        return [jsonable(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if isinstance(value, (str, int, bool, type(None))) else str(value)


def _arm(labels, probabilities, class_names, train_counts, masks, clusters) -> dict:
    """One arm's entry in metrics.json."""
    num_classes, predictions = len(class_names), probabilities.argmax(-1)
    seeds = [metrics.summary(labels, p, num_classes) for p in predictions]
    interval = statistics.bootstrap_interval(
        labels, predictions, num_classes, groups=masks, clusters=clusters)
    keys = [key for key in seeds[0] if key not in ('per_class', 'confusion')]
    arm = {key: over_seeds([s[key] for s in seeds], interval.get(key)) for key in keys}
    error = _error(labels, probabilities)
    arm['expected_calibration_error'] = error  # its name in earlier reports
    arm['calibration'] = {'ece': error}
    mean = {key: np.mean([s['per_class'][key] for s in seeds], axis=0)
            for key in ('precision', 'recall', 'f1')}
    support = seeds[0]['per_class']['support']
    arm['per_class'] = {
        name: {**{key: mean[key][i] for key in mean}, 'support': support[i],
               'train_count': train_counts[i]} for i, name in enumerate(class_names)}
    if clusters is not None:
        for i, row in enumerate(arm['per_class'].values()):
            row['clusters'] = len(np.unique(clusters[labels == i]))
    accuracy: list[dict] = [metrics.group_accuracy(labels, p, masks) for p in predictions]
    arm['groups'] = {
        group: {'classes': mask.sum(), 'test_images': support[mask].sum(),
                'accuracy': over_seeds([a[group] for a in accuracy], interval[f'{group}_accuracy'])
                if support[mask].sum() else None} for group, mask in masks.items()}
    return arm


def _error(labels, probabilities) -> dict:
    return over_seeds([metrics.expected_calibration_error(labels, p) for p in probabilities])


def _ranked(means: Mapping[str, ranking.Mean], lowest: int) -> dict:
    """Average precision of an arm, or the difference of two: macro, and of each group."""
    of = {}
    for group, mean in means.items():
        ci95 = np.clip(mean.interval(), lowest, 1)
        of[group] = over_seeds(list(mean.values), {'ci95': ci95})
    return {'macro': of.pop(ranking.ALL), 'groups': of}


def over_seeds(values: Sequence[float], interval: Mapping | None = None) -> dict:
    """`mean`, `std` and `per_seed` of one value a seed; of an interval its `ci95`."""
    # One seed has no standard deviation: null, which a reader cannot take for perfect agreement.
    std = np.std(values, ddof=1) if len(values) > 1 else None
    ci95 = {'ci95': interval['ci95']} if interval else {}
    return {'mean': np.mean(values), 'std': std, **ci95, 'per_seed': list(values)}


def _exact(difference, pair, rows) -> dict:
    """A group's difference with the larger of two p: the bootstrap's, which knows how seeds vary,
    and McNemar's on the group's rows, which holds for the fewest test images.
    """
    labels, a, b = pair
    exact = statistics.mcnemar_over_seeds(labels[rows], a[:, rows], b[:, rows])['combined']
    return difference | {'p': max(difference['p'], exact)}


def _difference(labels, predicted, arm, other, class_names, masks, clusters) -> dict:
    """The entry of arm - other in metrics.json."""
    pair = labels, predicted[other], predicted[arm]
    found = statistics.paired_bootstrap(
        *pair, len(class_names), groups=masks, clusters=clusters)
    tests = statistics.mcnemar_over_seeds(*pair)
    p = statistics.mcnemar_per_class(*pair, len(class_names), clusters)
    error = found['per_class_recall']['standard_error']
    either = np.maximum(p, statistics.student_per_class(
        *pair, len(class_names), error, clusters))
    tested = np.isin(np.arange(len(class_names)), labels)  # of the others nothing could be found
    adjusted = np.ones(len(class_names))
    adjusted[tested] = statistics.holm(either[tested])
    return {
        **{key: found[key] for key in METRICS},
        'mcnemar_p': tests['combined'], 'mcnemar_p_per_seed': tests['per_seed'],
        'verdict': verdict(found, arm, other, labels, clusters),
        'groups': {group: {'accuracy': _exact(found[f'{group}_accuracy'], pair, own)}
                   for group, mask in masks.items() if (own := mask[labels]).any()},
        'per_class': {name: {**{key: {'mean': found[f'per_class_{key}']['mean'][i],
                                      'ci95': found[f'per_class_{key}']['ci95'][i]}
                                for key in ('f1', 'recall')},
                             'mcnemar_p': p[i], 'holm_p': adjusted[i]}
                      for i, name in enumerate(class_names)}}
