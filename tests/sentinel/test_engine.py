"""The engine against drivers in this process: what is sent, when, by whom, and what the record says of it."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise

import pytest

from sentinel.application import Application, Expect, Extract, Repeat, Step, Undo
from sentinel.drivers.driver import Done, Request, Response
from sentinel.engine import Engine
from sentinel.errors import ConfigurationError
from sentinel.histogram import Histogram
from sentinel.options import Options, Run
from sentinel.pacer import Poisson, Segment
from sentinel.recorder import SecondReport
from sentinel.run import OUTCOMES, RunRecord
from sentinel.runner import run
from sentinel.scenario import Population, Scenario
from sentinel.script import Line
from sentinel.shapes import Sustained
from sentinel.sources import Hex, Number

Answer = Callable[[Request], tuple[int, object]]


class Recording:
    """Answer in process, after a while if asked to, and remember every request with its instant."""

    def __init__(self, answer: Answer = lambda request: (200, ""), delay_s: float = 0.0) -> None:
        self.counters: dict[str, int] = {}
        self.requests: list[tuple[int, Request]] = []
        self.closed = False
        self.most_in_flight = 0
        self._in_flight = 0
        self._waiting: dict[int, Done] = {}
        self._answer = answer
        self._delay_s = delay_s

    async def open(self) -> None:
        self.closed = False

    def send(self, request: Request, done: Done) -> None:
        self.requests.append((time.monotonic_ns(), request))
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        self._waiting[id(request)] = done
        if self._delay_s:
            asyncio.get_running_loop().call_later(self._delay_s, self._finish, request)
        else:
            self._finish(request)

    def _finish(self, request: Request) -> None:
        done = self._waiting.pop(id(request), None)
        if done is None:
            return
        self._in_flight -= 1
        status, body = self._answer(request)
        encoded = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        done(Response(status, [(b"retry-after", b"3")], encoded, time.monotonic_ns()))

    async def close(self) -> None:
        self.closed = True
        waiting, self._waiting = self._waiting, {}
        for done in waiting.values():
            done(Response(0, [], b"", time.monotonic_ns(), "the run ended"))

    def targets(self) -> list[str]:
        return [request.target for _, request in self.requests]


def app(*steps: Step, name: str = "one", requires: tuple[str, ...] = ()) -> Application:
    return Application(name, steps, requires=requires)


GET = app(Step("get", "/"))


def scenario(
    *applications: Application, sessions: int = 50, lasting_s: float = 0.1, **changes: object
) -> Scenario:
    """Start this many sessions, evenly, within a short time."""
    applications = applications or (GET,)
    given: dict[str, object] = {
        "name": "test",
        "load": Sustained(rate=sessions / lasting_s, duration_s=1).scaled(time=lasting_s),
        "mix": {applications[0].name: 1},
        "applications": applications,
    }
    return Scenario(**(given | changes))  # type: ignore[arg-type]


def counts(record: RunRecord) -> dict[str, int]:
    return {outcome: count for outcome, count in record.counts().items() if count}


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


@pytest.mark.parametrize(
    ("status", "expect", "outcome"),
    [
        (200, Expect(), "ok"),
        (204, Expect(), "ok"),
        (302, Expect(), "error"),
        (302, Expect((302,)), "ok"),
        (429, Expect(), "denied"),
        (429, Expect((200,)), "denied"),
        (429, Expect(refusals="forbidden"), "error"),
        (429, Expect(refusals="required"), "denied"),
        (200, Expect(refusals="required"), "error"),
        (429, Expect((429,)), "ok"),
        (503, Expect(), "shed"),
        (503, Expect((503,)), "ok"),
        (500, Expect(), "error"),
        (404, Expect(), "error"),
        (200, Expect(contains="page"), "ok"),
        (200, Expect(contains="book"), "error"),
    ],
)
def test_an_answer_is_ok_denied_shed_or_an_error(status: int, expect: Expect, outcome: str) -> None:
    line = Line(Step("get", "/", expect=expect), series=0)
    found, problem = line.judge(Response(status, [], b"a page", 0))
    assert OUTCOMES[found] == outcome
    assert bool(problem) == (outcome == "error")


def test_errors_are_kept_as_samples_with_their_counts() -> None:
    record = run(scenario(sessions=20), Recording(lambda request: (500, ""))).record
    assert [(e.step, e.status, e.message, e.count) for e in record.errors] == [
        ("get", 500, "status 500, expected 2xx", 20)
    ]


def test_steps_follow_each_other_and_take_values_along() -> None:
    flow = app(
        Step("login", "/login", "POST", extract=(Extract("token", json="a.0.token"),)),
        Step("use", "/use/{token}?q={word}", headers=(("Authorization", "Bearer {token}"),)),
        Step("write", "/write", "POST", body='{"t": "{token}", "w": "{word}"}'),
    )
    driver = Recording(lambda request: (200, {"a": [{"token": 'x"/y'}]}))
    assert counts(run(scenario(flow, sessions=1, variables={"word": Hex(4)}), driver).record) == {"ok": 3}
    login, use, write = (request for _, request in driver.requests)
    word = json.loads(write.body)["w"]
    assert use.target == f"/use/x%22%2Fy?q={word}"
    assert use.headers.pairs == [(b"authorization", b'Bearer x"/y')]
    assert json.loads(write.body)["t"] == 'x"/y'
    assert login.method == "POST"


@pytest.mark.parametrize(
    ("extract", "value"),
    [
        (Extract("v", header="Retry-After"), "3"),
        (Extract("v", pattern=r"id=(\d+)"), "42"),
        (Extract("v", json="list.1"), "true"),
    ],
)
def test_values_come_from_headers_patterns_and_json(extract: Extract, value: str) -> None:
    body = json.dumps({"list": [0, True], "text": "id=42"})
    driver = Recording(lambda request: (200, body))
    run(scenario(app(Step("a", "/a", extract=(extract,)), Step("b", "/b/{v}")), sessions=1), driver)
    assert driver.targets() == ["/a", f"/b/{value}"]


def test_a_missing_value_is_an_error_and_ends_the_session_unless_it_is_optional() -> None:
    need = app(Step("a", "/a", extract=(Extract("v", json="v"),)), Step("b", "/b"))
    may = app(Step("a", "/a", extract=(Extract("v", json="v", required=False),)), Step("b", "/b"))
    driver = Recording(lambda request: (200, "{}"))
    record = run(scenario(need, sessions=1), driver).record
    assert (counts(record), driver.targets()) == ({"error": 1}, ["/a"])
    assert record.errors[0].message == "the answer has no value for 'v'"
    assert counts(run(scenario(may, sessions=1), driver).record) == {"ok": 2}


def test_a_session_ends_at_its_first_bad_answer() -> None:
    driver = Recording(lambda request: (500 if request.target == "/b" else 200, ""))
    record = run(scenario(app(Step("a", "/a"), Step("b", "/b"), Step("c", "/c")), sessions=2), driver).record
    assert Counter(driver.targets()) == {"/a": 2, "/b": 2}
    assert counts(record) == {"ok": 2, "error": 2}


def test_parallel_steps_go_out_together_and_are_all_waited_for() -> None:
    flow = app(
        Step("page", "/page"),
        Step("left", "/left", mode="parallel"),
        Step("right", "/right", mode="parallel"),
        Step("end", "/end"),
    )
    driver = Recording(delay_s=0.05)
    run(scenario(flow, sessions=1), driver)
    sent = {request.target: at for at, request in driver.requests}
    assert list(sent) == ["/page", "/left", "/right", "/end"]
    assert sent["/right"] - sent["/left"] < 40_000_000
    assert sent["/end"] - sent["/right"] > 40_000_000


def test_background_steps_are_not_waited_for() -> None:
    flow = app(Step("ping", "/ping", mode="background"), Step("page", "/page"))
    driver = Recording(delay_s=0.05)
    record = run(scenario(flow, sessions=1), driver).record
    (ping, _), (page, _) = driver.requests
    assert page - ping < 40_000_000
    assert counts(record) == {"ok": 2}


def test_a_step_is_sent_with_its_probability_and_the_same_ones_again() -> None:
    flow = app(Step("always", "/a"), Step("rarely", "/r", probability=0.2))
    plan = scenario(flow, sessions=1000)
    shares = []
    for _ in range(2):
        driver = Recording()
        run(plan, driver)
        shares.append(Counter(driver.targets()))
    assert shares[0]["/a"] == 1000
    assert 150 < shares[0]["/r"] < 250
    assert shares[0] == shares[1]


def test_a_repeated_step_keeps_its_cadence_within_the_variance() -> None:
    flow = app(Step("save", "/save", repeat=Repeat(times=4, every_s=0.2, variance_s=0.05)))
    result = run(scenario(flow, sessions=1, lasting_s=1), Recording(delay_s=0.01), Options(columns=True))
    assert result.columns is not None
    instants = sorted(result.columns.intended.tolist())
    gaps = [(later - earlier) / 1e9 for earlier, later in pairwise(instants)]
    assert len(gaps) == 3
    assert all(0.15 <= gap <= 0.25 for gap in gaps)
    assert len(set(gaps)) == 3


def test_pauses_that_reach_beyond_the_load_are_cut_there() -> None:
    flow = app(Step("save", "/save", repeat=Repeat(times=100, every_s=0.4)))
    record = run(scenario(flow, sessions=1, lasting_s=1), Recording()).record
    assert counts(record) == {"ok": 3}
    assert record.counters["cut_sessions"] == 1
    assert record.status == "complete"


def test_the_mix_follows_its_weights() -> None:
    plan = scenario(
        app(Step("get", "/one"), name="one"),
        app(Step("get", "/two"), name="two"),
        sessions=1000,
        mix={"one": 75, "two": 25},
    )
    driver = Recording()
    run(plan, driver)
    share = Counter(driver.targets())
    assert share["/one"] + share["/two"] == 1000
    assert 700 < share["/one"] < 800


def test_users_take_turns_over_tenants_and_send_their_own_headers() -> None:
    headers = (("X-Tenant", "{tenant}"), ("X-Who", "{user}"), ("X-From", "{address}"), ("X-Token", "{token}"))
    plan = scenario(sessions=12, users=Population(6, ("a", "b"), headers, token="t-{user}"))
    driver = Recording()
    run(plan, driver)
    sent = Counter(
        tuple(value.decode() for _, value in request.common.pairs) for _, request in driver.requests
    )
    assert sent == {("ab"[n % 2], str(n), f"10.0.0.{n + 1}", f"t-{n}"): 2 for n in range(6)}


def test_a_hot_user_gets_its_share() -> None:
    plan = scenario(sessions=500, users=Population(count=100, hot_share=0.5))
    driver = Recording()
    run(plan, driver)
    assert 200 < Counter(request.key for _, request in driver.requests)["user-0"] < 310


def test_requirements_are_met_once_per_user_and_headers_with_nothing_in_them_are_left_out() -> None:
    login = app(Step("login", "/login", extract=(Extract("token", json="t"),)), name="login")
    use = app(Step("use", "/use"), name="use", requires=("login",))
    plan = scenario(use, login, sessions=9, users=Population(3, headers=(("X-Token", "{token}"),)))
    driver = Recording(lambda request: (200, {"t": f"of-{request.key}"}))
    run(plan, driver)
    assert Counter(driver.targets()) == {"/login": 3, "/use": 9}
    for _, request in driver.requests:
        wanted = [] if request.target == "/login" else [(b"x-token", f"of-{request.key}".encode())]
        assert request.common.pairs == wanted


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


def test_a_blocked_generator_makes_the_run_void() -> None:
    def blocking(request: Request) -> tuple[int, object]:
        end = time.perf_counter() + 0.02
        while time.perf_counter() < end:
            pass
        return 200, ""

    record = run(scenario(sessions=35, lasting_s=0.5), Recording(blocking), Options(drain_s=1)).record
    assert any("late (99th percentile; 1 ms allowed)" in reason for reason in record.void_reasons)


@pytest.mark.parametrize("undo_status", [204, 404, 500])
def test_what_a_run_created_is_removed_again(undo_status: int) -> None:
    numbers = iter(range(1000))
    make = app(
        Step("make", "/things", "POST", extract=(Extract("thing", json="id"),), undo=Undo("/things/{thing}"))
    )

    def answer(request: Request) -> tuple[int, object]:
        return (undo_status, "") if request.method == "DELETE" else (201, {"id": next(numbers)})

    driver = Recording(answer)
    record = run(scenario(make, sessions=10), driver).record
    removed = [request.target for _, request in driver.requests if request.method == "DELETE"]
    assert sorted(removed) == sorted(f"/things/{number}" for number in range(10))
    assert counts(record) == {"ok": 10}
    left = 10 if undo_status == 500 else 0
    assert (record.counters["cleaned"], record.counters["left_behind"]) == (10 - left, left)


def test_what_was_created_is_removed_after_a_failure_too() -> None:
    make = app(
        Step("make", "/things", "POST", extract=(Extract("thing", json="id"),), undo=Undo("/x/{thing}"))
    )
    driver = Recording(lambda request: (200, {"id": 1}))

    async def main() -> None:
        engine = Engine(scenario(make, sessions=50, lasting_s=5), driver)
        task = asyncio.ensure_future(engine.run())
        while len(driver.requests) < 4:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    asyncio.run(main())
    made = sum(request.method == "POST" for _, request in driver.requests)
    assert sum(request.method == "DELETE" for _, request in driver.requests) == made >= 4
    assert driver.closed


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


def test_the_closed_model_waits_for_answers_and_says_what_it_is() -> None:
    driver = Recording(delay_s=0.05)
    record = run(
        scenario(load=Sustained(rate=5, duration_s=1), model="closed", unit="users", pace_s=0.05), driver
    ).record
    assert record.model == "closed"
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
