"""Hold a run against its pass criteria. A figure that cannot be known is not judged, and does not pass.

A percentile of few samples is not known, but often which side of an upper bound it is on. It is at most their
maximum, so a bound that even the slowest keeps holds; and it is above the bound when so many samples are that
chance explains it in fewer than one run of a hundred. The result says so in both cases. A share that is to
stay below a bound is not known of few requests either: what holds of them holds, and the result says so.

Failures count in a latency: a time-out must not leave it. But of failures alone no bound holds: how soon a
server fails says nothing of how soon it serves.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from sentinel.chance import at_least
from sentinel.criterion import Criterion
from sentinel.evidence import ExcessFound
from sentinel.figures import Figures, latency, ms, of_run
from sentinel.histogram import SAMPLES_ABOVE, Histogram
from sentinel.run import RunRecord, Tick

_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
State = Literal["pass", "fail", "not judged"]
BY_CHANCE = 0.01
TOLD_BY = 3.0  # failures to be expected at the bound: none of so many happens by chance in 5 of 100 runs


@dataclass(frozen=True, slots=True)
class CheckResult:
    """State one criterion, what was observed (in the criterion's unit; None if it cannot be known) and
    whether it holds.

    `samples` is the number of requests it rests on; `few`: it holds of them, too few to tell more.
    """

    criterion: Criterion
    observed: float | None
    state: State
    samples: int
    detail: str
    few: bool = False

    @property
    def passed(self) -> bool:
        """Tell whether it holds; what could not be judged does not."""
        return self.state == "pass"

    @property
    def lasting(self) -> bool:
        """Tell whether a failure stays one whatever comes later: a maximum or an excess only grows."""
        return self.criterion.figure in ("max", "excess") and self.criterion.op in ("<", "<=", "=")

    def __str__(self) -> str:
        mark = "FAIL" if self.state == "fail" else self.state
        return f"{mark}  {self.criterion}  ({self.detail})"


def parse_criteria(texts: Iterable[str]) -> tuple[Criterion, ...]:
    """Read criteria such as "p95 < 500ms", "error_rate < 1%", "throughput > 500/s" or "excess = 0".

    Raises ConfigurationError that names the text; two equal criteria are one.

    >>> [str(criterion) for criterion in parse_criteria(["p95 < 500ms", "error_rate < 1%", "p95 < 0.5 s"])]
    ['p95 < 500 ms', 'error_rate < 1 %']
    """
    return tuple(dict.fromkeys(Criterion.parse(text) for text in texts))


def check(
    record: RunRecord, criteria: Iterable[Criterion], *, excess: ExcessFound | None = None
) -> tuple[CheckResult, ...]:
    """Judge a run by its criteria; `excess` is what was proven of its own requests, None if nobody looked."""
    return tuple(_one(record, criterion, excess) for criterion in criteria)


def _one(record: RunRecord, criterion: Criterion, excess: ExcessFound | None) -> CheckResult:
    if criterion.metric == "excess":
        return _excess(criterion, excess)
    ticks = [tick for tick in record.ticks if _concerns(criterion, tick)]
    if not any(tick.count for tick in ticks):
        series = "/".join(part for part in (criterion.application, criterion.step) if part)
        return _unknown(criterion, 0, f"no requests{' of ' + series if series else ''}")
    if criterion.metric == "latency":
        result, failed = _latency(criterion, ticks), latency(ticks).count
        if result.passed and not any(tick.count for tick in ticks if tick.outcome == "ok"):
            return _unknown(
                criterion, failed, f"all {failed} requests failed: nothing shows how soon it serves"
            )
        return result
    return _rate(criterion, of_run(record, ticks))


def _excess(criterion: Criterion, excess: ExcessFound | None) -> CheckResult:
    if excess is None:
        return _unknown(criterion, 0, "no audit ran, so nothing is proven")
    if not excess.proven and not excess.refused:
        why = f"none of the {excess.requests:,} requests was refused: nothing shows that there is a limit"
        return _unknown(criterion, excess.requests, why)
    return _judged(criterion, float(excess.proven), excess.requests, str(excess))


def _rate(criterion: Criterion, found: Figures) -> CheckResult:
    if criterion.metric == "throughput":
        detail = f"{found.throughput:.1f}/s over {found.seconds:g} s"
        return _judged(criterion, found.throughput, found.requests, detail)
    if criterion.metric == "error_rate":
        share, count = found.error_rate, found.counts["error"] + found.counts["shed"]
    else:
        share, count = found.denied_rate, found.counts["denied"]
    result = _judged(criterion, share, found.requests, f"{count} of {found.requests}, {share:.3%}")
    bounded = criterion.op in ("<", "<=") and criterion.value > 0
    if result.passed and bounded and found.requests * criterion.value < TOLD_BY:
        words = f"{result.detail}; too few requests to tell {criterion.value * 100:g} %"
        return replace(result, detail=words, few=True)
    return result


def _concerns(criterion: Criterion, tick: Tick) -> bool:
    return criterion.application in (None, tick.application) and criterion.step in (None, tick.step)


def _latency(criterion: Criterion, ticks: list[Tick]) -> CheckResult:
    times = latency(ticks)
    if not times.count:
        return _unknown(criterion, 0, "nothing but called-for refusals")
    if criterion.figure == "mean":
        value = times.mean
    elif criterion.figure == "max":
        value = float(times.max)
    else:
        value = times.percentile(float(criterion.figure[1:]))
    if value is None:
        return _few(criterion, times)
    return _judged(criterion, value / 1e6, times.count, f"{ms(value / 1e6)} ms of {times.count} samples")


def _few(criterion: Criterion, times: Histogram) -> CheckResult:
    """Judge a percentile that cannot be told by what is certain about it all the same."""
    if criterion.op in ("<", "<="):
        if _HOLDS[criterion.op](times.max / 1e6, criterion.value):
            words = f"all {times.count} samples within {ms(times.max / 1e6)} ms"
            detail = f"{words}; too few to tell a {criterion.figure}"
            return CheckResult(criterion, None, "pass", times.count, detail, few=True)
        above = times.count_above(criterion.value * 1e6)
        if at_least(above, times.count, 1 - float(criterion.figure[1:]) / 100) < BY_CHANCE:
            words = f"{above} of {times.count} samples above {ms(criterion.value)} ms"
            detail = f"{words}: too few to tell a {criterion.figure}, enough to tell that it is above"
            return CheckResult(criterion, None, "fail", times.count, detail)
    detail = f"fewer than {SAMPLES_ABOVE} of {times.count} samples lie above it: run longer"
    return _unknown(criterion, times.count, detail)


def _unknown(criterion: Criterion, samples: int, detail: str) -> CheckResult:
    return CheckResult(criterion, None, "not judged", samples, detail)


def _judged(criterion: Criterion, observed: float, samples: int, detail: str) -> CheckResult:
    state: State = "pass" if _HOLDS[criterion.op](observed, criterion.value) else "fail"
    return CheckResult(criterion, observed, state, samples, detail)
