"""Prove that a limiter admitted too much, or refused what it owed, from the outside.

Every decision fell somewhere between sending and answer, nobody knows where. A fault is proven only when no
choice of those instants explains the record, so a correct limiter is never accused, however slow or jumbled
its answers. Write S(t) for admitted requests sent by t and F(t) for those answered by t:

- between a and b at least F(b) - S(a-) requests were admitted; more than the promise allows is an
  over-admission;
- up to t at most S(t) - F(a-) were admitted since a; if the promise leaves room at every t at which a refused
  request may have been decided, the refusal was wrong.

Arithmetic is exact: integers in nanoseconds scaled by the promise's denominator, in int64 where the largest
possible value fits and in Python integers where it does not. This module knows no limiter: it shares no code
with one.
"""

from __future__ import annotations

from sentinel.debt import bucket_debt, window_debt
from sentinel.excess import bucket_excess, window_excess
from sentinel.findings import Finding, merge
from sentinel.observations import ADMITTED, REFUSED, Observations
from sentinel.promise import ClockTrust, Promise, Window


def over_admission(seen: Observations, promise: Promise, clock: ClockTrust | None = None) -> Finding:
    """Prove admissions that no limiter keeping the promise could have made; each key is judged on its own.

    `proven` is a lower bound of the requests admitted in excess. Sound for any latencies: requests of unknown
    outcome are left out. O(n log n).

    >>> from sentinel.observations import Observation
    >>> rows = [Observation(at * 1_000, at * 1_000 + 900, True) for at in range(8)]
    >>> finding = over_admission(Observations.of(["ann"] * 8, rows), Window(5, 1_000_000))
    >>> finding.proven, finding.accusations[0].statement
    (3, '8 admissions within 0.000008 s; at most 5 are allowed')
    """
    trust = clock or ClockTrust()
    parts = []
    for name, rows in seen.where(seen.outcome == ADMITTED).by_key():
        if isinstance(promise, Window):
            parts.append(window_excess(name, rows, promise, trust))
        else:
            parts.append(bucket_excess(name, rows, promise, trust))
    return merge("over-admission", parts)


def wrong_refusal(
    seen: Observations, promise: Promise, clock: ClockTrust | None = None, *, fresh: bool = True
) -> Finding:
    """Prove refusals that a limiter keeping the promise owed an admission; each key is judged on its own.

    With `fresh` the keys are taken as never seen before the first row; without it, whatever may have been
    consumed earlier is held in the limiter's favour. Requests of unknown outcome count as admitted at any
    instant. O(n log n).

    >>> from sentinel.observations import Observation
    >>> from sentinel.promise import Bucket
    >>> rows = [Observation(0, 9, True), Observation(10, 19, False)]
    >>> wrong_refusal(Observations.of(["ann"] * 2, rows), Bucket(2, 1_000_000, burst=2)).proven
    1
    """
    trust = clock or ClockTrust()
    parts = []
    for name, rows in seen.by_key():
        refused = rows.where(rows.outcome == REFUSED)
        if not len(refused):
            continue
        if isinstance(promise, Window):
            parts.append(window_debt(name, rows, refused, promise, trust, fresh))
        else:
            parts.append(bucket_debt(name, rows, refused, promise, trust, fresh))
    return merge("wrong-refusal", parts)
