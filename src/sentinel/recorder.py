"""What happened, kept as it happens: rows on the loop, histograms on a thread of their own.

The engine appends a few numbers per request and hands over small integer blocks; everything that takes longer
than microseconds (sorting, bucketing, telling listeners) happens on the recorder's thread, away from the
engine's loop.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sentinel.histogram import Histogram
from sentinel.machine import CpuMeter
from sentinel.run import OUTCOMES, Tick
from sentinel.target_processes import TargetMeter, TargetUse

NS = 1_000_000_000
ROWS = 256  # turned into a block at a time: about 20 µs of the loop's time
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Hold every single request of a run, for audits: one entry per request in each column, in order of
    answers.

    intended, sent, done: nanoseconds of the monotonic clock. series: index into `names`. outcome: index into
    OUTCOMES. status: 0 for no answer. user: number of the virtual user. retry_after: nanoseconds, -1 for
    none. captured: the header asked for, per request, when one was.
    """

    intended: Ints
    sent: Ints
    done: Ints
    series: Ints
    outcome: Ints
    status: Ints
    user: Ints
    retry_after: Ints
    names: tuple[tuple[str, str], ...]
    captured: tuple[str | None, ...] = ()

    def __len__(self) -> int:
        return len(self.sent)


@dataclass(frozen=True, slots=True)
class SecondReport:
    """Tell a listener what one second of the run brought.

    ticks and lag are what was *added*: rows for earlier seconds may follow in later reports, and all of them
    merge. planned, sent, done: totals so far, per second, of the requests that were answered. users,
    in_flight: means of the second. counters: totals so far. under_way: sent and not answered at its end.
    served: added as well: (second, application, step) → answers as expected that came in it.
    """

    second: int
    ticks: tuple[Tick, ...]
    lag: Mapping[int, Histogram]
    planned: tuple[int, ...]
    sent: tuple[int, ...]
    done: tuple[int, ...]
    generator_cpu: float
    others_cpu: float
    users: float
    in_flight: float
    counters: Mapping[str, int]
    under_way: int = 0
    served: Mapping[tuple[int, str, str], int] = field(default_factory=dict)


class Listener(Protocol):
    """Hear of every second of a run, on the recorder's thread; slowness delays nothing but reports."""

    def second(self, report: SecondReport) -> None:
        """Take note of one second."""


@dataclass(slots=True)
class _Beat:
    """Carry what the loop knows about a second that just ended."""

    second: int
    blocks: list[Ints]
    generator_cpu: float
    users: float
    in_flight: float
    counters: dict[str, int]
    under_way: int


@dataclass(slots=True)
class Totals:
    """Hold what all seconds add up to.

    beats: second → generator CPU, others' CPU, sessions, requests in flight. target: second → what the
    target's own processes used, if they are known. unsent: planned, but never sent. served: (second,
    application, step) → answered as expected in it.
    """

    ticks: dict[tuple[int, int], tuple[Histogram, Histogram]] = field(default_factory=dict)
    lag: dict[int, Histogram] = field(default_factory=dict)
    planned: dict[int, int] = field(default_factory=dict)
    sent: dict[int, int] = field(default_factory=dict)
    done: dict[int, int] = field(default_factory=dict)
    beats: dict[int, tuple[float, float, float, float]] = field(default_factory=dict)
    target: dict[int, TargetUse] = field(default_factory=dict)
    served: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    unsent: int = 0


