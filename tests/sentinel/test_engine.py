"""The engine against drivers in this process: what is sent, when, by whom, and what the record says of it."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import time
from collections import Counter
from datetime import datetime
from itertools import pairwise

import pytest

from sentinel.application import Extract, Step
from sentinel.drivers.driver import Done, Request
from sentinel.engine import Engine
from sentinel.errors import ConfigurationError
from sentinel.histogram import Histogram
from sentinel.judgement import judge_run
from sentinel.notes import notes
from sentinel.options import Options, Run
from sentinel.pacer import Poisson, Segment
from sentinel.recorder import SecondReport
from sentinel.run import OUTCOMES, RunRecord
from sentinel.runner import run
from sentinel.scenario import Population
from sentinel.shapes import Sustained
from sentinel.sources import Number

from .recording import Recording, app, counts, scenario


def test_every_planned_session_is_sent_and_recorded_in_its_second() -> None:
    driver = Recording()
    record = run(scenario(sessions=48, lasting_s=1.2), driver).record
    assert len(driver.requests) == 48
    assert record.planned == (40, 8)
    assert record.done == (40, 8)
    assert sum(record.lag[second].count for second in range(2)) == 48
    assert counts(record) == {"ok": 48}
    assert (record.status, record.model, driver.closed) == ("complete", "open", True)
    assert len(record.generator_cpu) == len(record.others_cpu) == len(record.users) == record.seconds
    assert RunRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_columns_hold_the_three_instants_of_every_request_in_their_order() -> None:
    result = run(scenario(sessions=20), Recording(delay_s=0.01), Options(columns=True, capture="Retry-After"))
    columns = result.columns
    assert columns is not None and len(columns) == 20
    assert bool((columns.intended <= columns.sent).all()) and bool((columns.sent <= columns.done).all())
    assert (columns.done - columns.sent).min() >= 9_000_000
    assert set(columns.status.tolist()) == {200}
    assert columns.captured == ("3",) * 20
    instants = sorted(columns.intended.tolist())
    assert {later - earlier for earlier, later in pairwise(instants)} == {5_000_000}


def test_columns_tell_refusals_their_user_and_what_was_announced() -> None:
    result = run(
        scenario(users=Population(count=2), sessions=10),
        Recording(lambda request: (429, "")),
        Options(columns=True),
    )
    assert result.columns is not None
    assert {OUTCOMES[code] for code in result.columns.outcome.tolist()} == {"denied"}
    assert Counter(result.columns.user.tolist()) == {0: 5, 1: 5}
    assert set(result.columns.retry_after.tolist()) == {3_000_000_000}


def test_requests_beyond_the_bound_wait_and_the_record_says_so() -> None:
    driver = Recording(delay_s=0.05)
    record = run(scenario(sessions=150, lasting_s=1, max_in_flight=5), driver).record
    assert driver.most_in_flight == 5
    assert counts(record) == {"ok": 150}
    assert record.counters["held_back"] > 50
    assert any("late" in reason for reason in record.void_reasons)
    assert any("sent in time" in reason for reason in record.void_reasons)


def test_what_never_left_counts_as_planned_but_not_sent() -> None:
    driver = Recording(delay_s=0.6)
    record = run(scenario(sessions=100, max_in_flight=5), driver, Options(drain_s=0.1)).record
    assert sum(record.planned) == 100
    assert record.counters["unsent"] > 80
    assert record.void


def busy(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class Slow(Recording):
    """Take a millisecond to send anything."""

    def send(self, request: Request, done: Done) -> None:
        busy(0.001)
        super().send(request, done)


@pytest.mark.parametrize(
    ("driver", "bound"),
    [(Slow(delay_s=0.001), 20_000), (Recording(delay_s=0.2), 64)],
    ids=["a generator that is too slow", "too many without an answer"],
)
def test_what_is_behind_a_second_after_the_end_is_given_up_and_said(driver: Recording, bound: int) -> None:
    """Either has ten seconds' work left when the load ends; nothing but the rule stops it."""
    plan = scenario(app(Step("a", "/a"), Step("b", "/b")), sessions=5000, lasting_s=0.2, max_in_flight=bound)
    begun = time.monotonic()
    record = run(plan, driver).record
    assert 1.2 <= time.monotonic() - begun < 4
    unsent = record.counters["unsent"]
    assert unsent > 2500
    assert sum(record.planned) == sum(record.counts().values()) + unsent
    assert any("sent in time" in reason for reason in record.void_reasons)
    assert f"{unsent:,} of {sum(record.planned):,} planned requests were never sent" in notes(record, ())


