"""How many requests were served as expected by when: a count of answers, by the second in which they came.

A request belongs to the second it was meant for, but it is served when its answer comes. A run counts both.
Runs that were recorded before it did are read by their response times: an answer came so long after some
instant of its second, and any instant of that second is as likely as another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil

import numpy as np

from sentinel.run import RunRecord, Tick

NS = 1_000_000_000


def served_within(record: RunRecord, ticks: Iterable[Tick], start_s: float, end_s: float) -> int:
    """Count what was served as expected in some seconds of a run, of the series that `ticks` are of.

    A second that the stretch begins in the midst of does not count, one that it ends in does: stretches
    add up.

    >>> from sentinel.histogram import Histogram
    >>> slow = Histogram([1_500_000_000] * 100)  # half of them in the next second, half in the one after
    >>> old = RunRecord("r", {}, "", {}, "", "open", "complete", planned=(100,), ticks=(
    ...     Tick(0, "blog", "list", "ok", slow, slow),))
    >>> served_within(old, old.ticks, 0, 2), served_within(old, old.ticks, 2, 3)
    (50, 50)
    """
    kept = tuple(ticks)
    first, last = ceil(start_s), ceil(end_s)
    if not record.served:
        return _estimated(kept, last) - _estimated(kept, first)
    names = {(tick.application, tick.step) for tick in kept}
    return sum(sum(record.served.get(name, ())[first:last]) for name in names)


def served_per_second(
    counts: Mapping[tuple[int, str, str], int], seconds: int
) -> dict[tuple[str, str], tuple[int, ...]]:
    """Line up counts by (second, application, step) as a record holds them.

    >>> served_per_second({(1, "blog", "list"): 4, (7, "blog", "list"): 2}, seconds=3)
    {('blog', 'list'): (0, 4, 0)}
    """
    lined: dict[tuple[str, str], list[int]] = {}
    for (second, application, step), count in sorted(counts.items()):
        if second < seconds:
            lined.setdefault((application, step), [0] * seconds)[second] = count
    return {name: tuple(each) for name, each in lined.items()}


def _estimated(ticks: Iterable[Tick], end_s: int) -> int:
    """Estimate how many were answered as expected before a second began."""
    came = 0.0
    for tick in ticks:
        if tick.outcome == "ok" and tick.second < end_s:
            low, high, counts = tick.response.buckets()
            left_ns = (end_s - tick.second) * NS - (low + high) / 2
            came += float((np.clip(left_ns / NS, 0.0, 1.0) * counts).sum())
    return round(came)
