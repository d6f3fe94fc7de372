"""The runs of a sweep side by side, best on validation first: sweep.html, sweep.md, sweep.csv."""

import csv
import io
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from configs.default import flat
from configs.sweeps import AS_IT_IS
from eval import report, wording
from eval.results import BASELINE, CLAIM

DIFFERENCES = {'accuracy': 'Accuracy', 'macro_f1': 'Macro-F1'}


def folder(workdir: Path, index: int) -> Path:
    """The run folder of a sweep's run."""
    return workdir / 'points' / f'{index:03d}'


def words(point: Mapping, between: str = ', ') -> str:
    """'synthesis.fill=2x, synthesis.guidance_scale=1.0'."""
    return between.join(f'{name}={value}' for name, value in point.items()) or AS_IT_IS


def rows(workdir: Path, points: Sequence[Mapping]) -> list[dict]:
    """What each finished run reached, lowest validation loss of its arm first.

    The arm is `augmented` or, in a sweep without it, the last one. A run that was made with other
    settings than its point says (the sweep's file changed since) is left out.
    """
    found = []
    for index, point in enumerate(points):
        at = folder(workdir, index)
        try:
            metrics = json.loads((at / 'report' / 'metrics.json').read_text('utf-8'))
        except FileNotFoundError:
            continue  # not finished, or just being done again
        config = flat(json.loads((at / 'config.json').read_text('utf-8'))['config'])
        if any(config[name] != value for name, value in json.loads(json.dumps(point)).items()):
            continue
        arm = CLAIM if CLAIM in metrics['arms'] else list(metrics['arms'])[-1]
        synthetic = metrics['synthetic'] or {}
        found.append({
            'index': index, 'point': dict(point), 'config': config, 'arm': arm,
            'seeds': metrics['seeds'],
            'validation_loss': metrics['validation'][arm]['loss']['mean'],
            'validation_accuracy': metrics['validation'][arm]['accuracy']['mean'],
            'accepted': synthetic.get('accepted'),
            'test': {key: metrics['arms'][arm][key] for key in DIFFERENCES},
            'baseline': {key: metrics['arms'][BASELINE][key] for key in DIFFERENCES},
            'difference': {key: value for key, value in
                           metrics['differences'].get(f'{arm}-{BASELINE}', {}).items()
                           if key in DIFFERENCES},
        })  # fmt: skip
    return sorted(found, key=lambda row: row['validation_loss'])


def write(workdir: Path, points: Sequence[Mapping]) -> None:
    """Writes report/sweep.{html,md,csv} of the runs that are finished."""
    found = rows(workdir, points)
    context = {'rows': found, 'planned': len(points), 'differences': DIFFERENCES,
               'name': workdir.name, 'words': words}  # fmt: skip
    pages = {'sweep.csv': _csv(found, list(dict.fromkeys(itertools.chain(*points))))}
    for name in ('sweep.html', 'sweep.md'):
        pages[name] = report.templates().get_template(name).render(context)
    out = workdir / 'report'
    out.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        unfinished = out / f'unfinished_{name}'
        unfinished.write_text(text, 'utf-8')
        unfinished.rename(out / name)


def console_table(workdir: Path, points: Sequence[Mapping]) -> Table:
    """The leaderboard as a rich table."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
                  title='Best on validation first; in points, with 95% intervals on the test set')
    for name in ('Run', 'Settings', 'Validation\nloss'):
        table.add_column(name)
    for name in DIFFERENCES.values():
        table.add_column(f'{name}\n- {BASELINE}', justify='right')
    for row in rows(workdir, points):
        cells = (_difference(row, key) for key in DIFFERENCES)
        table.add_row(str(row['index']), words(row['point'], '\n'),
                      f'{row["validation_loss"]:.4f}', *cells)
    return table


def _difference(row, key):
    difference = row['difference'].get(key)
    return '–' if not difference else (
        f'{wording.points(difference["mean"])}\n{wording.interval(difference["ci95"])}')


def _csv(found, fields):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    scores = [f'{kind}_{key}' for kind in ('test', 'baseline') for key in DIFFERENCES]
    ends = [f'difference_{key}{end}' for key in DIFFERENCES for end in ('', '_low', '_high')]
    names = ('validation_loss', 'validation_accuracy', 'accepted')
    writer.writerow(['run', *fields, 'arm', 'seeds', *names, *scores, *ends])
    for row in found:
        values = [row[kind][key]['mean'] for kind in ('test', 'baseline') for key in DIFFERENCES]
        for key in DIFFERENCES:
            difference = row['difference'].get(key)
            values += [difference['mean'], *difference['ci95']] if difference else ['', '', '']
        writer.writerow([row['index'], *(row['config'][field] for field in fields), row['arm'],
                         row['seeds'], *(row[name] for name in names), *values])
    return text.getvalue()
