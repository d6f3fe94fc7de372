"""From finished runs to results/*.json, and from these to tables in README.md and docs/.

    .venv/bin/python -m eval.collect [RUN_FOLDER ...]

A result is named as its run's folder. Without a folder only the tables are made again. Results of
settings that are no default any more are moved to results/earlier/ by hand, and have their page.
"""

import argparse
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from configs import default, sweeps
from eval import doubts, report, wording
from eval.results import strongest_control
from train import disk, finished

ROOT = Path(__file__).resolve().parent.parent
STORED, EARLIER = 'results', 'results/earlier'
# Page, the name in the markers of a block in it, the block's template, and the results it shows.
BLOCKS = (
    ('README.md', 'headline', 'headline.md', STORED),
    ('README.md', 'results', 'summary.md', STORED),
    ('docs/results.md', 'results', 'results.md', STORED),
    ('docs/earlier.md', 'results', 'results.md', EARLIER),
)
HEADLINE = {  # results that README.md begins with, in words
    'augmented-auto-cifar10s': 'the ten classes of CIFAR-10, never looked at before, two CPU cores',
    'augmented-auto-cifar37b': '37 classes of CIFAR-100, two CPU cores',
    'augmented-folder-cifar37b': 'the same, never looked at before; earlier code, fewer steps',
    'augmented-folder-cifar37-12000': 'another 37 of CIFAR-100; earlier code',
    'augmented-folder-grocery37-12000': 'photographs of 37 groceries, 32x32; earlier code',
    'augmented-grocery': 'the same photographs, 64x64, ten minutes on an H100; earlier code',
}


def main(folders: Sequence[str], root: Path = ROOT) -> None:
    """Writes a result for each run and rewrites the `BLOCKS` of all results in `root`'s pages."""
    found = [result(*read(Path(folder)), Path(folder).resolve().name) for folder in folders]
    if len({one['name'] for one in found}) < len(found):
        raise ValueError('two of the folders have one name, which a result has from its folder')
    (root / STORED).mkdir(exist_ok=True)
    for one in found:
        text = json.dumps(one, indent=1, ensure_ascii=False, allow_nan=False)
        earlier, today = (root / where / f'{one["name"]}.json' for where in (EARLIER, STORED))
        path = earlier if earlier.exists() else today
        path.write_text(text + '\n', 'utf-8')
        print(f'{path}: written')
    results = {where: stored(root, where) for where in (STORED, EARLIER)}
    if not results[STORED]:
        raise ValueError(f'{root / STORED}: no result yet; name the folder of a finished run')
    before = {page: (root / page).read_text('utf-8') for page, *_ in BLOCKS}
    pages = dict(before)
    for page, name, template, where in BLOCKS:
        pages[page] = replace(pages[page], name, markdown(results[where], template), page)
    for page, text in pages.items():
        if text != before[page]:
            (root / page).write_text(text, 'utf-8')
            print(f'{root / page}: its tables are made anew')


def stored(root: Path = ROOT, where: str = STORED) -> list[dict]:
    """The results of a folder of `root`, by name."""
    return [json.loads(path.read_text('utf-8')) for path in sorted((root / where).glob('*.json'))]


def read(folder: Path) -> tuple[dict, dict]:
    """A finished run's metrics.json, and its config; ValueError if it is none."""
    metrics, config = folder / 'report' / 'metrics.json', folder / 'config.json'
    if not metrics.exists():
        raise ValueError(f'{metrics}: no such file; is {folder} the folder of a finished run?')
    listed = folder / 'stages.json'  # which a report that was copied has not
    if listed.exists() and 'report' not in finished.places(folder):
        raise ValueError(
            f'{metrics} is of other settings than {config}: the run is being done again; let it '
            'end first'
        )
    found, made = disk.read_json(metrics), disk.read_json(config).get('config')
    if 'schema' not in found or not made:
        raise ValueError(f'{metrics} or {config} is damaged; give the command of {folder} again')
    return found, made


def result(metrics: Mapping, config: Mapping, name: str) -> dict:
    """What results/<name>.json holds: metrics.json without its classes, and what was run.

    `config` becomes the fields that differ from configs/default.py as it stands now. Of absolute
    paths the last two parts stay.
    """
    saved_default = json.loads(json.dumps(default.get_config().to_dict()))
    fields, base = default.flat(config), default.flat(saved_default)
    return {
        'name': name, **_without_classes(metrics), 'image_size': fields['data.image_size'],
        'generator_steps': fields['generator.steps'],
        'command': _portable_command(metrics['command']) if metrics.get('command') else '',
        'config': {key: _portable(value) for key, value in fields.items()
                   if key not in base or value != base[key]}}


def _without_classes(entry: Mapping) -> dict:
    return {key: _without_classes(value) if isinstance(value, Mapping) else value
            for key, value in entry.items() if key != 'per_class'}


def markdown(results: Sequence[Mapping], template: str) -> str:
    """The results as eval/templates/`template` shows them."""
    page = report.templates().get_template(template)
    text = page.render(results=results, strongest_control=strongest_control, headline=HEADLINE,
                       doubts=_doubts, claimed=wording.claimed)
    return re.sub('\n{3,}', '\n\n', text).strip()


def _doubts(result: Mapping, pair: str) -> list[str]:
    """Why the difference of a pair of arms is no claim yet: as its report said, and as today's
    would but for what rests on classes, which a result has not."""
    said = result['differences'][pair].get('doubts', ())
    return list(dict.fromkeys([*said, *doubts.of(result, pair.split('-'))]))


def replace(text: str, name: str, block: str, page: str) -> str:
    """The text of a page with `block` between the markers of this name, and all else as it was.

    Raises:
        ValueError: the page does not have both markers, once each.
    """
    start, end = f'<!-- {name} -->', f'<!-- /{name} -->'
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
    python, program, *words = shlex.split(command)
    python = 'python' if PurePath(python).is_absolute() else python
    words = sweeps.without_flags(words, ('workdir',), ('rerun', 'norerun'))
    parts = (word.partition('=') for word in words)
    return shlex.join([python, PurePath(program).name, *(
        name + equals + _portable(value) if equals else _portable(name)
        for name, equals, value in parts
    )])


if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        prog='python -m eval.collect', description='Writes results/NAME.json of finished runs, and '
        'the tables of README.md and docs/ from all results, in place.')
    parser.add_argument('folders', nargs='*', metavar='RUN_FOLDER')
    try:
        main(parser.parse_args().folders)
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')
