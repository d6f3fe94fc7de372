"""How long until the first training step is done, and where does a run's time go?

    python -m benchmarks.startup [--variant=digits] [--rounds=3]
    python -m benchmarks.startup --run=runs/augmented

The first times processes of its own from their start to the end of their first step, in turns, for
the generator and the classifier, with an empty compilation cache (cold) and a filled one (warm).
The second reads what the stages of a run took from the records that it left.
"""

import json
import pathlib
import tempfile

import numpy as np

from benchmarks import children, common, steps

STAGES = ('data', 'judge', 'generator', 'synthetic', 'classifiers', 'report')  # in main.py's order
NOTES = (
    'seconds, medians. python: the interpreter; imports: those of a run; devices: the first use of '
    'them; data: images decoded and split, network described, first batch; shapes: of the state; '
    'compile: the step is traced and compiled, or found in the cache, while the state is made',
    'cold: no compiled code; but the files of the libraries are in the memory of the system',
)


def measure(variant='', fields=None, *, models=steps.MODELS, rounds=1):
    """Rows of the start of training.

    Args:
        variant, fields: see `steps.get_config`.
        rounds: starts of each kind; each round has a compilation cache of its own.
    Returns:
        [{'start', part: s, ..., 'total': s, 'total_min', 'total_max'}], medians over the rounds;
        what a part took is its own, so they add up to the total but for the medians.
    """
    times = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            for model in models:
                for kind in ('cold', 'warm'):
                    request = {'model': model, 'variant': variant, 'fields': fields}
                    env = {'JAX_COMPILATION_CACHE_DIR': f'{cache}/{model}'}
                    ends = children.ask('benchmarks.first_step', request, env)
                    times.setdefault(f'{model}, {kind}', []).append(ends)
    return [_row(start, found) for start, found in times.items()]


def _row(start, rounds):
    """The medians of [{part: time of its end}], the first of which is the start's."""
    seconds = np.diff([list(ends.values()) for ends in rounds], axis=1)
    totals = seconds.sum(axis=1)
    return {
        'start': start,
        **dict(zip(list(rounds[0])[1:], np.median(seconds, axis=0).tolist(), strict=True)),
        'total': float(np.median(totals)),
        'total_min': float(totals.min()),
        'total_max': float(totals.max()),
    }


def read_run(folder):
    """Rows of a run: what its stages took when they were done, [{'stage', 'seconds', 'share'}].

    The seconds are those of `stages.Runner`: a stage that was interrupted has the sum of its parts,
    and the time between stages (imports, reading back) is in none.

    Raises:
        FileNotFoundError: no stage was finished there.
    """
    folder = pathlib.Path(folder)
    found = {
        file.parent.relative_to(folder).as_posix(): json.loads(file.read_text('utf-8'))['seconds']
        for file in folder.rglob('stage.json')
        if not any(part.endswith('.unfinished') for part in file.parent.parts)
    }
    if not found:
        raise FileNotFoundError(f'{folder}: no stage.json; give the folder of a run')
    total = sum(found.values())
    order = sorted(found, key=lambda name: (STAGES.index(name.split('/')[0]), name))
    rows = [{'stage': s, 'seconds': found[s], 'share': found[s] / total} for s in order]
    return [*rows, {'stage': 'all stages', 'seconds': total, 'share': 1.0}]


def main():
    options = common.arguments(
        'Seconds from the start of the process to the end of the first training step.',
        variant='', rounds=3, run='',
    )
    if options.run:
        facts = json.loads((pathlib.Path(options.run) / 'config.json').read_text('utf-8'))
        ran = [f'ran on {facts["hardware"]} at commit {facts["commit"]}, {facts["date"]}']
        rows, title = read_run(options.run), f'Stages of {options.run}'
        common.report('startup_run', rows, out=options.out, title=title, notes=ran)
        return
    rows = measure(options.variant, rounds=options.rounds)
    common.report(
        'startup', rows, out=options.out, notes=NOTES, variant=options.variant,
        title=f'From the command line to the end of the first step, {options.rounds} starts each',
    )


if __name__ == '__main__':
    main()
