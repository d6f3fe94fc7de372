import pytest

from train import progress


@pytest.mark.parametrize('seconds, said', [
    (0.4, '0 s'), (59.4, '59 s'), (59.6, '1 min 0 s'), (200, '3 min 20 s'), (3599.7, '1 h 0 min'),
    (5481, '1 h 31 min'), (90_000, '25 h 0 min')])
def test_a_duration_is_said_as_people_say_it(seconds, said):
    assert progress.duration(seconds) == said


def test_without_a_terminal_a_line_says_now_and_then_how_long_still(monkeypatch):
    now, said = iter([0.0, 10.0, 20.0, 30.0, 40.0]), []
    monkeypatch.setattr(progress.time, 'monotonic', lambda: next(now))
    monkeypatch.setattr(progress, 'say', said.append)
    with progress.progress('generator', start=100) as update:
        for done in (110, 120, 130, 140):  # one a second from 100 on; a line every 15 s
            update(done, 1120, loss=0.12345)
    assert said == ['  generator 120/1120  16 min 40 s left  loss 0.123',
                    '  generator 140/1120  16 min 20 s left  loss 0.123']