def test_a_blocked_generator_makes_the_run_void() -> None:
    def blocking(request: Request) -> tuple[int, object]:
        busy(0.02)
        return 200, ""

    record = run(scenario(sessions=35, lasting_s=0.5), Recording(blocking), Options(drain_s=1)).record
    assert any(re.search(r"late \(.*1 ms allowed\)", reason) for reason in record.void_reasons)


def test_stopping_early_gives_a_partial_record_of_what_was_done() -> None:
    driver = Recording(delay_s=0.02)

    async def main() -> Run:
        engine = Engine(scenario(sessions=3000, lasting_s=30), driver)
        task = asyncio.ensure_future(engine.run())
        while len(driver.requests) < 20:
            await asyncio.sleep(0.01)
        engine.stop()
        engine.stop()
        return await task

    record = asyncio.run(main()).record
    assert record.status == "partial"
    assert record.seconds <= 2
    assert sum(record.counts().values()) == len(driver.requests) == sum(record.planned)
    assert driver.closed


class StoppedWhileOpening(Recording):
    engine: Engine

    async def open(self) -> None:
        self.engine.stop()


@pytest.mark.parametrize("model", ["open", "closed"])
@pytest.mark.parametrize("ahead_s", [None, 60.0], ids=["while it connects", "before its instant"])
def test_a_run_that_is_stopped_before_it_begins_has_no_seconds(model: str, ahead_s: float | None) -> None:
    driver = Recording() if ahead_s else StoppedWhileOpening()
    start_at = None if ahead_s is None else time.time() + ahead_s
    heard: list[SecondReport] = []

    class Listening:
        def second(self, report: SecondReport) -> None:
            heard.append(report)

    async def main() -> Run:
        plan = scenario(load=Sustained(rate=100, duration_s=20), model=model)
        engine = Engine(plan, driver, Options(start_at=start_at), Listening())
        driver.engine = engine  # type: ignore[attr-defined]
        task = asyncio.ensure_future(engine.run())
        await asyncio.sleep(0)
        if ahead_s:
            while not engine._agenda.end_ns:  # until its load is laid out
                await asyncio.sleep(0.001)
            engine.stop()
        return await task

    record = asyncio.run(main()).record
    assert (record.status, record.seconds, driver.requests, heard) == ("partial", 0, [], [])
    assert record.void_reasons == ("not a single request was sent",)
    assert record.counters["unsent"] == 0 and record.counters["cut_sessions"] == 0
    said = judge_run(record).sentence
    assert said.endswith("not a single request was sent; the run was stopped after 0 of 20 s")


def test_the_closed_model_waits_for_answers_and_says_what_it_is() -> None:
    driver = Recording(delay_s=0.05)
    record = run(
        scenario(load=Sustained(rate=5, duration_s=1), model="closed", unit="users", pace_s=0.05), driver
    ).record
    assert record.model == "closed"
    assert record.counters["cut_sessions"] == 0, "users who only pause between two sessions"
    assert driver.most_in_flight <= 5
    assert 5 * 6 <= sum(record.counts().values()) <= 5 * 11
    assert record.status == "complete"


def test_two_segments_merged_give_the_same_counts_as_one_run() -> None:
    plan = scenario(
        app(Step("get", "/one/{n}"), name="one"),
        app(Step("get", "/two"), Step("more", "/more", probability=0.5), name="two"),
        sessions=300,
        mix={"one": 2, "two": 1},
        variables={"n": Number(1, 50)},
        spacing=Poisson(),
        users=Population(7),
    )

    def seen(*segments: Segment) -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        for segment in segments:
            driver = Recording()
            run(plan, driver, Options(segment=segment))
            found.update((request.target, request.key) for _, request in driver.requests)
        return found

    assert seen(Segment(0, 2), Segment(1, 2)) == seen(Segment())


