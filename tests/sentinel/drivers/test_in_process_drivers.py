from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sentinel.application import Application, Step
from sentinel.drivers.asgi import AsgiDriver, Receive, Send, load_app
from sentinel.drivers.driver import Headers, Request, Response
from sentinel.drivers.limiter import LimiterDriver
from sentinel.errors import ConfigurationError, TargetError
from sentinel.options import Options
from sentinel.runner import run
from sentinel.scenario import Population, Scenario
from sentinel.shapes import Sustained
from sentinel.target import AppTarget

from .asking import asked


class App:
    """An ASGI application that remembers its scopes and answers by path."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.events: list[str] = []

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        self.scopes.append(dict(scope))
        body = (await receive())["body"]
        match scope["path"]:
            case "/boom":
                raise RuntimeError("it broke")
            case "/silent":
                return
            case "/slow":
                await asyncio.sleep(30)
            case "/wait-for-leave":
                await receive()
        headers = [(b"X-Body-Length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    async def _live(self, scope: Any, receive: Receive, send: Send) -> None:
        scope["state"]["ready"] = True
        self.events.append((await receive())["type"])
        await send({"type": "lifespan.startup.complete"})
        self.events.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})


def test_an_application_gets_a_whole_scope_and_its_answer_comes_back_whole() -> None:
    app = App()
    common, own = Headers([("X-Tenant", "a")]), Headers([("X-B", "2")])
    (response,) = asked(AsgiDriver(app), Request("POST", "/p%20q?x=1", common, own, b"body"))
    assert (response.status, response.body, response.header("x-body-length")) == (201, b"one two", "4")
    scope = app.scopes[0]
    assert (scope["method"], scope["path"], scope["query_string"]) == ("POST", "/p q", b"x=1")
    assert scope["raw_path"] == b"/p%20q" and scope["state"] == {"ready": True}
    names = [name for name, _ in scope["headers"]]
    assert names == [b"host", b"x-tenant", b"x-b", b"content-length"]
    assert app.events == ["lifespan.startup", "lifespan.shutdown"]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/boom", "the application raised RuntimeError: it broke"),
        ("/silent", "returned without an answer"),
        ("/slow", "no answer within 0.2 s"),
    ],
)
def test_an_application_that_fails_is_an_error(path: str, error: str) -> None:
    (response,) = asked(AsgiDriver(App(), timeout_s=0.2), Request("GET", path))
    assert response.status == 0
    assert error in response.error


def test_closing_answers_for_what_is_under_way() -> None:
    async def main() -> list[Response]:
        driver, answers = AsgiDriver(App()), list[Response]()
        await driver.open()
        driver.send(Request("GET", "/slow"), answers.append)
        await asyncio.sleep(0.01)
        driver.send(Request("GET", "/slow"), answers.append)
        await driver.close()
        return answers

    with asyncio.Runner() as runner:
        answers = runner.run(main())
    assert ["the run ended" in answer.error for answer in answers] == [True, True]


def test_an_application_without_lifespan_is_fine_and_one_that_fails_to_start_is_not() -> None:
    async def bare(scope: Any, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async def failing(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    assert asked(AsgiDriver(bare), Request("GET", "/"))[0].status == 204
    with pytest.raises(TargetError, match="failed to start: no database"):
        asked(AsgiDriver(failing), Request("GET", "/"))


def test_applications_are_loaded_by_name_and_missing_ones_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some_target_app.py").write_text(
        "class make:\n    app = staticmethod(lambda *a: None)\nnumber = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert callable(load_app(AppTarget("some_target_app", "make.app")))
    for attribute, message in (("nothing", "cannot be loaded"), ("number", "is a int, not an ASGI")):
        with pytest.raises(TargetError, match=message):
            load_app(AppTarget("some_target_app", attribute))
    with pytest.raises(TargetError, match="cannot be loaded"):
        load_app(AppTarget("no_such_module_here", "app"))


class Decision(NamedTuple):
    allowed: bool
    retry_after: float | None = None


def admit_three() -> Callable[[str], Decision]:
    seen: dict[str, int] = {}

    def acquire(key: str) -> Decision:
        seen[key] = seen.get(key, 0) + 1
        return Decision(True) if seen[key] <= 3 else Decision(False, 1.5)

    return acquire


def test_a_limiter_is_called_with_the_key_and_its_decision_read() -> None:
    requests = [Request("GET", "/", key="a")] * 4 + [Request("GET", "/", key="b")]
    answers = asked(LimiterDriver(admit_three()), *requests)
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 200]
    assert answers[3].retry_after() == 1.5


def test_asynchronous_limiters_are_awaited() -> None:
    acquire = admit_three()

    async def later(key: str) -> Decision:
        await asyncio.sleep(0)
        return acquire(key)

    answers = asked(LimiterDriver(later), *[Request("GET", "/", key="a")] * 4)
    assert sorted(answer.status for answer in answers) == [200, 200, 200, 429]


def test_limiters_that_block_run_in_threads() -> None:
    threads: set[str] = set()
    together = threading.Barrier(4, timeout=5)

    def acquire(key: str) -> Decision:
        threads.add(threading.current_thread().name)
        together.wait()
        return Decision(True)

    answers = asked(LimiterDriver(acquire, threads=4), *[Request("GET", "/", key="a")] * 4)
    assert [answer.status for answer in answers] == [200] * 4
    assert len(threads) == 4
    assert threading.current_thread().name not in threads


@pytest.mark.parametrize("threads", [0, 2])
def test_a_limiter_that_raises_is_an_error(threads: int) -> None:
    def acquire(key: str) -> Decision:
        raise ConnectionError("store down")

    (response,) = asked(LimiterDriver(acquire, threads=threads), Request("GET", "/"))
    assert (response.status, response.error) == (0, "the limiter raised ConnectionError: store down")


def test_an_asynchronous_limiter_in_threads_is_told_where_it_belongs() -> None:
    async def acquire(key: str) -> Decision:
        return Decision(True)

    def call(key: str) -> Awaitable[Decision]:
        waiting = acquire(key)
        waiting.close()
        return waiting

    (response,) = asked(LimiterDriver(call, threads=1), Request("GET", "/"))
    assert "use threads=0" in response.error
    with pytest.raises(ConfigurationError, match="threads is 65"):
        LimiterDriver(acquire, threads=65)


def test_a_whole_run_against_a_limiter_counts_every_decision() -> None:
    plan = Scenario(
        "direct",
        Sustained(rate=1000, duration_s=1),
        {"call": 1},
        (Application("call", (Step("acquire", "/"),)),),
        users=Population(count=10),
    )
    result = run(plan, LimiterDriver(admit_three()), Options(columns=True))
    assert result.record.counts() == {"ok": 30, "denied": 970, "shed": 0, "error": 0}
    assert result.columns is not None
    assert set(result.columns.retry_after.tolist()) == {-1, 1_500_000_000}


def test_a_run_in_process_reaches_the_application() -> None:
    app = App()
    plan = Scenario(
        "inside",
        Sustained(rate=100, duration_s=1).scaled(time=0.2),
        {"one": 1},
        (Application("one", (Step("get", "/x"),)),),
    )
    assert run(plan, AsgiDriver(app)).record.counts()["ok"] == 20 == len(app.scopes)
