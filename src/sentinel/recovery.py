"""How soon after its peak a target is as quick as before, asked only of one that the peak slowed down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sentinel.figures import by_second, latency, ms
from sentinel.knee import FELT_MS, RISE
from sentinel.neighbours import named, quiet
from sentinel.run import RunRecord, Tick

_WINDOW_S = 3


@dataclass(frozen=True, slots=True)
class Recovery:
    """State how long after the peak latency was back to what it was before; `seconds` is None if it never
    was."""

    seconds: float | None
    reference_ms: float
    statement: str


def recovery(record: RunRecord) -> Recovery | None:
    """Compare the seconds after the peak with those before it that carried no more load than the end.

    Seconds in which others used more of the machine than before the peak are left out. None if there is no
    peak, or nothing to compare it with.
    """
    planned = record.planned
    if len(planned) < 4 * _WINDOW_S or max(planned) <= 0:
        return None
    peak = [s for s, rate in enumerate(planned) if rate >= 0.9 * max(planned)]
    begun, over = peak[0], peak[-1] + 1
    after = [s for s in range(over, len(planned)) if planned[s] > 0]
    if len(after) < _WINDOW_S or begun < _WINDOW_S:
        return None
    settled = sorted(planned[s] for s in after)[len(after) // 2]
    calm = [s for s in range(begun) if 0 < planned[s] <= max(1.1 * settled, 0.5 * max(planned))]
    ticks = by_second(record)
    before = latency(t for s in calm for t in ticks[s]).percentile(95) if calm else None
    calm_peak = quiet(record, peak, calm)
    peaked = _p95(ticks, calm_peak)
    still = quiet(record, after, calm)
    if before is None or peaked is None or len(still) < _WINDOW_S:
        return None
    bound = max(RISE * before, before + FELT_MS * 1e6)
    if peaked <= bound:
        told = "it"
        if len(calm_peak) < len(peak):
            few = f"those {len(calm_peak)} of its {len(peak)} s"
            told = f"{few} in which {named(record)} took no more than before"
        words = f"p95 {ms(peaked / 1e6)} ms in {told}, {ms(before / 1e6)} ms before it"
        return Recovery(0.0, before / 1e6, f"the peak slowed nothing down ({words})")
    return _timed(ticks, still, over, before, bound, left_out=len(still) < len(after))


def _timed(
    ticks: Sequence[tuple[Tick, ...]],
    still: Sequence[int],
    over: int,
    before: float,
    bound: float,
    *,
    left_out: bool,
) -> Recovery:
    """Find the first second from which on no window is slow."""
    windows = [still[place : place + _WINDOW_S] for place in range(len(still) - _WINDOW_S + 1)]
    slow = [place for place, window in enumerate(windows) if (_p95(ticks, window) or 0.0) > bound]
    if slow and slow[-1] == len(windows) - 1:
        words = f"not recovered within {still[-1] + 1 - over} s after the peak"
        return Recovery(None, before / 1e6, f"{words}: p95 still above {ms(bound / 1e6)} ms")
    place = slow[-1] + 1 if slow else 0
    back = still[place]
    since = still[place - 1] if place else over - 1
    words = "at the latest " if left_out and back - since > 1 else ""
    return Recovery(
        float(back - over),
        before / 1e6,
        f"recovered {words}{back - over} s after the peak (p95 {ms(before / 1e6)} ms before it)",
    )


def _p95(ticks: Sequence[tuple[Tick, ...]], seconds: Iterable[int]) -> float | None:
    """Give the p95 in nanoseconds, of however few samples; None of none."""
    times = latency(tick for second in seconds for tick in ticks[second])
    return times.value_at(max(1, round(0.95 * times.count))) if times.count else None
