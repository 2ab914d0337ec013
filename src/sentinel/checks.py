"""Hold a run against its pass criteria. A figure that cannot be known does not pass.

A percentile of few samples is not known, but it is at most their maximum: an upper bound that even the
slowest sample keeps holds all the same, and the result says that this is why.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from sentinel.criterion import Criterion
from sentinel.figures import figures, latency, ms
from sentinel.histogram import SAMPLES_ABOVE
from sentinel.run import RunRecord, Tick

_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}


@dataclass(frozen=True, slots=True)
class CheckResult:
    """State one criterion, what was observed (in the criterion's unit; None if it cannot be known) and
    whether it holds.

    `samples` is the number of requests it rests on.
    """

    criterion: Criterion
    observed: float | None
    passed: bool
    samples: int
    detail: str

    def __str__(self) -> str:
        return f"{'pass' if self.passed else 'FAIL'}  {self.criterion}  ({self.detail})"


def parse_criteria(texts: Iterable[str]) -> tuple[Criterion, ...]:
    """Read criteria such as "p95 < 500ms", "error_rate < 1%", "throughput > 500/s" or "excess = 0".

    Raises ConfigurationError that names the text; two equal criteria are one.

    >>> [str(criterion) for criterion in parse_criteria(["p95 < 500ms", "error_rate < 1%", "p95 < 0.5 s"])]
    ['p95 < 500 ms', 'error_rate < 1 %']
    """
    return tuple(dict.fromkeys(Criterion.parse(text) for text in texts))


def check(
    record: RunRecord, criteria: Iterable[Criterion], *, excess: int | None = None
) -> tuple[CheckResult, ...]:
    """Judge a run by its criteria; `excess` is what an audit proved, None if no audit ran."""
    return tuple(_one(record, criterion, excess) for criterion in criteria)


def _one(record: RunRecord, criterion: Criterion, excess: int | None) -> CheckResult:
    ticks = [tick for tick in record.ticks if _concerns(criterion, tick)]
    seconds = float(record.seconds)
    if criterion.metric == "excess":
        if excess is None:
            return CheckResult(criterion, None, False, 0, "no audit ran, so nothing is proven")
        return _judged(criterion, float(excess), sum(t.count for t in ticks), f"{excess} proven")
    if not any(tick.count for tick in ticks):
        series = "/".join(part for part in (criterion.application, criterion.step) if part)
        return CheckResult(criterion, None, False, 0, f"no requests{' of ' + series if series else ''}")
    found = figures(ticks, seconds)
    match criterion.metric:
        case "error_rate":
            failed = found.counts["error"] + found.counts["shed"]
            return _judged(
                criterion,
                found.error_rate,
                found.requests,
                f"{failed} of {found.requests}, {found.error_rate:.3%}",
            )
        case "denied_rate":
            denied = found.counts["denied"]
            return _judged(
                criterion,
                found.denied_rate,
                found.requests,
                f"{denied} of {found.requests}, {found.denied_rate:.3%}",
            )
        case "throughput":
            detail = f"{found.throughput:.1f}/s over {seconds:.0f} s"
            return _judged(criterion, found.throughput, found.requests, detail)
        case _:
            return _latency(criterion, ticks)


def _concerns(criterion: Criterion, tick: Tick) -> bool:
    return criterion.application in (None, tick.application) and criterion.step in (None, tick.step)


def _latency(criterion: Criterion, ticks: list[Tick]) -> CheckResult:
    times = latency(ticks)
    if not times.count:
        return CheckResult(criterion, None, False, 0, "nothing but called-for refusals")
    if criterion.figure == "mean":
        value = times.mean
    elif criterion.figure == "max":
        value = float(times.max)
    else:
        value = times.percentile(float(criterion.figure[1:]))
    if (
        value is None
        and criterion.op in ("<", "<=")
        and _HOLDS[criterion.op](times.max / 1e6, criterion.value)
    ):
        detail = (
            f"all {times.count} samples within {ms(times.max / 1e6)} ms; too few to tell a {criterion.figure}"
        )
        return CheckResult(criterion, None, True, times.count, detail)
    if value is None:
        detail = f"fewer than {SAMPLES_ABOVE} of {times.count} samples lie above it: run longer"
        return CheckResult(criterion, None, False, times.count, detail)
    return _judged(criterion, value / 1e6, times.count, f"{ms(value / 1e6)} ms of {times.count} samples")


def _judged(criterion: Criterion, observed: float, samples: int, detail: str) -> CheckResult:
    return CheckResult(criterion, observed, _HOLDS[criterion.op](observed, criterion.value), samples, detail)
