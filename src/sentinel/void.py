"""When a run proves nothing: the generator did not make the load it was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sentinel.histogram import Histogram

LEAST_LAG_LIMIT_NS = 1_000_000
LAG_SHARE = 0.10
LEAST_SENT_SHARE = 0.99
MOST_CPU_SHARE = 0.90


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
    late = _high_percentile(Histogram.merged(lag))
    if late > limit_ns:
        reasons.append(
            f"requests left up to {late / 1e6:.2f} ms late (99th percentile; {limit_ns / 1e6:g} ms allowed)"
        )
    short = [
        second
        for second, (want, got) in enumerate(zip(planned, sent, strict=True))
        if got < LEAST_SENT_SHARE * want
    ]
    if short:
        worst = min(short, key=lambda second: sent[second] / planned[second])
        more = f", and in {len(short) - 1} more" if len(short) > 1 else ""
        reasons.append(
            f"in second {worst}{more} only {sent[worst]} of {planned[worst]} planned requests were sent in "
            "time (99 % needed)"
        )
    busiest = max(range(len(generator_cpu)), key=generator_cpu.__getitem__, default=None)
    if busiest is not None and generator_cpu[busiest] > MOST_CPU_SHARE:
        share = round(100 * generator_cpu[busiest])
        reasons.append(f"the generator used {share} % of its core in second {busiest} (90 % allowed)")
    return tuple(reasons)


def _high_percentile(lag: Histogram) -> float:
    """Give the 99th percentile of the lag; of few samples, the one that 99 % are not above, however noisy."""
    return lag.value_at(-(-lag.count * 99 // 100)) if lag.count else 0.0
