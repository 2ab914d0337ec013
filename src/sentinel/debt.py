"""The proof of a wrong refusal for one key: whenever it was decided, the promise still had room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sentinel.findings import SHOWN, Accusation, Finding
from sentinel.observations import ADMITTED, REFUSED, IntArray, Observations, earlier, in_order
from sentinel.promise import Bucket, ClockTrust, Window
from sentinel.scale import PPM, Scale


@dataclass(frozen=True, slots=True)
class _Consumed:
    """What may have been consumed of one key: sorted instants of sending, and of certain answers."""

    sent: IntArray
    done: IntArray

    @classmethod
    def of(cls, rows: Observations, base: int) -> _Consumed:
        possible, certain = rows.outcome != REFUSED, rows.outcome == ADMITTED
        return cls(
            in_order(rows.sent_ns[possible] - base),
            in_order(rows.done_ns[certain] - base),
        )

    def sent_by(self, instants: IntArray) -> IntArray:
        return np.searchsorted(self.sent, instants, "right").astype(np.int64)


def bucket_debt(
    name: str, rows: Observations, refused: Observations, promise: Bucket, clock: ClockTrust, fresh: bool
) -> Finding:
    """Bound the tokens from below wherever the refusal may have been decided; one whole token convicts."""
    base = int(rows.sent_ns.min())
    scale = Scale.of(promise, -clock.drift_ppm, len(rows), int(rows.done_ns.max()) - base)
    consumed = _Consumed.of(rows, base)
    done = consumed.done
    before = scale.array(earlier(done)) * scale.token - scale.array(done) * scale.tick
    floor = np.minimum.accumulate(np.concatenate([scale.array(np.zeros(1, np.int64)), before]))

    def spent(at: IntArray) -> IntArray:
        """At most this many units are missing from the bucket once all requests sent by `at` are decided."""
        late = np.maximum(at - clock.grain_ns, 0)  # a clock read in ticks has seen at least this much go by
        flow = scale.array(late) * scale.tick
        answered = scale.array(np.searchsorted(done, late, "left")) * scale.token
        settled = np.minimum(flow + floor[np.searchsorted(done, late, "right")], answered)
        if not fresh:
            settled = np.minimum(settled, flow - promise.burst * scale.token)
        return np.asarray(scale.array(consumed.sent_by(at)) * scale.token - settled)

    low = promise.burst * scale.token - _greatest(consumed.sent, refused, base, spent)
    guilty = low >= scale.token
    blind = 1 - int(low.max()) / scale.token
    return _convict(
        name, refused, guilty, blind, lambda row: f"{int(low[row]) / scale.token:.2f} tokens were left"
    )


def window_debt(
    name: str, rows: Observations, refused: Observations, promise: Window, clock: ClockTrust, fresh: bool
) -> Finding:
    """Bound the admissions that may still count from above at every instant; less than the limit convicts."""
    base = int(rows.sent_ns.min())
    consumed = _Consumed.of(rows, base)
    held = -(-(promise.held_us * 1_000 + clock.grain_ns) * PPM // (PPM - clock.drift_ppm))

    def counting(at: IntArray) -> IntArray:
        expired = np.searchsorted(consumed.done, at - held, "right").astype(np.int64)
        return consumed.sent_by(at) - expired

    most = _greatest(consumed.sent, refused, base, counting)
    guilty = most < promise.limit
    if not fresh:
        guilty &= refused.sent_ns - base >= held
    blind = float(int(most.min()) - promise.limit + 1)
    return _convict(
        name,
        refused,
        guilty,
        blind,
        lambda row: f"only {int(most[row])} of {promise.limit} admissions can have counted",
    )


def _greatest(
    sent: IntArray, refused: Observations, base: int, value: Callable[[IntArray], IntArray]
) -> IntArray:
    """Return, per refusal, the greatest value at any instant between its sending and its answer.

    The value only grows where a request was sent, so those instants and the refusal's own sending are
    enough. Maxima over ranges come from a table of maxima over powers of two.
    """
    begin, end = refused.sent_ns - base, refused.done_ns - base
    low, high = np.searchsorted(sent, begin, "right"), np.searchsorted(sent, end, "right")
    most = value(begin)
    width = high - low
    level, size = value(sent) if len(sent) else most[:0], 1
    while True:
        rows = np.flatnonzero((width >= size) & (width < 2 * size))
        if len(rows):
            across = np.maximum(level[low[rows]], level[high[rows] - size])
            most[rows] = np.maximum(most[rows], across)
        if 2 * size > int(width.max(initial=0)):
            return most
        level = np.maximum(level[:-size], level[size:])
        size *= 2


def _convict(
    name: str,
    refused: Observations,
    guilty: npt.NDArray[np.bool_],
    blind: float,
    why: Callable[[int], str],
) -> Finding:
    rows = np.flatnonzero(guilty)
    accusations = tuple(
        Accusation(
            "wrong-refusal",
            name,
            int(refused.sent_ns[row]),
            int(refused.done_ns[row]),
            1,
            f"refused although {why(int(row))}",
        )
        for row in rows[:SHOWN]
    )
    return Finding("wrong-refusal", len(refused), len(rows), max(blind, 0.0), accusations)
