"""Contexts for a run: what ends it with one line and USAGE instead of a traceback, and who else may
work in its folder: nobody.
"""

import contextlib
import re
import sys

from absl import flags

from configs.default import flat
from train import lock, loop, processes, stages, trackers

USAGE = 2  # exit status


def mistakes():
    """In one line: what a user can cause while nothing is computed yet."""
    return _one_line(flags.Error, ValueError, OSError, MemoryError)


@contextlib.contextmanager
def flag_mistakes():
    """In one line: an unknown flag or field, a wrong value, a config file that cannot be read."""
    with mistakes():
        try:
            yield
        except (KeyError, AttributeError) as error:
            named = f'{error.args[0]}'.replace('\\n', '\n').replace('\n', '. ').strip('"')
            for twice, once in ("\\'", "'"), ("''", "'"), ("?'", '?'):  # quoted as a key's error
                named = named.replace(twice, once)
            message = f'config has no field {named}; configs/default.py lists them'
            raise ValueError(message) from None
        except SyntaxError as error:
            raise ValueError(f'{error.filename}, line {error.lineno}: {error.msg}') from None
        except ImportError as error:
            raise ValueError(f'--config: {error}') from None


def refusals():
    """In one line: what can end a run at work, and is no error of the program."""
    return _one_line(
        OSError, MemoryError, lock.Held, loop.Diverged, stages.Changed, FloatingPointError
    )


@contextlib.contextmanager
def _one_line(*kinds):
    """Turns errors of these kinds into one line and an exit status."""
    try:
        yield
    except kinds as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        line = re.sub(r'^\w+Error: ', '', lines[-1].strip())  # ml_collections quotes tracebacks
        print(f'error: {line}', file=sys.stderr)
        raise SystemExit(USAGE) from None


@contextlib.contextmanager
def at_work(workdir, config):
    """No other run works in the folder, and what is logged goes where the user wants it."""
    with contextlib.ExitStack() as stack:
        processes.on_main(lambda: stack.enter_context(lock.held(workdir)))
        stack.enter_context(trackers.tracking(config.trackers, workdir, flat(config)))
        yield
