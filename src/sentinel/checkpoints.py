"""Save a run while it goes on, so that a killed one is still readable, with the process that makes it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from sentinel.errors import check_range
from sentinel.histogram import Histogram
from sentinel.process_mark import ProcessMark
from sentinel.recorder import SecondReport
from sentinel.run import RunRecord, Tick
from sentinel.served import served_per_second
from sentinel.store import CHECKPOINT_EVERY_S, RunStore

_Key = tuple[int, str, str, str]


class Checkpoints:
    """Listen to a run and hand its state to the history every so many seconds (1 to 3,600).

    `blank` is the run's record without any figures: its id, which must be the one the run is given, its
    scenario, host and start. The finished record replaces the last checkpoint when it is saved under the
    same id.
    """

    def __init__(self, store: RunStore, blank: RunRecord, *, every_s: float = CHECKPOINT_EVERY_S) -> None:
        check_range("every_s", every_s, 1, 3_600, "s")
        self._store = store
        self._record = replace(blank, status="partial")
        self._every_s = every_s
        self._mark = ProcessMark.own()
        self._saved_at = 0
        self._ticks: dict[_Key, Tick] = {}
        self._lag: dict[int, Histogram] = {}
        self._beats: dict[int, tuple[float, float, float, float]] = {}
        self._served: Counter[tuple[int, str, str]] = Counter()

    def second(self, report: SecondReport) -> None:
        """Take note of one second, and save when it is time."""
        for tick in report.ticks:
            key = (tick.second, tick.application, tick.step, tick.outcome)
            known = self._ticks.get(key)
            self._ticks[key] = tick if known is None else _sum(known, tick)
        for second, lag in report.lag.items():
            known_lag = self._lag.get(second)
            self._lag[second] = lag.copy() if known_lag is None else Histogram.merged((known_lag, lag))
        self._served.update(report.served)
        self._beats[report.second] = (report.generator_cpu, report.others_cpu, report.users, report.in_flight)
        if report.second + 1 - self._saved_at >= self._every_s:
            self._saved_at = report.second + 1
            self._store.save(self._state(report))

    def _state(self, report: SecondReport) -> RunRecord:
        """Put together what is known up to the reported second; later ones are not over yet."""
        seconds = report.second + 1
        beats = [self._beats.get(second, (0.0, 0.0, 0.0, 0.0)) for second in range(seconds)]
        planned, sent, done = (
            (*part[:seconds], *[0] * (seconds - len(part)))
            for part in (report.planned, report.sent, report.done)
        )
        return replace(
            self._record,
            planned=planned,
            sent=sent,
            done=done,
            lag=tuple(self._lag.get(second) or Histogram() for second in range(seconds)),
            generator_cpu=tuple(beat[0] for beat in beats),
            others_cpu=tuple(beat[1] for beat in beats),
            users=tuple(beat[2] for beat in beats),
            in_flight=tuple(beat[3] for beat in beats),
            ticks=tuple(tick for key, tick in sorted(self._ticks.items()) if key[0] < seconds),
            present=self._record.present[:seconds],
            served=served_per_second(self._served, seconds),
            counters={
                **report.counters,
                "checkpoint": 1,
                "pid": self._mark.pid,
                "pid_started": self._mark.started,
            },
        )


def _sum(one: Tick, other: Tick) -> Tick:
    return replace(
        one,
        response=Histogram.merged((one.response, other.response)),
        service=Histogram.merged((one.service, other.service)),
    )
