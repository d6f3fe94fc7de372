"""What a run's numbers are in a terminal: tables of 80 columns."""

from collections.abc import Mapping

from rich import box
from rich.table import Table
from rich.text import Text

from eval.formats import interval, mean_std, percent, points
from eval.results import METRICS


def comparison(metrics: Mapping) -> Table:
    """The comparison as a rich table: arms as mean ± std over seeds, then each difference; %."""
    title = (f'In %, on {metrics["test_images"]:,} test images; seeds: {metrics["seeds"]}; '
             'in brackets: 95% intervals')
    table = Table(box=box.SIMPLE_HEAD, padding=0, title=title)  # fits 80 columns
    table.add_column('Arm', no_wrap=True)
    intervals = [interval(difference[key]['ci95']) for difference in metrics['differences'].values()
                 for key in METRICS]
    wide = max(map(len, intervals), default=0) > 12  # as [+7.0, +12.7]: one column fewer fits
    keys = list(METRICS)[: 4 if wide else 5]
    for key in keys:
        table.add_column(METRICS[key].replace('Macro ', 'Macro\n'), justify='right', min_width=10)
    for arm, scores in metrics['arms'].items():
        table.add_row(Text(arm), *(mean_std(scores[key]) for key in keys))
    table.add_section()
    for pair, difference in metrics['differences'].items():
        cells = (Text(f'{points(difference[key]["mean"])}\n{interval(difference[key]["ci95"])}')
                 for key in keys)
        table.add_row(Text(pair.replace('-', ' -\n')), *cells)
    return table


def scores(title: str, scores: Mapping) -> Table:
    """One arm's scores, with their 95% intervals, as a rich table; %.

    Args: scores: of `reuse.evaluate`.
    """
    seen = f', {scores["seen"]:,} of which it has learnt from' if scores.get('seen') else ''
    adjusted = ', adjusted: rare classes more often' if scores.get('adjusted') else ''
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
                  title=Text(f'In %, on {scores["images"]:,} images ({scores["of"]}{seen}), by '
                             f'{title}{adjusted}', 'table.title'))
    for name in ('', 'Mean', '95% interval'):
        table.add_column(name)
    rows = {name: scores[key] for key, name in METRICS.items()}
    rows['Macro average precision'] = scores['average_precision']['macro']
    for name, score in rows.items():
        table.add_row(name, mean_std(score), interval(score['ci95'], '{:.1f}'))
    if averaged := scores.get('averaged'):
        table.add_section()
        for key in averaged:
            table.add_row(f'{METRICS[key]}, of the mean prediction', percent(averaged[key]), '')
    return table
