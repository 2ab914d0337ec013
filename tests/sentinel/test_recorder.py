"""The recorder: what a second's report holds, and what it leaves for the next."""

from __future__ import annotations

import numpy as np

from sentinel.recorder import Recorder, SecondReport

MS = 1_000_000


class Listening:
    """Keep what is told."""

    def __init__(self) -> None:
        self.reports: list[SecondReport] = []

    def second(self, report: SecondReport) -> None:
        self.reports.append(report)


def row(at_ms: int) -> list[int]:
    """A request that left when it was due, and was answered a millisecond later."""
    return [0, at_ms * MS, at_ms * MS, (at_ms + 1) * MS]


def test_a_report_holds_no_answers_from_after_its_second_was_measured() -> None:
    told = Listening()
    recorder = Recorder((("app", "step"),), MS, listener=told)
    recorder.start(0)
    for second, later in ((0, 3), (1, 2)):
        recorder.rows.extend(row(1000 * second + 100) + row(1000 * second + 200))
        recorder.mark()
        recorder.rows.extend(row(1000 * second + 950) * later)
        recorder.beat(second, 0.1, 1.0, 1.0, {}, 0)
    recorder.take()
    recorder.beat(1, 0.1, 1.0, 1.0, {}, 0)
    totals = recorder.finish(np.array([], np.int64))
    assert [sum(tick.count for tick in report.ticks) for report in told.reports] == [2, 5, 2]
    assert sum(totals.planned.values()) == 9
