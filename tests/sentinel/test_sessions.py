"""Sessions against a driver in this process: what a user's steps send, in which order, with which values."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from itertools import pairwise

import pytest

from sentinel.application import Expect, Extract, Repeat, Step, Undo
from sentinel.drivers.driver import Request, Response
from sentinel.engine import Engine
from sentinel.options import Options
from sentinel.run import OUTCOMES
from sentinel.runner import run
from sentinel.scenario import Population
from sentinel.script import Line
from sentinel.sources import Hex

from .recording import Recording, app, counts, scenario


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
    assert bool(problem) == (outcome in ("error", "shed"))


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
