"""Is a run worse than those before it? Rules over whole runs, because requests of one run share one
machine's mood.

A single run that stands out is a warning and a reason to run again at once. A regression is claimed only
when the last five comparable runs lie above the twenty before them (Mann-Whitney, p < 0.01) and by at least
5 %, and so clearly that chance alone would show as much, in any of the figures judged, in fewer than one of a
hundred comparisons of unchanged code. That holds as long as a run says nothing of the next; a machine whose
moods last longer than a run brings more. Runs are comparable when plan and host are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import comb, sqrt
from statistics import NormalDist, median
from typing import Literal

from sentinel.deals import Dealt, chances
from sentinel.errors import ConfigurationError

State = Literal["ok", "warning", "regression", "undecided"]

BEFORE = 20
LATEST = 5
FEWEST = 5  # runs a warning needs to look back on
SPREADS = 4.0
LEAST_CHANGE = 0.05
SIGNIFICANCE = 0.01
TOGETHER = 0.0075  # over all figures judged: fewer than one in a hundred, and some room for moods
_EXACT_UP_TO = 80


@dataclass(frozen=True, slots=True)
class Measure:
    """Name a figure of runs, which direction is worse, and the least absolute change worth a word."""

    name: str
    higher_is_worse: bool = True
    least: float = 0.0


MEASURES = (
    Measure("p50_ms"),
    Measure("p95_ms"),
    Measure("p99_ms"),
    Measure("error_rate", least=0.001),
    Measure("throughput", higher_is_worse=False),
)


@dataclass(frozen=True, slots=True)
class Change:
    """Compare one figure of a run with those of the comparable runs before it.

    `change` is relative to the median before, positive when worse; `p` is the Mann-Whitney probability of
    this figure alone, None when too few runs exist; `before` counts the runs looked back on.
    """

    measure: str
    value: float
    usual: float
    change: float
    p: float | None
    before: int
    state: State
    statement: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Hold the comparison of one run: the worst state of its figures and every change."""

    run_id: str
    against: tuple[str, ...]
    changes: tuple[Change, ...]

    @property
    def state(self) -> State:
        """Return the worst state: regression, then warning, then ok; undecided where nothing could be
        judged."""
        states = {change.state for change in self.changes}
        order: tuple[State, ...] = ("regression", "warning", "ok")
        return next((state for state in order if state in states), "undecided")

    @property
    def statement(self) -> str:
        """Say it in one sentence."""
        worst = [change.statement for change in self.changes if change.state == self.state]
        match self.state:
            case "undecided":
                count = len(self.against)
                runs = f"{count} comparable {'run' if count == 1 else 'runs'}"
                return f"nothing to compare with: {runs}, {FEWEST} are needed"
            case "ok":
                return f"no worse than the {len(self.against)} comparable runs before it"
            case "warning":
                return f"stands out, run again at once: {'; '.join(worst)}"
            case _:
                return f"regression: {'; '.join(worst)}"


def compare(
    run_id: str,
    figures: Mapping[str, float | None],
    earlier: Sequence[tuple[str, Mapping[str, float | None]]],
) -> Comparison:
    """Compare a run's figures with those of comparable earlier runs, oldest first.

    Where a figure on its own would be a regression, it is one only if chance would show as much in any of
    the figures in fewer than one of a hundred comparisons.

    >>> runs = [(f"r{n}", {"p95_ms": 100.0 + n % 3}) for n in range(24)]
    >>> [compare("new", {"p95_ms": p95}, runs).state for p95 in (101.0, 150.0)]
    ['ok', 'warning']
    >>> slow = [*runs[:20], *((f"s{n}", {"p95_ms": 120.0 + n}) for n in range(4))]
    >>> compare("new", {"p95_ms": 121.0}, slow).state
    'regression'
    """
    series = []
    for measure in MEASURES:
        value = figures.get(measure.name)
        past = [found for _, row in earlier if (found := row.get(measure.name)) is not None]
        if value is not None and past:
            series.append((measure, [*past, value]))
    changes = [judge(measure, values) for measure, values in series]
    if any(change.state == "regression" for change in changes):
        together = _together(series)
        changes = [judge(measure, values, together.get(measure.name)) for measure, values in series]
    return Comparison(run_id, tuple(name for name, _ in earlier), tuple(changes))


def _together(series: Sequence[tuple[Measure, Sequence[float]]]) -> dict[str, float]:
    """Give the chance, per figure, that any of those with enough runs looks as bad as it does."""
    judged = [(measure, values) for measure, values in series if len(values) >= LATEST + BEFORE]
    dealt = [
        Dealt([_sign(measure) * value for value in values[-LATEST - BEFORE :]], measure.least)
        for measure, values in judged
    ]
    found = chances(dealt, LATEST, LEAST_CHANGE)
    return {measure.name: chance for (measure, _), chance in zip(judged, found, strict=True)}


def _sign(measure: Measure) -> float:
    return 1.0 if measure.higher_is_worse else -1.0


