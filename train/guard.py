"""Contexts for a run: what ends it with one line and USAGE instead of a traceback, and who else may
work in its folder: nobody.
"""

import contextlib
import pathlib
import re
import sys
import traceback

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
            raise ValueError(_no_field(error)) from None
        except SyntaxError as error:
            raise ValueError(f'{error.filename}, line {error.lineno}: {error.msg}') from None
        except ImportError as error:
            raise ValueError(f'--config: {error}') from None


def _no_field(error):
    """What a KeyError or AttributeError says of a config, in a line."""
    frames = traceback.extract_tb(error.__traceback__)
    parts = [pathlib.PurePath(frame.filename).parts for frame in frames]
    if 'ml_collections' not in parts[-1]:  # of a user's config file, or of what that calls
        where = [frame for frame, part in zip(frames, parts)
                 if 'site-packages' not in part and not frame.filename.startswith('<')][-1]
        said = ' '.join(f'{error}'.split())
        return f'{where.filename}, line {where.lineno}: {type(error).__name__}: {said}'
    text = f'{error.args[0]}'
    asked = re.search(r'Attempting to lookup: ([\w.]+)', text)
    if named := asked or re.match(r'\W*(?:Key )?[\'"]([\w.]+)[\'"\\]', text):
        meant = re.search(r'Did you mean "(\w+)"', text)
        hint = f'; did you mean {meant[1]!r}?' if meant else ''
        text = f'{named[1]!r}{hint}'
    return f'config has no field {text}; configs/default.py lists them'


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
