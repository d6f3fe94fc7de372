"""How far, and how long still: a bar on a terminal, a line now and then elsewhere."""

import contextlib
import os
import sys
import time

from rich import progress as bars
from rich.console import Console

LINE_EVERY = 15.0  # seconds between lines when the output is not a terminal
RECENT = 60.0  # seconds: before them a step may have been compiled, or the machine busier
_console = Console(file=sys.stdout, highlight=False, soft_wrap=True)


def say(message):
    """One line for the user."""
    _console.print(message, markup=False, emoji=False)


def be_quiet():
    """Says and shows nothing from now on: another process of the run does."""
    _console.quiet = True


def duration(seconds):
    """As people say it: 45 s, 3 min 20 s, 1 h 31 min."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours} h {minutes} min'
    return f'{minutes} min {seconds} s' if minutes else f'{seconds} s'


def leave(status, message=None):
    """Ends the process at once, with a last line for the user if any; nothing is cleaned up."""
    if message:
        say(message)
    sys.stdout.flush()
    os._exit(status)


def show(renderable):
    """A rich table for the user."""
    _console.print(renderable)


@contextlib.contextmanager
def progress(label):
    """Yields update(done, total, **values), which shows label, done / total, time left, values.

    The time left follows from what was done in the last minute.
    """
    if not _console.is_terminal:
        yield _lines(label)
        return
    columns = (
        bars.TextColumn('{task.description}'), bars.BarColumn(), bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(), bars.TextColumn('{task.fields[values]}'),
    )
    with bars.Progress(
        *columns, console=_console, transient=True, speed_estimate_period=RECENT
    ) as bar:
        _console.show_cursor()  # which the bar hides: Ctrl-C may end the process in it
        task = bar.add_task(label, total=None, values='')

        def update(done, total, **values):
            if bar.tasks[0].total is None:
                bar.reset(task, total=total, completed=done)
            bar.update(task, completed=done, total=total, values=_format(values))

        yield update


def _lines(label):
    last, seen = None, []  # when the last line was printed; (time, done) second by second

    def update(done, total, **values):
        nonlocal last
        now = time.monotonic()
        last = now if last is None else last
        if not seen or now - seen[-1][0] >= 1:
            seen.append((now, done))
        while len(seen) > 2 and seen[1][0] <= now - RECENT:
            del seen[0]
        began, start = seen[0]
        if now - last < LINE_EVERY or done <= start:
            return
        last = now
        left = (now - began) * (total - done) / (done - start)
        say(f'  {label} {done}/{total}  {duration(left)} left  {_format(values)}'.rstrip())

    return update


def _format(values):
    return '  '.join(f'{name} {value:.3g}' for name, value in values.items())