def judge(measure: Measure, values: Sequence[float], together: float | None = None) -> Change:
    """Judge the last of a series of figures, oldest first, by those before it.

    `together` is the chance that any of several figures judged looks as bad; None where this is the only one.
    """
    if len(values) < 2:
        raise ConfigurationError(f"{measure.name}: one run compares with nothing; give at least two values")
    sign = _sign(measure)
    value, before = values[-1], values[-1 - BEFORE : -1]
    usual = median(before)
    p: float | None = None
    if len(values) >= LATEST + BEFORE:
        latest, reference = values[-LATEST:], values[-LATEST - BEFORE : -LATEST]
        p = mann_whitney([sign * v for v in latest], [sign * v for v in reference])
        shift = sign * (median(latest) - median(reference))
        clear = p < SIGNIFICANCE and (together is None or together < TOGETHER)
        if clear and _matters(shift, median(reference), measure):
            change = _relative(shift, median(reference))
            of_all = "" if together is None else f"; {together:.2g} over all figures"
            words = (
                f"{measure.name} of the last {LATEST} runs is {median(latest):.4g}, {abs(change):.0%} worse "
                f"than the {BEFORE} before (p = {p:.2g}{of_all})"
            )
            return Change(
                measure.name, value, median(reference), change, p, len(reference), "regression", words
            )
    shift = sign * (value - usual)
    change = _relative(shift, usual)
    state: State = "ok"
    if len(before) < FEWEST:
        state = "undecided"
    elif shift > SPREADS * _spread(before) and _matters(shift, usual, measure):
        state = "warning"
    direction = "worse" if shift > 0 else "better"
    words = f"{measure.name} is {value:.4g}, usually {usual:.4g} ({abs(change):.1%} {direction})"
    return Change(measure.name, value, usual, change, p, len(before), state, words)


def _relative(shift: float, usual: float) -> float:
    return (
        shift / abs(usual) if usual else (0.0 if not shift else float("inf") if shift > 0 else float("-inf"))
    )


def _matters(shift: float, usual: float, measure: Measure) -> bool:
    return shift > 0 and shift >= LEAST_CHANGE * abs(usual) and shift >= measure.least


def _spread(values: Sequence[float]) -> float:
    centre = median(values)
    return median(abs(value - centre) for value in values)


def mann_whitney(above: Sequence[float], below: Sequence[float]) -> float:
    """Return the one-sided probability that `above` ranks this high over `below` by chance.

    Exact for up to 80 values, ties included: every way to deal the ranks is counted. Beyond that the normal
    approximation with corrections for ties and continuity. Raises ConfigurationError for an empty side.

    Source: H. Mann, D. Whitney, Annals of Mathematical Statistics 18 (1947); ties by mid-ranks.

    >>> round(mann_whitney([6, 7, 8], [1, 2, 3, 4, 5]), 6), round(mann_whitney([1, 2], [1, 2]), 6)
    (0.017857, 0.833333)
    """
    if not above or not below:
        raise ConfigurationError("mann_whitney: both sides need at least one value")
    ranks = _doubled_ranks([*above, *below])
    m, total = len(above), len(above) + len(below)
    reached = sum(ranks[:m])
    if total <= _EXACT_UP_TO:
        ways = _ways(tuple(sorted(ranks)), m)
        return float(Fraction(sum(count for rank, count in ways.items() if rank >= reached), comb(total, m)))
    n = len(below)
    u = reached / 2 - m * (m + 1) / 2
    ties = sum(size**3 - size for size in _group_sizes([*above, *below]))
    variance = m * n / 12 * (total + 1 - ties / (total * (total - 1)))
    return 1.0 if variance <= 0 else 1 - NormalDist().cdf((u - m * n / 2 - 0.5) / sqrt(variance))


def _doubled_ranks(values: Sequence[float]) -> list[int]:
    """Rank from 1, ties sharing the middle of their ranks, times two to stay whole."""
    ordered = sorted(values)
    first: dict[float, int] = {}
    last: dict[float, int] = {}
    for rank, value in enumerate(ordered, 1):
        first.setdefault(value, rank)
        last[value] = rank
    return [first[value] + last[value] for value in values]


def _group_sizes(values: Sequence[float]) -> list[int]:
    sizes: dict[float, int] = {}
    for value in values:
        sizes[value] = sizes.get(value, 0) + 1
    return list(sizes.values())


@lru_cache(maxsize=64)
def _ways(ranks: tuple[int, ...], m: int) -> dict[int, int]:
    """Count, for each rank sum, the choices of m of the ranks that reach it."""
    chosen: list[dict[int, int]] = [{0: 1}, *({} for _ in range(m))]
    for rank in ranks:
        for size in range(m, 0, -1):
            into = chosen[size]
            for reached, count in chosen[size - 1].items():
                into[reached + rank] = into.get(reached + rank, 0) + count
    return chosen[m]
