"""How numbers are written. Scores and shares are in [0, 1], and are shown in % or in points."""

from collections.abc import Mapping, Sequence


def plural(count, one, many=None):
    """As people say it: 1 image, 1,200 images; `many` where it is not `one` with an s."""
    return f'{count:,} {one if count == 1 else many or one + "s"}'


def end(value: float) -> float:
    """An interval's end in points, to be written with a sign: -0.0 is one just below zero."""
    return round(100 * value, 9) + 0.0  # neither zero nor rounding errors are below zero


def some(items: Sequence[str], most: int = 5) -> str:
    """'a, b, c, d, e and 3 more'."""
    rest = f' and {len(items) - most} more' if len(items) > most else ''
    return f'{", ".join(items[:most])}{rest}'


def percent(value: float | None) -> str:
    """A share of 1 in %, without a sign: 12.3; – for None."""
    return '–' if value is None else f'{100 * value:.1f}'


def points(value: float) -> str:
    """A difference of shares in points, with its sign; never -0.0."""
    return f'{100 * value:+z.1f}'


def interval(ci95: Sequence[float], form: str = '{:+.1f}') -> str:
    """An interval's two ends, in points or by `form`."""
    low, high = (form.format(end(value)) for value in ci95)
    return f'[{low}, {high}]'


def change(difference: Mapping) -> str:
    """A difference in points, and its interval."""
    return f'{points(difference["mean"])} {interval(difference["ci95"])}'


def mean_std(score: Mapping) -> str:
    """A mean ± its standard deviation over seeds, in %; of one seed the mean alone."""
    spread = '' if score['std'] is None else f' ± {100 * score["std"]:.1f}'
    return percent(score['mean']) + spread


def number(value: float | None) -> str:
    """Three digits that count; – for None."""
    return '–' if value is None else f'{value:.3g}'


def p_value(p: float) -> str:
    """A p-value to three decimals, or four where three would not show that it is under 0.05."""
    if p < 0.05 and f'{p:.3f}' == '0.050':
        return f'{min(p, 0.0499):.4f}'
    return '< 0.001' if p < 0.001 else f'{p:.3f}'
