"""How often chance alone makes some figure of the latest runs look this much worse than the runs before.

Every way to deal the same runs into "latest" and "before" is tried, with all their figures at once: figures
of one run rise and fall together, and a test per figure would cry wolf once for each of them. Nothing here
knows what the figures mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
import numpy.typing as npt

_IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Dealt:
    """Hold one figure of all runs, oldest first, greater is worse, and the least absolute change that
    matters."""

    values: Sequence[float]
    least: float = 0.0


def chances(figures: Sequence[Dealt], latest: int, least_change: float) -> list[float]:
    """Return, per figure, the share of all deals in which any figure looks at least as bad as it does.

    A figure looks bad by the rank sum of its `latest` values, and only where their median is above that of
    the others by the relative `least_change` and by its own least change; one that does not matter so gets 1.
    If the order of the runs means nothing, the chance that any of the numbers returned is below x is at most
    x, however many figures there are and however they hang together.

    Source: P. Westfall, S. Young, Resampling-Based Multiple Testing (1993), the single-step minimum of p.

    >>> worse = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 2.0, 2.1]
    >>> chances([Dealt(worse)], 2, 0.05)  # one deal of 28
    [0.03571428571428571]
    >>> chances([Dealt(worse), Dealt([1.0, 3.0, 1.0, 3.0, 1.0, 3.0, 1.0, 3.0])], 2, 0.05)[1]
    1.0
    """
    rarity = [_rarity(figure, latest, least_change) for figure in figures]
    rarest = np.minimum.reduce(rarity)
    never = len(rarest) + 1
    return [
        1.0 if each[-1] == never else int(np.count_nonzero(rarest <= each[-1])) / len(rarest)
        for each in rarity
    ]


def _rarity(figure: Dealt, latest: int, least_change: float) -> _IntArray:
    """Count, deal by deal, those that rank as high or higher; the last deal is the one that was met."""
    values = np.asarray(figure.values, float)
    ordered = np.sort(values)
    deals = _deals(len(values), latest)
    doubled = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    reached = doubled[deals].sum(axis=0)
    rarer = np.bincount(reached)[::-1].cumsum()[::-1][reached]
    places = np.empty(len(values), np.int64)
    places[np.argsort(values, kind="stable")] = np.arange(len(values))
    chosen = np.sort(places[deals], axis=0)
    now, usual = _median_of(ordered, chosen), _median_of_rest(ordered, chosen)
    shift = now - usual
    matters = (shift > 0) & (shift >= least_change * np.abs(usual)) & (shift >= figure.least)
    return np.where(matters, rarer, len(reached) + 1)


def _median_of(ordered: npt.NDArray[np.float64], chosen: _IntArray) -> npt.NDArray[np.float64]:
    count = len(chosen)
    return np.asarray((ordered[chosen[(count - 1) // 2]] + ordered[chosen[count // 2]]) / 2)


def _median_of_rest(ordered: npt.NDArray[np.float64], chosen: _IntArray) -> npt.NDArray[np.float64]:
    """Take the middle of what was not chosen: each chosen place at or before a candidate moves it on."""
    count = len(ordered) - len(chosen)
    middle = []
    for nth in ((count - 1) // 2, count // 2):
        place = np.full(chosen.shape[1], nth)
        for row in chosen:
            place += row <= place
        middle.append(ordered[place])
    return np.asarray((middle[0] + middle[1]) / 2)


@cache
def _deals(runs: int, latest: int) -> _IntArray:
    """List the deals, one per column; the last one takes the latest runs."""
    return np.array(list(combinations(range(runs), latest)), np.int64).T.copy()
