"""Many runs, one after another, and their leaderboard."""

import shlex
from functools import partial

from configs import sweeps
from configs.default import flat
from eval import leaderboard
from train import finished, guard, lock, parallel, processes, provenance, stages
from train.progress import say, show


def run_all(run, configs, points, chosen, workdir, command):
    """Runs configs[i] for each i in `chosen`; what several have in common is done once.

    Args:
        run: of `main`. configs, points: of all runs of the sweep; see `sweeps.choose`.
        workdir: the sweep's folder. command: the one that each run's report adds its fields to.
    """
    failed, tables = [], []
    # a run's own command makes it alone, so not in the folder of a sweep
    command = shlex.join(sweeps.without_flags(shlex.split(command), ('workdir',), ()))
    for turn, i in enumerate(chosen, 1):
        folder = leaderboard.folder(workdir, i)
        first = configs.index(configs[i])
        same = f'; run {first} has the same settings, and says the same' if first < i else ''
        say(f'Run {i} ({turn} of {len(chosen)}): {leaderboard.words(points[i])}{same}')
        try:
            with guard.refusals(), guard.at_work(folder, configs[i]):
                processes.on_main(partial(refuse_other_hardware, folder, configs[i]))
                one = f'{command} {sweeps.flags(points[i])}'.rstrip()  # a point may change nothing
                run(configs[i], folder, one, rerun=True, shared=workdir / 'shared')
        except SystemExit as end:
            if end.code != guard.USAGE or not parallel.alone():  # the others end, too
                raise
            failed.append(str(i))
        processes.on_main(lambda: tables.extend(update_leaderboard(workdir, points)))
    if tables:  # in process 0
        table, answer = tables[-1]
        show(table)
        if answer:
            say(answer)
    say(f'Leaderboard: {workdir / "report" / "sweep.html"}')
    if failed:
        say(f'Failed, as said above: run {", ".join(failed)}')
        raise SystemExit(guard.USAGE)


def refuse_other_hardware(folder, config):
    """Raises Changed where `dtype=auto` was another on the hardware that made the run: another
    setting is what a sweep is given to do again, but this one nobody has given."""
    was, now = (flat(one) for one in (provenance.saved(folder).get('config', {}), config.to_dict()))
    here = parallel.compute_dtype('auto').name
    dtypes, _ = finished.computed(finished.places(folder))
    others = {field: dtype for field, dtype in dtypes.items()
              if was.get(field) == now[field] == 'auto' and dtype != here}
    if others:
        raise stages.Changed(
            f'{folder} was made on other hardware, where dtype=auto is not {here}; '
            f'{stages.as_it_began(others)}or name another --workdir for the sweep on this hardware'
        )


def update_leaderboard(workdir, points):
    """Writes the sweep's pages, one of its jobs at a time: [(its table, what is to be said of all
    runs together)], or [] if it cannot."""
    with lock.turn(workdir / 'leaderboard.lock', lambda holder: None):
        try:
            board = leaderboard.read(workdir, points)
        except FileNotFoundError as error:  # another job does that run again
            say(f'Leaderboard: left as it was, {error.filename} is gone for the moment; the '
                'same command brings it up to date')
            return []
        except (OSError, ValueError) as error:  # one run's file keeps no other from being done
            say(f'Leaderboard: left as it was: {error}')
            return []
        leaderboard.write(board)
    return [(leaderboard.console_table(board), leaderboard.answer(board))]
