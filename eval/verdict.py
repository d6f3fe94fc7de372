"""What an interval says of two arms, in a sentence."""

import math
from collections.abc import Mapping

import numpy as np

from eval.formats import end, points


def images_needed(difference: float, ci95, n: int) -> int | None:
    """Test images at which the interval of a difference of this size would exclude zero.

    By more images alone: the interval is taken to shrink as 1 / sqrt(images). Where seeds vary it
    is a lower bound, as more images do not make them agree, and more seeds may need fewer images.
    None for a difference of zero.
    """
    if np.isclose(difference, 0):
        return None
    low, high = ci95
    reach = max(0.0, difference - low if difference > 0 else high - difference)
    return math.floor(n * (reach / abs(difference)) ** 2) + 1


def sentence(arm: str, baseline: str, differences: Mapping[str, Mapping],
            count: int | None = None, of: str = 'test images') -> str:
    """One sentence: is `arm` better than `baseline`, by how much, and can it be believed?

    Args: differences: the metric's readable name -> {'mean', 'ci95'} of arm - baseline, fractions;
        count: of what the intervals rest on, to say how many it would take; None if on runs.
    """
    signs = {sign(d['ci95']) for d in differences.values()}
    answer = {
        frozenset({1}): f'Yes, {arm} is better than {baseline}',
        frozenset({-1}): f'No, {arm} is worse than {baseline}',
        frozenset({0}): f'No difference between {arm} and {baseline} can be told from chance',
        frozenset({0, 1}): f'In part, {arm} is better than {baseline}',
        frozenset({0, -1}): f'No, {arm} is in part worse than {baseline}',
    }.get(frozenset(signs), f'It depends on the metric whether {arm} is better than {baseline}')
    clauses = [_clause(name, d['mean'], d['ci95'], count, of) for name, d in differences.items()]
    return f'{answer}: {"; ".join(clauses)}.'


def _clause(metric: str, difference: float, ci95, count: int | None, of: str) -> str:
    low, high = ci95
    text = (f'{metric} {points(difference)} points '
            f'(95% interval {end(low):+.1f} to {end(high):+.1f}), ')
    if sign(ci95):
        return text + 'distinguishable from zero'
    text += 'not distinguishable from zero'
    if count is None:
        return text
    text += f' on {count:,} {of}'
    needed = images_needed(difference, ci95, count)
    # An interval that ends at zero needs a single image more; a count of two figures hides it.
    if needed is None:
        return text
    rounded = max(int(float(f'{needed:.1e}')), count + 1)
    return text + f' (by more of them alone, one of this size would need at least {rounded:,})'


def sign(ci95) -> int:
    """1 or -1 if the interval lies above or below zero, else 0."""
    low, high = map(end, ci95)
    return int(low > 0) - int(high < 0)
