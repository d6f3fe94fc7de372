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
from rich.text import Text

from configs.default import flat
from configs.sweeps import AS_IT_IS
from eval import doubts, report, results, wording
from eval.across import ADJUSTED, DIFFERENCES, together, tuned, unranked
from eval.formats import change
from eval.metrics import group_masks
from eval.results import BASELINE, CLAIM
from train import disk, finished

GROUPS = 'many', 'medium', 'few'  # of classes, by their training images
_NOTE = (' Macro recall, adjusted: after post-hoc logit adjustment to equally frequent classes, by '
         'what each run found on its validation images.')
COUNTS = {'train_images': 'training images', 'test_images': 'test images',
          'seeds': 'classifiers an arm'}


@dataclasses.dataclass(frozen=True)
class Board:
    """A sweep's finished runs, and what they say: of `rows`, `across.together` and `.tuned`."""

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
        places = finished.places(at)
        if 'report' not in places or not all(place.is_dir() for place in places.values()):
            continue  # not finished, or just being done again
        try:
            metrics = json.loads((at / 'report' / 'metrics.json').read_text('utf-8'))
        except FileNotFoundError:
            continue  # removed by hand
        config = flat(json.loads((at / 'config.json').read_text('utf-8'))['config'])
        wanted = json.loads(json.dumps(point))
        if wanted != {name: config[name] for name in wanted if name in config}:
            continue
        arm = CLAIM if CLAIM in metrics['arms'] else list(metrics['arms'])[-1]
        if 'scaled_loss' not in metrics['validation'][arm]:
            continue
        losses = {name: scores['scaled_loss']['mean']
                  for name, scores in metrics['validation'].items()}
        synthetic = metrics['synthetic'] or {}
        dtypes, code = finished.computed(places)
        names, classes = zip(*metrics['arms'][arm]['per_class'].items(), strict=True)
        counts = np.array([row['train_count'] for row in classes])
        moved = (metrics.get('adjusted') or {}).get('differences', {})
        differences = {pair: _differences(entry, moved.get(pair))
                       for pair, entry in metrics['differences'].items()}
        found.append({
            'index': index, 'point': dict(point), 'config': config, 'arm': arm, 'places': places,
            'inputs': finished.inputs(places['data']), 'dtypes': dtypes, 'code': code,
            **{name: metrics[name] for name in ('dataset', 'classes', *COUNTS)},
            'class_names': names, 'train_counts': counts, 'groups': metrics['groups'],
            'training': metrics['training'], 'controls': metrics.get('controls'),
            'masks': group_masks(counts, **metrics['groups']),
            'losses': losses, 'validation_loss': losses[arm],
            'validation_accuracy': metrics['validation'][arm]['accuracy']['mean'],
            'accepted': synthetic.get('accepted'),
            'doubts': doubts.lasting(metrics, metrics['arms']),
            'scores': {name: {key: scores[key] for key in DIFFERENCES}
                       for name, scores in metrics['arms'].items()},
            'difference': differences.get(f'{arm}-{BASELINE}', {}), 'differences': differences,
        })
    if unranked(found, points):
        return found
    return sorted(found, key=lambda row: row['validation_loss'])


def write(board: Board) -> None:
    """Writes report/sweep.{html,md,csv} of the runs that are finished."""
    fields = list(dict.fromkeys(itertools.chain(*board.points)))
    columns = DIFFERENCES | {group: f'Accuracy, {group}' for group in GROUPS}
    if any(ADJUSTED in own for own in board.together.get('differences', {}).values()):
        columns[ADJUSTED] = 'Macro recall, adjusted'
    context = {'rows': board.rows, 'planned': len(board.points), 'differences': DIFFERENCES,
               'unranked': unranked(board.rows, board.points),
               'together': board.together, 'answer': answer(board),
               'pair': results.asked(whole) if (whole := board.together.get('folds')) else [],
               'tuned': board.tuned, 'fields': ', '.join(fields),
               'doubts': _doubts(board),
               'columns': columns, 'note': _NOTE if ADJUSTED in columns else '',
               'name': board.workdir.name, 'words': words,
               'basis': basis(board.rows) if board.rows else ''}
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
        table.add_row(str(row['index']), Text(words(row['point'], '\n')),
                      f'{row["validation_loss"]:.4f}', *_cells(row['difference']))
    if board.together:
        table.add_section()
        said = ('On all images:' if 'folds' in board.together else
                'Their mean, with its\ninterval over runs:')
        table.add_row('all', said)
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


def answer(board: Board) -> str:
    """What is to be said over all runs; '' if they say nothing."""
    if whole := board.together.get('folds'):
        return f'{wording.answer(whole)} {doubts.caution(whole)}'.rstrip()
    if not (difference := board.together.get('differences', {}).get(f'{CLAIM}-{BASELINE}')):
        return ''
    return results.verdict(difference, CLAIM, BASELINE)


def _doubts(board):
    """{why a run's answer is no claim yet: 'all runs', or which}; replicates add up seeds."""
    if 'folds' in board.together:  # whose answer begins with them
        return {}
    together = sum(row['seeds'] for row in board.rows) if board.together else 0
    found = {row['index']: doubts.of_seeds(max(row['seeds'], together)) + row['doubts']
             for row in board.rows}
    reasons = dict.fromkeys(itertools.chain(*found.values()))
    runs = {why: sorted(index for index, own in found.items() if why in own) for why in reasons}
    all_runs = 'all runs together' if board.together else 'all runs'
    return {why: all_runs if len(own) == len(found) else
            f'run{"s" if len(own) > 1 else ""} {", ".join(map(str, own))}'
            for why, own in runs.items()}


def _cells(difference):
    return [change(difference[key]).replace(' ', '\n', 1) if key in difference else '–'
            for key in DIFFERENCES]


def _differences(entry, moved):
    """Of a pair's entry in metrics.json, and of the one after adjusting, None without, what is
    compared: column -> {'mean', 'ci95', ...}.
    """
    return {key: entry[key] for key in DIFFERENCES} | {
        group: scores['accuracy'] for group, scores in entry['groups'].items()} | (
        {ADJUSTED: moved['macro_recall']} if moved and 'macro_recall' in moved else {})


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
        writer.writerow([row['index'], *(row['config'].get(field, '') for field in fields),
                         row['arm'], row['seeds'], *(row[name] for name in names), *values])
    return text.getvalue()
