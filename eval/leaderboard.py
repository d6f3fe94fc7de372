"""The runs of a sweep side by side: sweep.html, sweep.md, sweep.csv.

Best on validation first, where all have the same images; where the baseline varies, too, also what
separates the arms when each has the settings that suit it best, since a gain may be nothing but a
baseline that nobody tuned. Of replicates, runs that differ in seeds only, none is the best: these
stay in their order, and what they say together is added.
"""

import csv
import dataclasses
import io
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from configs.default import flat
from configs.sweeps import AS_IT_IS
from eval import report, results, statistics, wording
from eval.metrics import group_masks
from eval.results import BASELINE, CLAIM
from train import disk, stages

DIFFERENCES = {'accuracy': 'Accuracy', 'macro_f1': 'Macro-F1'}
HARMLESS = 'trackers', 'cpu_devices', *stages.HARMLESS  # what fields that change no result end in
GROUPS = 'many', 'medium', 'few'  # of classes, by their training images
COUNTS = {'train_images': 'training images', 'test_images': 'test images',
          'seeds': 'classifiers an arm'}


@dataclasses.dataclass(frozen=True)
class Board:
    """A sweep's finished runs, and what they say: of `rows`, `together` and `tuned`."""

    workdir: Path
    points: Sequence[Mapping]
    rows: Sequence[Mapping]
    together: Mapping
    tuned: Mapping


def read(workdir: Path, points: Sequence[Mapping]) -> Board:
    """The leaderboard of a sweep as far as its runs are finished."""
    found = rows(workdir, points)
    return Board(workdir, points, found, together(found, points), tuned(found, points))


def folder(workdir: Path, index: int) -> Path:
    """The run folder of a sweep's run."""
    return workdir / 'points' / f'{index:03d}'


def words(point: Mapping, between: str = ', ') -> str:
    """'synthesis.fill=2x, synthesis.guidance_scale=1.0'."""
    return between.join(f'{name}={value}' for name, value in point.items()) or AS_IT_IS


def basis(found: Sequence[Mapping]) -> str:
    """What the runs' figures rest on: 'glyphs, 37 classes: 1,065 training images, ...'."""
    ends = {name: sorted({row[key] for row in found}) for key, name in COUNTS.items()}
    counts = ', '.join(' to '.join(f'{n:,}' for n in dict.fromkeys((own[0], own[-1]))) + f' {name}'
                       for name, own in ends.items())
    return f'{found[0]["dataset"]}, {found[0]["classes"]} classes: {counts}'


def replicates(points: Sequence[Mapping]) -> bool:
    """Whether the runs differ in seeds only, and no two of them share one of these."""
    return len(points) > 1 and all(
        name.endswith('seed') and all(name in point for point in points)
        and len({point[name] for point in points}) == len(points)
        for name in itertools.chain(*points))


def alike(found: Sequence[Mapping]) -> bool:
    """Whether the configs are the same, but for what the sweep sets and what changes nothing."""
    varied = {'synthesis.batch_size', *itertools.chain(*(row['point'] for row in found))}
    rest = [{name: value for name, value in row['config'].items()
             if name not in varied
             and name.split('.')[-1] not in HARMLESS} for row in found]
    return all(config == rest[0] for config in rest)


def unranked(found: Sequence[Mapping], points: Sequence[Mapping]) -> str:
    """Why none of the runs is the best, in a sentence or two; '' where one is."""
    again = "the sweep's command does these again."
    if replicates(points):
        said = 'The runs differ in seeds only, so none is the best.'
        return said if alike(found) else (
            f'{said} Some were made with other settings than the rest, so nothing is said of all '
            f'together; {again}')
    if not alike(found):
        return ('Some runs were made with other settings than the rest, so none is said to be the '
                f'best; {again}')
    varied = (name for name in set(itertools.chain(*points))
              if len({repr(row['config'][name]) for row in found}) > 1)
    if any(name.startswith(('data.', 'splits.')) and name != 'data.image_size' for name in varied):
        return 'The runs have other images than each other, so none is the best.'
    return ''


