"""The figures of a stretch of a run: counts, rates and percentiles, each with what it rests on.

Latency is the response time (answer less intended instant) of every request but called-for refusals: a
quick 429 must not flatter a percentile, and a time-out must not leave it. Errors are failed expectations
and 503s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sentinel.histogram import Histogram
from sentinel.run import OUTCOMES, Outcome, RunRecord, Tick
from sentinel.served import served_within

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Percentile:
    """Hold a percentile in milliseconds with its sample count; `ms` is None where too few samples lie above
    it."""

    p: float
    ms: float | None
    samples: int

    @property
    def name(self) -> str:
        """Return the usual name, such as p95 or p99.9."""
        return f"p{self.p:g}"


@dataclass(frozen=True, slots=True)
class Figures:
    """Hold the figures of some requests over some seconds.

    `seconds` is the length of the stretch; `counts` has an entry for every outcome; latencies are in
    milliseconds. `served` counts the answers as expected that came within the stretch, whenever they were
    asked for; None: all that are counted as "ok".
    """

    seconds: float
    counts: Mapping[Outcome, int]
    percentiles: tuple[Percentile, ...]
    mean_ms: float | None
    max_ms: float | None
    served: int | None = None

    @property
    def requests(self) -> int:
        """Count all answered and failed requests."""
        return sum(self.counts.values())

    @property
    def error_rate(self) -> float:
        """Return the share of requests that failed or were shed (0 .. 1); called-for refusals are no
        errors."""
        return (self.counts["error"] + self.counts["shed"]) / self.requests if self.requests else 0.0

    @property
    def denied_rate(self) -> float:
        """Return the share of called-for refusals (0 .. 1)."""
        return self.counts["denied"] / self.requests if self.requests else 0.0

    @property
    def throughput(self) -> float:
        """Return the requests served as expected per second: answers within the stretch over its length."""
        served = self.counts["ok"] if self.served is None else self.served
        return served / self.seconds if self.seconds else 0.0

    def percentile(self, p: float) -> Percentile:
        """Return one of the listed percentiles."""
        return next(entry for entry in self.percentiles if entry.p == p)


def ms(value: float | None) -> str:
    """Write milliseconds to three digits; a dash for what is not known.

    >>> ms(0.01234), ms(12.345), ms(2345.6), ms(None)
    ('0.0123', '12.3', '2346', '–')
    """
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def latency(ticks: Iterable[Tick]) -> Histogram:
    """Merge the response times of everything but called-for refusals."""
    return Histogram.merged(tick.response for tick in ticks if tick.outcome != "denied")


def figures(ticks: Iterable[Tick], seconds: float, served: int | None = None) -> Figures:
    """Compute the figures of some ticks over a stretch of `seconds`.

    >>> tick = Tick(0, "blog", "list", "ok", Histogram([2_000_000] * 400), Histogram([2_000_000] * 400))
    >>> found = figures([tick], seconds=1.0)
    >>> found.throughput, found.error_rate, found.percentile(95.0).samples, found.percentile(99.9).ms
    (400.0, 0.0, 400, None)
    """
    kept = tuple(ticks)
    counts: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
    for tick in kept:
        counts[tick.outcome] += tick.count
    times = latency(kept)
    return Figures(
        seconds,
        counts,
        tuple(
            Percentile(p, _ms(times.percentile(p) if times.count else None), times.count) for p in PERCENTILES
        ),
        _ms(times.mean),
        _ms(float(times.max)) if times.count else None,
        served,
    )


def length_s(record: RunRecord) -> float:
    """Give the seconds that throughput is counted over: those of the load, not the wait for its last answers.

    Of a run that was stopped, the whole seconds in which it was loaded; of one that was killed all are whole.

    >>> from sentinel.run import Phase
    >>> run = RunRecord("r", {}, "", {}, "", "open", "complete", planned=(150, 150, 0), done=(147, 150, 3),
    ...                 phases=(Phase("sustained", 0.0, 2.0),))
    >>> length_s(run)
    2.0
    """
    if record.status == "partial":
        loaded = max((second for second, count in enumerate(record.planned) if count), default=-1) + 1
        return float(loaded if record.counters.get("checkpoint") else max(loaded - 1, min(loaded, 1)))
    whole = float(record.seconds)
    return min(max((phase.end_s for phase in record.phases), default=whole), whole)


def of_run(record: RunRecord, ticks: Iterable[Tick]) -> Figures:
    """Compute the figures of some ticks over a whole run; the throughput is that of the loaded seconds."""
    kept, seconds = tuple(ticks), length_s(record)
    return figures(kept, seconds, served_within(record, kept, 0.0, seconds))


def _ms(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e6


def between(record: RunRecord, start_s: float, end_s: float) -> tuple[Tick, ...]:
    """Select the ticks of the seconds that lie in a stretch (start included, end not)."""
    return tuple(tick for tick in record.ticks if start_s <= tick.second < end_s)


def by_series(ticks: Iterable[Tick]) -> dict[tuple[str, str], list[Tick]]:
    """Group ticks by application and step, in order of first appearance."""
    groups: dict[tuple[str, str], list[Tick]] = {}
    for tick in ticks:
        groups.setdefault((tick.application, tick.step), []).append(tick)
    return groups


def by_second(record: RunRecord) -> tuple[tuple[Tick, ...], ...]:
    """Group a run's ticks by second, one entry per second of the record."""
    groups: list[list[Tick]] = [[] for _ in range(record.seconds)]
    for tick in record.ticks:
        if tick.second < record.seconds:
            groups[tick.second].append(tick)
    return tuple(tuple(group) for group in groups)
