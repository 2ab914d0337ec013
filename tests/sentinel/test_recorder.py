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
    recorder.start(0, 9_000 * MS)
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


def test_answers_as_expected_count_in_the_second_they_came_in_until_the_load_is_over() -> None:
    told = Listening()
    recorder = Recorder((("app", "one"), ("app", "two")), MS, listener=told)
    recorder.start(0, 2_500 * MS)
    ok, error, other = 0, 3, 4
    for code, intended, done in (
        (ok, 100, 101), (ok, 100, 1_100), (other, 900, 2_499), (error, 900, 2_400), (ok, 2_400, 2_500),
    ):  # fmt: skip
        recorder.rows.extend((code, intended * MS, intended * MS, done * MS))
    recorder.take()
    recorder.beat(2, 0.1, 1.0, 1.0, {}, 0)
    totals = recorder.finish(np.array([], np.int64))
    assert totals.served == {(0, "app", "one"): 1, (1, "app", "one"): 1, (2, "app", "two"): 1}
    assert told.reports[0].served == totals.served
