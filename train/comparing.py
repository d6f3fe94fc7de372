"""Predictions from elsewhere, as of a pretrained network, beside those of a run's arms: the list of
the run's images, and the comparison on its test images.
"""

import csv
import pathlib
import unicodedata

import numpy as np

from configs.default import is_tested
from data import clusters, image_sets, tables
from eval import calibration, doubts, folds, mistakes, results
from train import arms, disk

GIVEN = 'given'  # what is compared with the arms, among them
COLUMNS = 'split', 'file', 'label'


def write_listing(run, out):
    """A CSV of a `Run`'s images, a line each: COLUMNS, of folds behind `fold`; how many lines."""
    several, total = len(run.each()) > 1, 0
    with (
        disk.atomic_write(pathlib.Path(out)) as aside,
        aside.open('w', newline='', encoding='utf-8') as file,
    ):
        writer = csv.writer(file)
        writer.writerow([*['fold'] * several, *COLUMNS])
        for fold, one in enumerate(run.each()):
            parts = one.parts()
            for split in image_sets.SPLITS:
                images = getattr(parts, split)
                for name, label in zip(images.names, images.labels, strict=True):
                    line = split, name, parts.class_names[label]
                    writer.writerow([fold, *line] if several else line)
                    total += 1
    return total


def compare(run, paths, table=None):
    """What metrics.json says of arms and differences, of `GIVEN` and each arm of a run or of all
    folds of a set.

    As many classifiers of each arm are compared as there are files, one of another training each.

    Args:
        run: a `runs.Run`, or `runs.Folds`.
        paths: CSV files with the columns `file` and `class`, such as `reuse.write_predictions`
            makes: the class that is predicted of each test image of the run, as its report and
            `write_listing` name it. Images of other splits may be among them.
        table: where `mistakes.write_table` lists all test images; None: nowhere.

    Raises:
        ValueError: more files than the run has seeds, one twice, or one that does not fit.
        OSError: one cannot be read.
    """
    paths = [pathlib.Path(path).expanduser() for path in paths]
    _check(run, paths)
    given = {path: _predicted(path) for path in paths}
    parts = [one.parts() for one in run.each()]
    labels, probabilities, belonging = folds.concatenate(
        [_of_run(one, own, given) for one, own in zip(run.each(), parts, strict=True)])
    counts = np.mean([own.train_counts for own in parts], axis=0).round().astype(int)
    names, groups = run.class_names(), run.config.report
    found = results.compare(
        labels, probabilities, names, counts, {'many': groups.many, 'few': groups.few}, belonging,
        pairs=[(GIVEN, arm) for arm in run.config.arms],
    )
    for entry in (*found['arms'].values(), *found['differences'].values()):
        for key in ('calibration', 'expected_calibration_error', 'average_precision'):
            entry.pop(key, None)  # of classes alone there is none to compare the arms' with
    for difference in found['differences'].values():
        difference['doubts'] = doubts.of_seeds(len(paths))
    if table:
        files = [name for own in parts for name in own.test.names]
        mistakes.write_table(table, files, names, labels, probabilities)
    facts = {'test_images': len(labels), 'seeds': len(paths), 'files': list(map(str, paths))}
    return facts | found


def _check(run, paths):
    """Raises ValueError if the run has no such classifiers, or a file is named twice."""
    seeds = run.config.classifier.seeds
    if not is_tested(run.config):
        raise ValueError(f'{run.folder} has no test images to compare on')
    if len(run.seeds) < seeds:
        raise ValueError('--checkpoint names one classifier; name the run, or an arm of it')
    if len(paths) > seeds:
        raise ValueError(
            f'--predictions names {len(paths)} files, and {run.folder} has {seeds} classifiers an '
            'arm; give at most as many'
        )
    if len({path.resolve() for path in paths}) < len(paths):
        raise ValueError('--predictions names a file twice; each must be of another training')


def _of_run(run, parts, given):
    """What `folds.concatenate` takes of one run: its first classifiers of each arm, calibrated as
    `reuse.write_predictions` says them, and `given`.
    """
    seeds = arms.seeds(run.config.classifier)[: len(given)]
    files = {arm: [run.stage(arms.stage(arm, seed)) / 'predictions.npz' for seed in seeds]
             for arm in run.config.arms}
    labels, found = results.read(files, len(parts.class_names))
    for arm, by in results.calibrations(files, parts.train_counts).items():
        found[arm] = calibration.calibrated(found[arm], by)
    found[GIVEN] = np.stack([
        _one_hot(path, classes, parts.test, parts.class_names) for path, classes in given.items()])
    return labels, found, clusters.of_test(parts, run.config.splits.group_by)


def _predicted(path):
    """{name of an image: the class that is predicted of it}."""
    predicted: dict[str, str] = {}
    for line, cells in tables.read_rows(path, _columns):
        name, label = map(_composed, cells)
        if predicted.setdefault(name, label) != label:
            raise ValueError(
                f'{path}, line {line}: {name} is {label} here and {predicted[name]} before')
    return predicted


def _one_hot(path, predicted, test, class_names):
    """What is predicted of the test images, as probabilities float [N, C]."""
    number = {_composed(name): k for k, name in enumerate(class_names)}
    lacking = [name for name in test.names if not predicted.get(_composed(name))]
    if lacking:
        raise ValueError(
            f'{path}: no prediction of {len(lacking):,} of the {len(test):,} test images, such as '
            f'{lacking[0]}; --mode=export --what=splits lists them, under the names they need here'
        )
    found = [predicted[_composed(name)] for name in test.names]
    if unknown := sorted({*found} - number.keys()):
        raise ValueError(
            f'{path}: the run has no class {unknown[0]!r}; it has {", ".join(class_names)}')
    return np.eye(len(class_names))[[number[label] for label in found]]


def _columns(header):
    if not {'file', 'class'} <= {*header}:
        raise ValueError('needs the columns file and class (the predicted one)')
    return 'file', 'class'


def _composed(text):
    return unicodedata.normalize('NFC', text)  # macOS decomposes accents
