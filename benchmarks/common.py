"""What every benchmark needs: timing in turns, the table, the JSON, and what it was measured on."""

import argparse
import importlib.metadata
import json
import os
import pathlib
import time

import numpy as np
from loky import cpu_count
from rich.console import Console
from rich.table import Table

from train import parallel, provenance

RESULTS = pathlib.Path(__file__).resolve().parent / 'results'
PEERS = ('torch', 'diffusers')
PEERS_MISSING = 'PyTorch or diffusers is missing: pip install -r benchmarks/requirements.txt'


def arguments(description, **options):
    """The command line: --out and one --name for each of `options` ({name: default}).

    An option whose default is False is a switch.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--out', type=pathlib.Path, default=RESULTS, help='folder of the JSON')
    for name, default in options.items():
        kind = {'action': 'store_true'} if default is False else {'type': type(default)}
        parser.add_argument(f'--{name}', default=default, **kind)
    return parser.parse_args()


def interleaved(cases, *, rounds, repeats):
    """Milliseconds a call of each case, measured in turns so that a slow minute slows all alike.

    Args:
        cases: {name: function without arguments that returns when its work is done}. Each is
            called once before any is timed.
        rounds: times each case has its turn; repeats: calls a turn.
    Returns:
        {name: {'median', 'min', 'max'}} over the rounds.
    """
    for case in cases.values():
        case()
    times = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            start = time.perf_counter()
            for _ in range(repeats):
                case()
            times[name].append(1e3 * (time.perf_counter() - start) / repeats)
    return {
        name: {'median': float(np.median(t)), 'min': min(t), 'max': max(t)}
        for name, t in times.items()
    }


def load():
    """A note on what else the machine does: figures from a busy one say little."""
    return f'Load average {os.getloadavg()[0]:.1f} on {cpu_count()} cores when this began.'


def environment():
    """The facts of a run's report, with the peers' versions where they are installed."""
    facts = provenance.facts()
    for name in PEERS:
        try:
            facts['versions'][name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return facts


def report(name, rows, *, out, title, notes=(), variant=''):
    """Prints `rows` ([{column: value}]) as a table, on one process, and writes them; see `save`."""
    if not parallel.is_main():
        return
    table = Table(title=title, box=None)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    for i, column in enumerate(columns):
        table.add_column(column, justify='left' if i == 0 else 'right')
    for row in rows:
        table.add_row(*(_format(row.get(column)) for column in columns))
    console = Console(width=160, highlight=False)
    console.print(table)
    for note in notes:
        console.print(note, markup=False)
    save(name, rows, out=out, title=title, notes=notes, variant=variant)


def save(name, rows, *, out, title, notes=(), variant=''):
    """Writes out/<name>[_<variant>].json, on one process, whole or not at all."""
    if not parallel.is_main():
        return
    name += f'_{variant}' * bool(variant)
    out.mkdir(parents=True, exist_ok=True)
    unfinished = out / f'unfinished_{name}.json'
    found = {'title': title, 'rows': rows, 'notes': list(notes), **environment()}
    unfinished.write_text(json.dumps(found, indent=1), 'utf-8')
    unfinished.rename(out / f'{name}.json')


def _format(value):
    if value is None:
        return ''
    if isinstance(value, float):
        return f'{value:,.0f}' if abs(value) >= 100 else f'{value:.3g}'
    return f'{value:,}' if isinstance(value, int) else str(value)
