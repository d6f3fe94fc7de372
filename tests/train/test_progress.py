import io

import pytest
import rich.console
from rich.progress import Progress as Bar

from train import progress


@pytest.mark.parametrize('seconds, said', [
    (0.4, '0 s'), (59.4, '59 s'), (59.6, '1 min 0 s'), (200, '3 min 20 s'), (3599.7, '1 h 0 min'),
    (5481, '1 h 31 min'), (90_000, '25 h 0 min')])
def test_a_duration_is_said_as_people_say_it(seconds, said):
    assert progress.duration(seconds) == said


def test_without_a_terminal_a_line_says_now_and_then_how_long_still(monkeypatch):
    now, said = iter([0.0, 10.0, 20.0, 30.0, 40.0]), []  # seconds
    monkeypatch.setattr(progress.time, 'monotonic', lambda: next(now))
    monkeypatch.setattr(progress, 'say', said.append)
    with progress.progress('generator') as update:
        for done in (100, 110, 120, 130, 140):  # resumed at 100, one a second; a line every 15 s
            update(done, 1120, loss=0.12345)
    assert said == ['  generator 120/1120  16 min 40 s left  loss 0.123',
                    '  generator 140/1120  16 min 20 s left  loss 0.123']


def test_the_time_left_goes_by_the_last_minute(monkeypatch):
    """The first of these ten steps was compiled for three minutes."""
    now, said = iter([0.0, 180.0, *range(190, 290, 10)]), []
    monkeypatch.setattr(progress.time, 'monotonic', lambda: next(now))
    monkeypatch.setattr(progress, 'say', said.append)
    with progress.progress('generator') as update:
        for done in range(12):
            update(done, 100)
    assert said[0] == '  generator 1/100  4 h 57 min left'
    assert said[-1] == f'  generator 11/100  {progress.duration(89 * 10)} left'


def test_on_a_terminal_a_resumed_training_begins_where_it_was(monkeypatch):
    console = rich.console.Console(file=io.StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr(progress, '_console', console)
    made = []
    monkeypatch.setattr(
        progress.bars, 'Progress', lambda *a, **k: made.append(Bar(*a, **k)) or made[0]
    )
    with progress.progress('generator') as update:
        hidden, shown = (console.file.getvalue().rfind(f'\x1b[?25{end}') for end in 'lh')
        assert hidden < shown  # the cursor, as Ctrl-C may end it here
        update(10_000, 13_000)
        assert made[0].tasks[0].completed == 10_000 and made[0].tasks[0].speed is None
