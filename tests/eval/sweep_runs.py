"""Finished runs of a sweep, made up: their predictions, and what their folders hold."""

import functools
import io
import json

import numpy as np
from rich.console import Console

from configs import augmented
from eval import calibration, leaderboard, results

RIGHT = {'original': (25, 28, 22), 'augmented': (30, 29, 28)}  # of 50 images a class, by run
SEEDS = [{'splits.seed': seed, 'generator.seed': seed, 'classifier.seed': 100 * seed}
         for seed in range(3)]
GROUPS = {'many': 40, 'few': 25}
DOSES = [{'synthesis.fill': fill} for fill in ('2x', '3x', '4x')]
RATES = [{'classifier.learning_rate': rate} for rate in (1e-3, 2e-3, 4e-3)]
LOSSES = {'original': (2.5, 1.9, 1.7), 'augmented': (1.0, 1.2, 1.1)}


@functools.cache
def compared(right):
    """(labels, {arm: probabilities}, what a report says of them) of arms right so often a class.

    Args:
        right: ((arm, of 50 images), ...).
    """
    labels, counts = np.repeat(np.arange(4), 50), np.array([60, 30, 10, 12])
    hits = {arm: np.arange(200) % 50 < count for arm, count in right}
    probabilities = {arm: np.eye(4)[np.where(hit, labels, (labels + 1) % 4)][None]
                     for arm, hit in hits.items()}
    return labels, probabilities, results.compare(labels, probabilities, 'abcd', counts, GROUPS)


def runs(workdir, points, arms=RIGHT, losses=None):
    """Finished runs in the folders of a sweep.

    `losses`: of the validation images, arm -> one a run; without, the later, the lower.
    """
    for index, point in enumerate(points):
        labels, probabilities, found = compared(
            tuple((arm, count[index]) for arm, count in arms.items()))
        config = augmented.get_config()
        config.update_from_flattened_dict(point)
        metrics = {
            'dataset': 'pets', 'seeds': 1, 'classes': 4, 'train_images': 1112 - index,
            'test_images': 200, 'synthetic': {'accepted': 7}, 'groups': GROUPS,
            'training': {arm: {'accuracy': {'per_seed': [0.9]}} for arm in arms},
            'validation': {
                arm: {'scaled_loss': {'mean': losses[arm][index] if losses else 1 / (1 + index)},
                      'accuracy': {'mean': 0.5}} for arm in arms},
            **found}
        folder = leaderboard.folder(workdir, index)
        (folder / 'report').mkdir(parents=True)
        (folder / 'report' / 'metrics.json').write_text(json.dumps(results.jsonable(metrics)))
        (folder / 'config.json').write_text(json.dumps({'config': config.to_dict()}))
        places = {'data': '../../shared/data/1', 'report': 'report'}
        (folder / places['data']).mkdir(parents=True, exist_ok=True)
        images = {'train': [], 'validation': [], 'test': [['a/1.png', '1234', 0]]}
        (folder / places['data'] / 'splits.json').write_text(json.dumps(images))
        (folder / places['data'] / 'duplicates.json').write_text('[]')
        for arm, table in probabilities.items():
            name = f'classifiers/{arm}/seed_{100 * index}'
            places[name] = f'../../shared/{name}/{index}'
            (folder / places[name]).mkdir(parents=True)
            np.savez(folder / places[name] / 'predictions.npz', labels=labels,
                     probabilities=table[0])
        (folder / 'stages.json').write_text(json.dumps(places))
    return workdir


def change(workdir, fields, point=SEEDS[0], index=0):
    """Says of a run that it was made with these fields."""
    path = leaderboard.folder(workdir, index) / 'config.json'
    config = augmented.get_config()
    config.update_from_flattened_dict(point | fields)
    path.write_text(json.dumps({'config': config.to_dict()}))


def adjustable(workdir, found):
    """Stores what the runs' classifiers say of validation images, less surely from run to run, and
    has their reports say what follows of adjusted arms.

    Args:
        found: `leaderboard.rows`.
    Returns:
        {arm: the classes that each run's classifier predicts when it is adjusted, [runs, N]}.
    """
    classes = {}
    for row in found:
        counts, index, moved = np.array(row['train_counts']), row['index'], {}
        of = np.repeat(np.arange(4), (60, 30, 10, 12))
        said = np.full((len(of), 4), 0.1 + 0.05 * index)
        said[np.arange(len(of)), of] = 0.7 - 0.15 * index
        for arm in row['scores']:
            place = row['places'][f'classifiers/{arm}/seed_{100 * index}']
            np.savez(place / results.VALIDATION, probabilities=said, labels=of)
            with np.load(place / 'predictions.npz') as stored:
                labels, table = stored['labels'], 0.1 * stored['probabilities'] + 0.225
            np.savez(place / 'predictions.npz', probabilities=table, labels=labels)
            by = [calibration.fit(said, of, counts)]
            moved[arm] = calibration.adjusted(table[None], by, counts)
            classes.setdefault(arm, []).append(moved[arm][0].argmax(-1))
        path = leaderboard.folder(workdir, index) / 'report' / 'metrics.json'
        metrics = json.loads(path.read_text('utf-8'))
        metrics['adjusted'] = results.adjusted(labels, moved, 'abcd', counts, GROUPS)
        path.write_text(json.dumps(results.jsonable(metrics)), 'utf-8')
    return {arm: np.stack(own) for arm, own in classes.items()}


def move_data(workdir):
    """Says that the second run has images of its own."""
    path = leaderboard.folder(workdir, 1) / 'stages.json'
    path.write_text(path.read_text().replace('data/1', 'data/2'))
    (workdir / 'shared' / 'data' / '2').mkdir()


def made_by(workdir, code, dtype, index=0):
    """Says of a run's classifiers with which code and dtype they were made."""
    at = leaderboard.folder(workdir, index)
    places = json.loads((at / 'stages.json').read_text())
    for name in places:
        if name.startswith('classifiers/'):
            (at / places[name] / 'stage.json').write_text(json.dumps({
                'digest': '', 'seconds': 1, 'reads': {'classifier': {'dtype': dtype}}, 'after': [],
                'code': code}))


def pages(workdir, points):
    leaderboard.write(leaderboard.read(workdir, points))
    return {name: (workdir / 'report' / f'sweep.{name}').read_text('utf-8')
            for name in ('html', 'md', 'csv')}


def console(workdir, points):
    text = io.StringIO()
    Console(file=text, width=80).print(leaderboard.console_table(leaderboard.read(workdir, points)))
    return text.getvalue()