def test_processes_can_start_together_and_late_ones_are_told() -> None:
    start = time.time() + 0.3
    record = run(scenario(sessions=5), Recording(), Options(start_at=start)).record
    assert abs(datetime.fromisoformat(record.started_at).timestamp() - start) < 0.05
    with pytest.raises(ConfigurationError, match=r"start_at is .* s ago; choose a later instant"):
        run(scenario(), Recording(), Options(start_at=time.time() - 1))
    for never in (float("inf"), float("nan"), time.time() + 90_000):
        with pytest.raises(ConfigurationError, match="it is a Unix time at most a day ahead"):
            run(scenario(), Recording(), Options(start_at=never))


def test_a_run_can_start_on_a_boundary_of_the_wall_clock() -> None:
    result = run(scenario(sessions=5), Recording(), Options(align_s=0.5))
    seconds = datetime.fromisoformat(result.record.started_at).timestamp()
    assert min(seconds % 0.5, 0.5 - seconds % 0.5) < 0.01


def test_a_listener_hears_of_every_second_and_its_parts_add_up_to_the_record() -> None:
    reports: list[SecondReport] = []

    class Hearing:
        def second(self, report: SecondReport) -> None:
            reports.append(report)

    record = run(scenario(sessions=100, lasting_s=2), Recording(delay_s=0.03), listener=Hearing()).record
    assert {report.second for report in reports} >= {0, 1}
    merged = Histogram.merged(tick.response for report in reports for tick in report.ticks)
    assert merged == record.response()
    assert reports[-1].planned == record.planned


def test_a_listener_that_raises_is_heard_of_after_the_run() -> None:
    class Broken:
        def second(self, report: SecondReport) -> None:
            raise OSError("disk full")

    driver = Recording()
    with pytest.raises(OSError, match="disk full"):
        run(scenario(sessions=50), driver, listener=Broken())
    assert len(driver.requests) == 50
    assert driver.closed


def test_the_garbage_collector_is_as_it_was_after_a_run() -> None:
    frozen = gc.get_freeze_count()
    run(scenario(sessions=5), Recording())
    assert gc.isenabled()
    assert gc.get_freeze_count() == frozen


def test_sessions_leave_no_garbage_cycles_behind() -> None:
    flow = app(
        Step("a", "/a", extract=(Extract("v", json="v"),)),
        Step("b", "/b/{v}", mode="parallel"),
        Step("c", "/c", mode="parallel"),
        Step("d", "/d", mode="background"),
    )
    plan = scenario(flow, sessions=2000, lasting_s=0.5, users=Population(20))
    run(plan, Recording(lambda request: (200, '{"v": 1}')))
    gc.collect()
    before = len(gc.get_objects())
    driver = Recording(lambda request: (200, '{"v": 1}'))
    gc.disable()
    try:
        run(plan, driver)
        sent = len(driver.requests)
        driver.requests.clear()
        left = gc.collect()
    finally:
        gc.enable()
    assert sent == 8000
    assert left < 2000, f"{left} objects were only reachable through cycles"
    del driver
    assert len(gc.get_objects()) - before < 5000


class Failing(Recording):
    """A driver with a bug: it raises instead of answering, after a few requests."""

    def send(self, request: Request, done: Done) -> None:
        if len(self.requests) == 5:
            raise RuntimeError("a bug in the driver")
        super().send(request, done)


def test_a_driver_that_raises_ends_the_run_with_its_error() -> None:
    driver = Failing()
    with pytest.raises(RuntimeError, match="a bug in the driver"):
        run(scenario(sessions=100, lasting_s=4), driver)
    assert len(driver.requests) == 5
    assert driver.closed


def test_an_answer_that_cannot_be_judged_ends_the_run_with_its_error() -> None:
    broken = Recording(lambda request: (None, ""))  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError):
        run(scenario(sessions=100, lasting_s=20), broken)
    assert broken.closed
