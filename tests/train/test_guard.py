"""What a user can cause is one line; an error of the program stays a traceback."""

import pytest

from train import guard, lock, loop, stages

REFUSED = [OSError('disk full'), MemoryError('too large'), loop.Diverged('loss is nan'),
           stages.Changed('other settings'), lock.Held('at work'), FloatingPointError('nan')]


@pytest.mark.parametrize(
    'kinds, error', [(guard.mistakes, ValueError('no such field')), (guard.mistakes, MemoryError()),
                     *((guard.refusals, error) for error in REFUSED)],
    ids=lambda value: getattr(value, '__name__', type(value).__name__),
)
def test_one_line_and_status_2(kinds, error, capsys):
    with pytest.raises(SystemExit) as end, kinds():
        raise error
    assert end.value.code == guard.USAGE == 2
    assert capsys.readouterr().err == f'error: {str(error) or "MemoryError"}\n'


def test_the_last_line_says_what_is_wrong(capsys):
    with pytest.raises(SystemExit), guard.mistakes():
        raise ValueError('Traceback:\n  quoted\n\nValueError: the reason  \n')
    assert capsys.readouterr().err == 'error: the reason\n'


def test_errors_of_the_program_are_left_alone():
    with pytest.raises(KeyError), guard.mistakes():
        raise KeyError('of the program')
    with pytest.raises(TypeError), guard.refusals():
        raise TypeError('of the program')