class Recorder:
    """Collect rows and fold them into per-second histograms of every series.

    series: (application, step) of every code. on_time_ns: how late after its second's end a request still
    counts as sent in it. columns: keep every row.

    rows: where the engine puts the numbers of every answer, one after another: code, intended, sent, done;
    with columns also status, user, retry-after. block: how many of them make it time for `take`.
    """

    def __init__(
        self,
        series: tuple[tuple[str, str], ...],
        on_time_ns: int,
        *,
        columns: bool = False,
        listener: Listener | None = None,
    ) -> None:
        self.series = series
        self.rows: list[int] = []
        self._width = 7 if columns else 4
        self.block = ROWS * self._width
        self.totals = Totals()
        self.start_ns = 0
        self._end_ns = 0
        self._on_time_ns = on_time_ns
        self._kept: list[Ints] | None = [] if columns else None
        self._listener = listener
        self._apart: list[list[int]] = []
        self._blocks: list[Ints] = []
        self._queue: SimpleQueue[_Beat | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="sentinel-recorder", daemon=True)
        self._problem: BaseException | None = None
        self._target: TargetMeter | None = None

    def watch(self, target: TargetMeter | None) -> None:
        """Measure the target's own processes as well, from the start on."""
        self._target = target

    def start(self, start_ns: int, end_ns: int) -> None:
        """Begin: seconds are counted from this instant, and what is served up to the end of the load.

        Both are nanoseconds of the monotonic clock.
        """
        self.start_ns, self._end_ns = start_ns, end_ns
        self._thread.start()

    def mark(self) -> None:
        """Set apart the rows collected so far: a `beat` hands over no later ones."""
        self._apart.append(self.rows.copy())
        self.rows.clear()

    def take(self) -> None:
        """Turn the rows collected so far into a block of integers."""
        self.mark()
        self._turn()

    def _turn(self) -> None:
        for rows in filter(None, self._apart):
            block = np.fromiter(rows, np.int64, len(rows)).reshape(-1, self._width)
            self._blocks.append(block)
            if self._kept is not None:
                self._kept.append(block)
        self._apart.clear()

    def beat(
        self,
        second: int,
        generator_cpu: float,
        users: float,
        in_flight: float,
        counters: dict[str, int],
        under_way: int,
    ) -> None:
        """Hand a second that ended over to the thread, with the rows until the last `mark`."""
        self._turn()
        blocks, self._blocks = self._blocks, []
        self._queue.put(_Beat(second, blocks, generator_cpu, users, in_flight, counters, under_way))

    def finish(self, unsent: Ints) -> Totals:
        """Wait for the thread and give the totals, in which `unsent` instants count as planned.

        Raises what a listener raised, if one did.
        """
        if self._thread.ident is not None:
            self._queue.put(None)
            self._thread.join()
        if self._problem is not None:
            raise self._problem
        _count(self.totals.planned, (unsent - self.start_ns) // NS)
        self.totals.unsent = len(unsent)
        return self.totals

    def columns(self, captured: list[str | None] | None = None) -> Columns | None:
        """Give every row as columns, when they were kept."""
        if self._kept is None:
            return None
        rows = np.concatenate(self._kept) if self._kept else np.empty((0, 7), np.int64)
        code, intended, sent, done, status, user, retry_after = rows.T
        return Columns(
            intended,
            sent,
            done,
            code // len(OUTCOMES),
            code % len(OUTCOMES),
            status,
            user,
            retry_after,
            self.series,
            tuple(captured or ()),
        )

    # ---- on the thread

    def _work(self) -> None:
        meter = CpuMeter()
        if self._target is not None:
            self._target.use()  # from now on
        while (beat := self._queue.get()) is not None:
            if self._problem is None:
                try:
                    self._fold(beat, meter.others())
                except BaseException as problem:  # reported by finish(); the run itself goes on
                    self._problem = problem

    def _fold(self, beat: _Beat, others_cpu: float) -> None:
        added: dict[tuple[int, int], tuple[Histogram, Histogram]] = {}
        lag: dict[int, Histogram] = {}
        served: dict[tuple[int, str, str], int] = {}
        if beat.blocks:
            rows = np.concatenate(beat.blocks)
            code, intended, sent, done = rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3]
            second = (intended - self.start_ns) // NS
            on_time = sent <= (second + 1) * NS + self.start_ns + self._on_time_ns
            _count(self.totals.planned, second)
            _count(self.totals.sent, second[on_time])
            _count(self.totals.done, (done - self.start_ns) // NS)
            served = self._served(code, done)
            added = _histograms(second, code, done - intended, done - sent)
            lag = {at: pair[0] for (at, _), pair in _histograms(second, code * 0, sent - intended).items()}
        self.totals.served.update(served)
        _merge_pairs(self.totals.ticks, added)
        for at, histogram in lag.items():
            self.totals.lag.setdefault(at, Histogram()).merge(histogram)
        measured = (beat.generator_cpu, others_cpu, beat.users, beat.in_flight)
        if self._target is not None and beat.second not in self.totals.beats:
            self.totals.target[beat.second] = self._target.use()
        self.totals.beats.setdefault(beat.second, measured)  # the last beat only brings late rows
        if self._listener is not None:
            self._listener.second(self._report(beat, added, lag, others_cpu, served))

    def _served(self, code: Ints, done: Ints) -> dict[tuple[int, str, str], int]:
        """Count the answers as expected by the second in which they came, until the load is over."""
        in_time = (code % len(OUTCOMES) == 0) & (done < self._end_ns)
        series, second = code[in_time] // len(OUTCOMES), (done[in_time] - self.start_ns) // NS
        keys, counts = np.unique(second * len(self.series) + series, return_counts=True)
        return {
            (key // len(self.series), *self.series[key % len(self.series)]): count
            for key, count in zip(keys.tolist(), counts.tolist(), strict=True)
        }

    def _report(
        self,
        beat: _Beat,
        added: dict[tuple[int, int], tuple[Histogram, Histogram]],
        lag: dict[int, Histogram],
        others_cpu: float,
        served: dict[tuple[int, str, str], int],
    ) -> SecondReport:
        seconds = max(beat.second + 1, *(max(part, default=0) + 1 for part in self._per_second()))
        planned, sent, done = (tuple(part.get(at, 0) for at in range(seconds)) for part in self._per_second())
        return SecondReport(
            beat.second,
            tuple(self.tick(at, code, *pair) for (at, code), pair in sorted(added.items())),
            lag,
            planned,
            sent,
            done,
            beat.generator_cpu,
            others_cpu,
            beat.users,
            beat.in_flight,
            beat.counters,
            beat.under_way,
            served,
        )

    def _per_second(self) -> tuple[dict[int, int], dict[int, int], dict[int, int]]:
        return self.totals.planned, self.totals.sent, self.totals.done

    def tick(self, second: int, code: int, response: Histogram, service: Histogram) -> Tick:
        """Build the tick of one second and code."""
        application, step = self.series[code // len(OUTCOMES)]
        return Tick(second, application, step, OUTCOMES[code % len(OUTCOMES)], response, service)


def _count(totals: dict[int, int], seconds: Ints) -> None:
    if seconds.size:
        first = int(seconds.min())
        for second, count in enumerate(np.bincount(seconds - first).tolist(), first):
            if count:
                totals[second] = totals.get(second, 0) + count


def _histograms(
    second: Ints, code: Ints, first: Ints, other: Ints | None = None
) -> dict[tuple[int, int], tuple[Histogram, Histogram]]:
    """Split samples by second and code, and count each part in a histogram (or two)."""
    base, codes = int(second.min()), int(code.max()) + 1
    keys = ((second - base) * codes + code).astype(np.int32)
    order = np.argsort(keys, kind="stable")
    made = {}
    for part in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
        pair = (Histogram(first[part]), Histogram(() if other is None else other[part]))
        at, series = divmod(int(keys[part[0]]), codes)
        made[base + at, series] = pair
    return made


def _merge_pairs(
    totals: dict[tuple[int, int], tuple[Histogram, Histogram]],
    added: dict[tuple[int, int], tuple[Histogram, Histogram]],
) -> None:
    for key, (response, service) in added.items():
        known = totals.get(key)
        if known is None:
            totals[key] = (response.copy(), service.copy())
        else:
            known[0].merge(response)
            known[1].merge(service)