def rows(workdir: Path, points: Sequence[Mapping]) -> list[dict]:
    """What each finished run reached, lowest scaled validation loss of its arm first or as planned,
    where they are `unranked`.

    The arm is `augmented` or, in a sweep without it, the last one. A run that was made with other
    settings than its point says (the sweep's file changed since), or by code that did not know the
    scaled loss, is left out; the sweep's command does it again.
    """
    found = []
    for index, point in enumerate(points):
        at = folder(workdir, index)
        places = stages.places(at)
        if 'report' not in places or not all(place.is_dir() for place in places.values()):
            continue  # not finished, or just being done again
        try:
            metrics = json.loads((at / 'report' / 'metrics.json').read_text('utf-8'))
        except FileNotFoundError:
            continue  # removed by hand
        config = flat(json.loads((at / 'config.json').read_text('utf-8'))['config'])
        if any(config[name] != value for name, value in json.loads(json.dumps(point)).items()):
            continue
        arm = CLAIM if CLAIM in metrics['arms'] else list(metrics['arms'])[-1]
        if 'scaled_loss' not in metrics['validation'][arm]:
            continue
        losses = {name: scores['scaled_loss']['mean']
                  for name, scores in metrics['validation'].items()}
        synthetic = metrics['synthetic'] or {}
        classes = metrics['arms'][arm]['per_class'].values()
        differences = {pair: _differences(entry) for pair, entry in metrics['differences'].items()}
        found.append({
            'index': index, 'point': dict(point), 'config': config, 'arm': arm, 'places': places,
            **{name: metrics[name] for name in ('dataset', 'classes', *COUNTS)},
            'masks': group_masks(np.array([row['train_count'] for row in classes]),
                                 **metrics['groups']),
            'losses': losses, 'validation_loss': losses[arm],
            'validation_accuracy': metrics['validation'][arm]['accuracy']['mean'],
            'accepted': synthetic.get('accepted'),
            'scores': {name: {key: scores[key] for key in DIFFERENCES}
                       for name, scores in metrics['arms'].items()},
            'difference': differences.get(f'{arm}-{BASELINE}', {}), 'differences': differences,
        })  # fmt: skip
    if unranked(found, points):
        return found
    return sorted(found, key=lambda row: row['validation_loss'])


def together(found: Sequence[Mapping], points: Sequence[Mapping]) -> dict:
    """What replicates say together.

    Returns: {'differences': {pair of arms: {column: what `statistics.over_runs` says}},
        'same_images': whether all runs have the same test images, so that the intervals know how
        these vary}; {} if no pair is in every finished run, and while some of the runs still are of
        other settings than the rest, as when a sweep is being done again. A group of classes
        counts if every run has it, and with the same test images the same classes in it.
    """
    if len(found) < 2 or not replicates(points) or not alike(found):
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
               for key, error in errors[pair].items() if all(key in run[pair] for run in runs)}
        for pair in pairs}
    return {'differences': differences, 'same_images': same}


def _same_test_images(found):
    listings = (row['places']['data'] / 'splits.json' for row in found)
    tests = [json.loads(path.read_text('utf-8'))['test'] for path in listings]
    return all(test == tests[0] for test in tests)


def _images_errors(found, pairs):
    """pair -> column -> `statistics.images_error` of the mean over all runs and seeds."""
    masks = [row['masks'] for row in found]
    groups = {name: mask for name, mask in masks[0].items()
              if mask.any() and all(np.array_equal(mask, other[name]) for other in masks)}
    columns = {**dict.fromkeys(DIFFERENCES), **{f'{name}_accuracy': name for name in groups}}
    labels, predicted = np.zeros(0, int), {}
    # arm by arm: the probabilities of all, of every run and seed, would be large
    for arm in dict.fromkeys(itertools.chain(*(pair.split('-') for pair in pairs))):
        files = [path for row in found for path in _predictions(row, arm)]
        labels, probabilities = results.read({arm: files}, found[0]['classes'])
        predicted[arm] = probabilities[arm].argmax(-1)
    errors = {}
    for pair in pairs:
        arm, other = pair.split('-')
        error = statistics.images_error(
            labels, predicted[other], predicted[arm], found[0]['classes'], groups=groups)
        errors[pair] = {name or key: float(error[key]) for key, name in columns.items()}
    return errors


def tuned(found: Sequence[Mapping], points: Sequence[Mapping]) -> dict:
    """What separates the arms, each as in the run of its own lowest scaled validation loss.

    Returns: {'best': {arm: its row}, 'differences': {pair: {column: difference}}, 'answers':
        [a sentence a pair]}; {} where the baseline is the same in all runs, and where these are
        `unranked` or differ in their images or their number of seeds.
    """
    if len(found) < 2 or unranked(found, points):
        return {}
    images = {(row['places']['data'].resolve(), row['seeds']) for row in found}
    arms = [arm for arm in found[0]['losses'] if all(arm in row['losses'] for row in found)]
    if len(images) > 1 or len(arms) < 2 or BASELINE not in arms or len(
            {row['losses'][BASELINE] for row in found}) == 1:
        return {}
    best = {arm: min(found, key=lambda row: (row['losses'][arm], row['index'])) for arm in arms}
    labels, probabilities = results.read(
        {arm: _predictions(row, arm) for arm, row in best.items()}, found[0]['classes'])
    predicted = {arm: p.argmax(-1) for arm, p in probabilities.items()}
    differences, answers = {}, []
    for arm in arms:
        if arm == BASELINE:
            continue
        pair = statistics.paired_bootstrap(
            labels, predicted[BASELINE], predicted[arm], found[0]['classes'])
        differences[f'{arm}-{BASELINE}'] = {key: pair[key] for key in DIFFERENCES}
        answers.append(results.verdict(pair, arm, BASELINE, len(labels)))
    return {'best': best, 'differences': differences, 'answers': answers}


