"""The proof of over-admission for one key: more was surely admitted in an interval than is promised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sentinel.findings import Accusation, Finding, seconds
from sentinel.observations import IntArray, Observations, earlier, in_order
from sentinel.promise import Bucket, ClockTrust, Window
from sentinel.scale import PPM, Scale

_QUICK = 9  # tenths of the requests, the quickest, that the search is repeated with
_FEW = 64  # steps that are taken one by one: joining them would cost more
_INTERVALS = 1_000  # disjoint intervals added up before the count of an excess stops growing


def window_excess(name: str, rows: Observations, promise: Window, clock: ClockTrust) -> Finding:
    """Count requests wholly inside intervals shorter than k windows, which allow k times the limit.

    One window is sharpest for bursts. Many windows are sharpest for a rate that is a little too high,
    because requests in flight at the two ends blur a long interval no more than a short one.
    """
    n = len(rows)
    period, limit = promise.period_us * 1_000, promise.limit
    span = int(rows.done_ns.max() - rows.sent_ns.min())
    cover = span // period + 1
    inside = _Inside.of(rows)
    best, blind, worst = 0, float(limit), None
    k = 1
    while True:
        # A limiter that reads its clock in ticks must see less than k windows go by.
        length = ((k * period - clock.grain_ns) * PPM - 1) // (PPM + clock.drift_ppm)
        if length >= 0:
            starts, counts = inside.within(length)
            if len(counts):
                at = int(np.argmax(counts))
                excess = int(counts[at]) - k * limit
                blind = min(blind, float(-excess))
                if excess > 0:
                    total = _disjoint(starts, counts, length, k * limit)
                    best = max(best, total)
                    if worst is None:  # the shortest interval is the plainest evidence
                        worst = (int(starts[at]), length, int(counts[at]), k * limit)
        if k >= cover or n <= k * limit:
            break
        k = min(4 * k, cover)
    accusations: tuple[Accusation, ...] = ()
    if worst is not None:
        start, length, count, allowed = worst
        shown = (rows.sent_ns >= start) & (rows.done_ns <= start + length)
        end = int(rows.done_ns[shown].max())
        start = int(rows.sent_ns[shown].min())
        text = f"{count} admissions within {seconds(end - start)}; at most {allowed} are allowed"
        accusations = (Accusation("over-admission", name, start, end, best, text),)
    return Finding("over-admission", n, best, max(blind, 0.0), accusations)


@dataclass(frozen=True, slots=True, eq=False)
class _Inside:
    """Count requests that lie wholly within intervals: both ends sorted once, for intervals of any length."""

    rows: Observations
    sent: IntArray
    done: IntArray
    slowest: int

    @classmethod
    def of(cls, rows: Observations) -> _Inside:
        slowest = int((rows.done_ns - rows.sent_ns).max())
        return cls(rows, in_order(rows.sent_ns), in_order(rows.done_ns), slowest)

    def within(self, length: int) -> tuple[IntArray, IntArray]:
        """Return interval starts and how many requests lie wholly within `length` nanoseconds from each."""
        sent, done = self.sent, self.done
        if length < self.slowest:
            fits = self.rows.done_ns - self.rows.sent_ns <= length
            sent, done = (
                in_order(self.rows.sent_ns[fits]),
                in_order(self.rows.done_ns[fits]),
            )
        # A request is inside [a, a + length] exactly when a is in [done - length, sent]: the count is an
        # overlap of intervals.
        first = done - length
        return first, np.arange(1, len(first) + 1) - np.searchsorted(sent, first, "left")


def _disjoint(starts: IntArray, counts: IntArray, length: int, allowed: int) -> int:
    """Add up the excess of intervals that share no request, greatest first: a lower bound of the whole.

    `starts` are sorted.
    """
    guilty = counts > allowed
    starts, excess = starts[guilty], counts[guilty] - allowed
    total = 0
    for _ in range(_INTERVALS):
        at = int(np.argmax(excess))
        if excess[at] == 0:
            break
        total += int(excess[at])
        near = np.searchsorted(starts, [starts[at] - length, starts[at] + length + 1])
        excess[near[0] : near[1]] = 0
    return total


def bucket_excess(name: str, rows: Observations, promise: Bucket, clock: ClockTrust) -> Finding:
    """Find the interval [a, b] that maximises F(b) - S(a-) - burst - rate·(b - a).

    Requests slow to answer blur S more than they add to F, and a limiter that keeps the promise keeps it
    for any part of its admissions: so the search is repeated without the slowest.
    """
    n = len(rows)
    base = int(rows.sent_ns.min())
    service = rows.done_ns - rows.sent_ns
    scale = Scale.of(promise, clock.drift_ppm, n, int(rows.done_ns.max()) - base)
    allowance = promise.burst * scale.token + scale.tick * clock.grain_ns
    best, blind, worst = 0, float(promise.burst), None
    quick = -(-_QUICK * (n - 1) // 10)
    for cut in sorted({int(np.partition(service, quick)[quick]), int(service.max())}):
        kept = service <= cut
        sent, done = (
            in_order(rows.sent_ns[kept] - base),
            in_order(rows.done_ns[kept] - base),
        )
        before = scale.array(earlier(sent)) * scale.token - scale.array(sent) * scale.tick
        floor = np.minimum.accumulate(before)
        answered = scale.array(np.arange(1, len(done) + 1)) * scale.token - scale.array(done) * scale.tick
        excess = answered - floor[np.searchsorted(sent, done, "right") - 1] - allowance
        at = int(np.argmax(excess))
        blind = min(blind, -int(excess[at]) / scale.token)
        if int(excess[at]) > 0:
            total = max(_summed(sent, done, scale, allowance), -(-int(excess[at]) // scale.token))
            if total > best:
                start = int(sent[int(np.argmin(before[: int(np.searchsorted(sent, done[at], "right"))]))])
                best, worst = total, (start + base, int(done[at]) + base)
    accusations: tuple[Accusation, ...] = ()
    if worst is not None:
        start, end = worst
        count = int(np.count_nonzero((rows.sent_ns >= start) & (rows.done_ns <= end)))
        allowed = promise.burst + promise.limit * (end - start) // (promise.period_us * 1_000)
        text = f"{count} admissions within {seconds(end - start)}; at most {allowed} are allowed"
        accusations = (Accusation("over-admission", name, start, end, best, text),)
    return Finding("over-admission", n, best, max(blind, 0.0), accusations)


def _summed(sent: IntArray, done: IntArray, scale: Scale, allowance: int) -> int:
    """Add up the excess over the best choice of disjoint intervals, in one pass over all instants.

    An interval is best opened where it pays most among requests sent between two answers, and closed where
    it pays most among answers between two sends; so a step of the pass is such a pair of runs. With `settled`
    the best sum so far, and `opened` the best of those that have an interval open, a step makes

        opened = max(opened, settled + open)
        settled = max(settled, opened + close)

    of them: each of the two becomes the greater of both, plus something. Two such steps in a row are one of
    the same form, so steps are joined in pairs, all pairs at once, until they are few.
    """
    opening = scale.array(sent) * scale.tick - scale.array(np.arange(len(sent))) * scale.token
    closing = (
        scale.array(np.arange(1, len(done) + 1)) * scale.token - scale.array(done) * scale.tick - allowance
    )
    passed = np.searchsorted(sent, done, "right")
    runs = np.flatnonzero(np.diff(passed, prepend=0))  # the first answer after some were sent
    opens = np.maximum.reduceat(opening, np.concatenate([[0], passed[runs[:-1]]]))
    closes = np.maximum.reduceat(closing, runs)
    steps = _Steps(np.maximum(opens + closes, 0), opens, closes, closes * 0)
    while len(steps.settled) > _FEW:
        steps = steps.halved()
    settled, opened = 0, -(10**40)
    for stay, begin, end, still in zip(*(part.tolist() for part in steps), strict=True):
        settled, opened = max(settled + stay, opened + end), max(settled + begin, opened + still)
    return -(-settled // scale.token)


class _Steps(NamedTuple):
    """Hold what each step adds, by what it starts from and ends with: settled, opened, closed, and none of
    both."""

    settled: IntArray
    opened: IntArray
    closed: IntArray
    still: IntArray

    def halved(self) -> _Steps:
        """Join every two steps in a row; the last of an odd number stays as it is."""
        even = len(self.settled) // 2 * 2
        one, two = (_Steps(*(part[start:even:2] for part in self)) for start in (0, 1))
        joined = (
            np.maximum(one.settled + two.settled, one.opened + two.closed),
            np.maximum(one.settled + two.opened, one.opened + two.still),
            np.maximum(one.closed + two.settled, one.still + two.closed),
            np.maximum(one.closed + two.opened, one.still + two.still),
        )
        return _Steps(*(np.append(part, rest[even:]) for part, rest in zip(joined, self, strict=True)))
