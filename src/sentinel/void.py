"""When a run proves nothing: the generator did not make the load it was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sentinel.chance import most_by_chance
from sentinel.figures import ms
from sentinel.histogram import SAMPLES_ABOVE, Histogram

LEAST_LAG_LIMIT_NS = 1_000_000
LAG_SHARE = 0.10
LEAST_SENT_SHARE = 0.99
MOST_CPU_SHARE = 0.90
LATE_ONE_IN = 100


@dataclass(frozen=True, slots=True)
class Lag:
    """Hold how late requests left: the median, the latest, and the one that is held against the limit (ns).

    `apart` of `count` requests may be later than that one: one in a hundred, in a short run as many as chance
    makes of one in a hundred, up to ten.
    """

    count: int
    apart: int
    median: float
    decisive: float
    latest: int
    limit: int

    @classmethod
    def of(cls, lag: Iterable[Histogram], limit_ns: int) -> Lag | None:
        """Read it off the lags of a run, second by second; None when nothing was sent.

        >>> found = Lag.of([Histogram([50_000] * 38 + [9_000_000] * 2)], 10**6)
        >>> found.apart, found.latest, print(found)
        lag: median 0.05 ms, all but the latest 2 of 40 at most 0.05 ms; 1 ms allowed
        (2, 9000000, None)
        """
        whole = Histogram.merged(lag)
        count = whole.count
        if not count:
            return None
        apart = count // LATE_ONE_IN
        if apart < SAMPLES_ABOVE:
            apart = min(SAMPLES_ABOVE, most_by_chance(count, 1 / LATE_ONE_IN))
        decisive = whole.value_at(count - apart)
        return cls(count, apart, whole.value_at((count + 1) // 2), decisive, whole.max, limit_ns)

    def __str__(self) -> str:
        allowed = f"{ms(self.limit / 1e6)} ms allowed"
        return f"lag: median {ms(self.median / 1e6)} ms, {self.name} {ms(self.decisive / 1e6)} ms; {allowed}"

    @property
    def name(self) -> str:
        """Name the decisive one: p99 where there are enough samples, else by how many are apart."""
        if self.count // LATE_ONE_IN >= SAMPLES_ABOVE:
            return "p99"
        apart = f"but the latest {self.apart} of {self.count}" if self.apart else f"{self.count}"
        return f"all {apart} at most"


def lag_limit_ns(tightest_latency_ms: float | None) -> int:
    """Give the largest 99th percentile of lag that a run may have: 1 ms, or 10 % of its tightest bound if
    larger.

    >>> lag_limit_ns(None), lag_limit_ns(5), lag_limit_ns(500)
    (1000000, 1000000, 50000000)
    """
    return max(LEAST_LAG_LIMIT_NS, round((tightest_latency_ms or 0) * LAG_SHARE * 1e6))


def judge(
    lag: Iterable[Histogram],
    planned: Sequence[int],
    sent: Sequence[int],
    generator_cpu: Sequence[float],
    limit_ns: int,
) -> tuple[str, ...]:
    """Give the reasons why a run proves nothing; none when it stands.

    lag, planned, sent, generator_cpu: per second, as in RunRecord. limit_ns: what `lag_limit_ns` gave.

    >>> judge([], planned=[100, 100], sent=[100, 95], generator_cpu=[0.2, 0.95], limit_ns=10**6)
    ('in second 1 only 95 of 100 planned requests were sent in time (99 % needed)', 'the generator used 95 % \
of its core in second 1 (90 % allowed)')
    """
    reasons: list[str] = []
    if not sum(planned):
        reasons.append("not a single request was sent")
    late = Lag.of(lag, limit_ns)
    if late is not None and late.decisive > limit_ns:
        few = f"the latest {late.apart} of {late.count} apart" if late.apart else f"of {late.count} in all"
        which = "99th percentile" if late.name == "p99" else few
        reasons.append(
            f"requests left up to {late.decisive / 1e6:.2f} ms late ({which}; {limit_ns / 1e6:g} ms allowed)"
        )
    reasons += _unsent(planned, sent)
    busiest = max(range(len(generator_cpu)), key=generator_cpu.__getitem__, default=None)
    if busiest is not None and generator_cpu[busiest] > MOST_CPU_SHARE:
        share = round(100 * generator_cpu[busiest])
        reasons.append(f"the generator used {share} % of its core in second {busiest} (90 % allowed)")
    return tuple(reasons)


def _unsent(planned: Sequence[int], sent: Sequence[int]) -> list[str]:
    """Name the seconds in which too little was sent in time, or the run; a single request never counts."""
    short = [
        second
        for second, (want, got) in enumerate(zip(planned, sent, strict=True))
        if want - got > max(1, (1 - LEAST_SENT_SHARE) * want)
    ]
    if short:
        worst = min(short, key=lambda second: sent[second] / planned[second])
        more = f", and in {len(short) - 1} more" if len(short) > 1 else ""
        words = f"in second {worst}{more} only {sent[worst]} of {planned[worst]}"
        return [f"{words} planned requests were sent in time (99 % needed)"]
    want, got = sum(planned), sum(sent)
    if want - got > max(1, (1 - LEAST_SENT_SHARE) * want):
        return [f"only {got} of {want} planned requests were sent in time (99 % needed)"]
    return []
