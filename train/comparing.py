"""Predictions from elsewhere, as of a pretrained network, beside those of a run's arms: the list of
the run's images, and the comparison on its test images.
"""

import csv
import pathlib
import unicodedata

import numpy as np

from data import clusters, splits
from eval import results, wording
from train import arms, disk

GIVEN = 'given'  # what is compared with the arms, among them
COLUMNS = 'split', 'file', 'label'


def write_listing(run, out):
    """A CSV of the run's images, a line each: COLUMNS; returns how many there are."""
    parts, total = run.parts(), 0
    with (
        disk.atomic_write(pathlib.Path(out)) as aside,
        aside.open('w', newline='', encoding='utf-8') as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for split in splits.SPLITS:
            one = getattr(parts, split)
            for name, label in zip(one.names, one.labels, strict=True):
                writer.writerow([split, name, parts.class_names[label]])
                total += 1
    return total


def compare(run, paths):
    """What metrics.json says of arms and differences, of `GIVEN` and each arm of the run.

    As many classifiers of each arm are compared as there are files, one of another training each.

    Args:
        paths: CSV files with the columns `file` and `class`, such as `reuse.write_predictions`
            makes: the class that is predicted of each test image of the run, as its report and
            `write_listing` name it. Images of other splits may be among them.

    Raises:
        ValueError: more files than the run has seeds, or one that does not fit.
        OSError: one cannot be read.
    """
    parts, config, seeds = run.parts(), run.config, arms.seeds(run.config.classifier)
    if len(paths) > len(seeds):
        raise ValueError(
            f'--predictions names {len(paths)} files, and {run.folder} has {len(seeds)} '
            'classifiers an arm; give at most as many'
        )
    names = parts.class_names
    given = np.stack([_one_hot(path, parts.test, names) for path in paths])
    labels, probabilities = results.read(
        {arm: [run.stage(arms.stage(arm, seed)) / 'predictions.npz' for seed in seeds[: len(paths)]]
         for arm in config.arms}, len(names))
    found = results.compare(
        labels, probabilities | {GIVEN: given}, names, parts.train_counts,
        {'many': config.report.many, 'few': config.report.few},
        clusters.find(
            parts.test.names, labels, config.splits.group_by, parts.duplicates, 'test'),
        pairs=[(GIVEN, arm) for arm in config.arms],
    )
    for key in ('calibration', 'expected_calibration_error'):  # of classes alone there is none
        del found['arms'][GIVEN][key]
    for difference in found['differences'].values():
        difference['doubts'] = wording.few_seeds(len(paths))
    facts = {'test_images': len(labels), 'seeds': len(paths), 'files': list(map(str, paths))}
    return facts | found


def _one_hot(path, test, class_names):
    """The classes that a file predicts of the test images, as probabilities float [N, C]."""
    number = {_composed(name): k for k, name in enumerate(class_names)}
    predicted: dict[str, str] = {}
    with pathlib.Path(path).expanduser().open(newline='', encoding='utf-8-sig') as file:
        rows = csv.DictReader(file)
        try:
            if not {'file', 'class'} <= {*(rows.fieldnames or ())}:
                raise ValueError('needs the columns file and class (the predicted one)')
            for row in rows:
                name, label = _composed(row['file'] or ''), _composed(row['class'] or '')
                if predicted.setdefault(name, label) != label:
                    raise ValueError(f'has {name} twice, as {predicted[name]} and as {label}')
        except (ValueError, csv.Error) as error:
            raise ValueError(f'{path}, line {rows.line_num}: {error}') from None
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


def _composed(text):
    return unicodedata.normalize('NFC', text)  # macOS decomposes accents
