"""From finished runs to results/*.json, and from these to tables in README.md and docs/results.md.

    python -m eval.collect [RUN_FOLDER ...]

A result is named as its run's folder. Without a folder only the tables are made again.
"""

import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from configs import default, sweeps
from eval import report
from eval.results import strongest_control

ROOT = Path(__file__).resolve().parent.parent
MARKERS = '<!-- results -->', '<!-- /results -->'
PAGES = {'README.md': 'summary.md', 'docs/results.md': 'results.md'}  # page -> its template


def main(folders: Sequence[str], root: Path = ROOT) -> None:
    """Writes a result for each run and rewrites the tables of all results in `root`'s `PAGES`."""
    stored = root / 'results'
    found = [result(*read(Path(folder)), Path(folder).resolve().name) for folder in folders]
    stored.mkdir(exist_ok=True)
    for one in found:
        text = json.dumps(one, indent=1, ensure_ascii=False, allow_nan=False)
        (stored / f'{one["name"]}.json').write_text(text + '\n', 'utf-8')
    results = [json.loads(path.read_text('utf-8')) for path in sorted(stored.glob('*.json'))]
    if not results:
        raise ValueError(f'{stored}: no result yet; name the folder of a finished run')
    pages = {root / page: replace(root / page, markdown(results, template))
             for page, template in PAGES.items()}
    for page, text in pages.items():
        page.write_text(text, 'utf-8')


def read(folder: Path) -> tuple[dict, dict]:
    """A finished run's metrics.json, and its config."""
    metrics, config = folder / 'report' / 'metrics.json', folder / 'config.json'
    if not metrics.exists():
        raise ValueError(f'{metrics}: no such file; is {folder} the folder of a finished run?')
    return json.loads(metrics.read_text('utf-8')), json.loads(config.read_text('utf-8'))['config']


def result(metrics: Mapping, config: Mapping, name: str) -> dict:
    """What results/<name>.json holds: metrics.json without its classes, and what was run.

    `config` becomes the fields that differ from configs/default.py as it stands now. Of absolute
    paths the last two parts stay.
    """
    saved_default = json.loads(json.dumps(default.get_config().to_dict()))
    fields, base = default.flat(config), default.flat(saved_default)
    less = {
        kind: {key: {k: v for k, v in entry.items() if k != 'per_class'}
               for key, entry in metrics[kind].items()} for kind in ('arms', 'differences')}
    return {
        'name': name, **metrics, **less, 'image_size': fields['data.image_size'],
        'generator_steps': fields['generator.steps'],
        'command': _portable_command(metrics.get('command') or ''),
        'config': {key: _portable(value) for key, value in fields.items()
                   if key not in base or value != base[key]}}


def markdown(results: Sequence[Mapping], template: str) -> str:
    """The results as eval/templates/`template` shows them."""
    page = report.templates().get_template(template)
    text = page.render(results=results, strongest_control=strongest_control)
    return re.sub('\n{3,}', '\n\n', text).strip()


def replace(page: Path, block: str) -> str:
    """The text of `page` with `block` between the markers, and with all else as it was."""
    text, (start, end) = page.read_text('utf-8'), MARKERS
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ValueError(f'{page} must hold {start} and, after it, {end}, each once')
    before, rest = text.split(start)
    return f'{before}{start}\n{block}\n{end}{rest.split(end)[1]}'


def _portable(value):
    """An absolute path's last two parts; anything else as it is."""
    if isinstance(value, str) and PurePath(value).is_absolute():
        return '/'.join(PurePath(value).parts[1:][-2:])
    return value


def _portable_command(command: str) -> str:
    """The command without this machine's paths, without --workdir and --rerun."""
    words = sweeps.without_flags(shlex.split(command), ('workdir',), ('rerun', 'norerun'))
    parts = (word.partition('=') for word in words)
    return shlex.join(
        name + equals + _portable(value) if equals else _portable(name)
        for name, equals, value in parts
    )


if __name__ == '__main__':
    try:
        main(sys.argv[1:])
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')
