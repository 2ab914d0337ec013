"""worst_window: the judge of a sliding window's promise. Knows instants and counts, nothing of limits."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction


def worst_window(
    events: Iterable[int | float | Fraction | tuple[int | float | Fraction, int]],
    window: int | float | Fraction,
) -> int:
    """The most admissions in any half-open window [t, t + window), over all windows.

    Args:
        events: instants of admissions, or (instant, cost) pairs, in any order.
        window: length of the window, in the unit of the instants; more than 0.

    Raises:
        ValueError: when the window has no length.

    Two pointers over the sorted history: the worst window starts at an admission.

    >>> worst_window([0, 1, 9, 10, 11], window=10)
    3
    >>> worst_window([(0, 5), (10, 5)], window=10)
    5
    """
    if not window > 0:
        raise ValueError(f"window: {window!r} cannot work; give a length above 0")
    history = sorted(event if isinstance(event, tuple) else (event, 1) for event in events)
    worst = inside = first = 0
    for instant, cost in history:
        inside += cost
        while instant - history[first][0] >= window:
            inside -= history[first][1]
            first += 1
        worst = max(worst, inside)
    return worst