def write(board: Board) -> None:
    """Writes report/sweep.{html,md,csv} of the runs that are finished."""
    fields = list(dict.fromkeys(itertools.chain(*board.points)))
    context = {'rows': board.rows, 'planned': len(board.points), 'differences': DIFFERENCES,
               'unranked': unranked(board.rows, board.points),
               'together': board.together, 'answer': _answer(board.together),
               'tuned': board.tuned, 'fields': ', '.join(fields),
               'columns': DIFFERENCES | {group: f'Accuracy, {group}' for group in GROUPS},
               'name': board.workdir.name, 'words': words,
               'basis': basis(board.rows) if board.rows else ''}  # fmt: skip
    pages = {'sweep.csv': _csv(board.rows, fields)}
    for name in ('sweep.html', 'sweep.md'):
        pages[name] = report.templates().get_template(name).render(context)
    for name, text in pages.items():
        with disk.atomic_write(board.workdir / 'report' / name) as unfinished:
            unfinished.write_text(text, 'utf-8')


def console_table(board: Board) -> Table:
    """The leaderboard as a rich table; below it what `together` or `tuned` adds."""
    why = unranked(board.rows, board.points)
    order = 'As planned' if why else 'Best on validation first'
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=why or None,
                  title=f'{order}; in points, with 95% intervals on the test set')
    for name in ('Run', 'Settings', 'Validation\nloss'):
        table.add_column(name, overflow='fold')
    for name in DIFFERENCES.values():
        table.add_column(f'{name}\n- {BASELINE}', justify='right')
    for row in board.rows:
        table.add_row(str(row['index']), words(row['point'], '\n'),
                      f'{row["validation_loss"]:.4f}', *_cells(row['difference']))
    if board.together:
        table.add_section()
        table.add_row('all', 'Their mean, with its\ninterval over runs:')
    for pair, difference in board.together.get('differences', {}).items():
        table.add_row('', pair.replace('-', ' - '), '', *_cells(difference))
    if board.tuned:
        table.add_section()
        table.add_row('each', 'Each arm at its own\nlowest validation loss:')
    for pair, difference in board.tuned.get('differences', {}).items():
        arms = {arm: board.tuned['best'][arm]['index'] for arm in pair.split('-')}
        runs = ' - '.join(f'{arm} (run {index})' for arm, index in arms.items())
        table.add_row('', runs.replace(' - ', ' -\n'), '', *_cells(difference))
    return table


def _predictions(row, arm):
    """The files of an arm's predictions, one a seed, in the order of the seeds."""
    places, start = row['places'], f'classifiers/{arm}/seed_'
    seeds = sorted(int(name.removeprefix(start)) for name in places if name.startswith(start))
    return [places[f'{start}{seed}'] / 'predictions.npz' for seed in seeds]


def _answer(pooled):
    """The sentence on the claim over all runs; '' if they say nothing of it."""
    if not (difference := pooled.get('differences', {}).get(f'{CLAIM}-{BASELINE}')):
        return ''
    return results.verdict(difference, CLAIM, BASELINE)


def _cells(difference):
    return [wording.change(difference[key]).replace(' ', '\n', 1) if key in difference else '–'
            for key in DIFFERENCES]


def _differences(entry):
    """Of a pair's entry in metrics.json what is compared: column -> {'mean', 'ci95', ...}."""
    return {key: entry[key] for key in DIFFERENCES} | {
        group: scores['accuracy'] for group, scores in entry['groups'].items()}


def _csv(found, fields):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    scores = [f'{kind}_{key}' for kind in ('test', 'baseline') for key in DIFFERENCES]
    ends = [f'difference_{key}{end}' for key in DIFFERENCES for end in ('', '_low', '_high')]
    names = ('validation_loss', 'validation_accuracy', 'accepted')
    writer.writerow(['run', *fields, 'arm', 'seeds', *names, *scores, *ends])
    for row in found:
        values = [row['scores'][arm][key]['mean']
                  for arm in (row['arm'], BASELINE) for key in DIFFERENCES]
        for key in DIFFERENCES:
            difference = row['difference'].get(key)
            values += [difference['mean'], *difference['ci95']] if difference else ['', '', '']
        writer.writerow([row['index'], *(row['config'][field] for field in fields), row['arm'],
                         row['seeds'], *(row[name] for name in names), *values])
    return text.getvalue()
