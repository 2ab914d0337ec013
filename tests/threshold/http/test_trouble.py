"""Trouble of our own: what fails closed stays closed, any other request passes; never a 500."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from threshold import Caller, MemoryStore, Policy, StoreUnavailable, Threshold
from threshold.asgi import ThresholdMiddleware as Asgi
from threshold.events import Event, Refused, StoreFailed
from threshold.http.repeats import Repeats
from threshold.plan import Outcome, Plan
from threshold.wsgi import ThresholdMiddleware as Wsgi


class BrokenStore(MemoryStore):
    """A store with a bug: it raises what no store may raise."""

    def decide(self, plan: Plan) -> Outcome:
        raise RuntimeError("a bug")


async def async_app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"ok"]


CLOSED = {
    "by endpoint": Policy(user="1/minute", fail_closed=["/auth/*"]),
    "by layer": Policy(user={"/auth/*": "1/minute"}, on_store_error={"user": "deny"}),
    "by tenant": Policy(tenant="1/minute", user={"/auth/*": "1/minute"}, on_store_error={"tenant": "deny"}),
}


@pytest.mark.parametrize("name", CLOSED)
def test_a_bug_of_ours_does_not_open_what_fails_closed(name: str, asgi_async: Any, wsgi: Any) -> None:
    guarded = Asgi(async_app, policy=CLOSED[name], store=BrokenStore())
    answer = asyncio.run(asgi_async(guarded, "/auth/login"))
    assert answer.status == 503
    assert answer.one("content-type") == "application/problem+json"
    assert wsgi(Wsgi(app, policy=CLOSED[name], store=BrokenStore()), "/auth/login").status == 503


BELOW = Policy(user="1/minute", fail_closed=["/auth/*", "POST /ü/{id}"])


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        ("/blog/auth/login", {"root_path": "/blog"}, 503),
        ("/auth/login", {"root_path": "/blog"}, 503),
        ("/blog/auth/login", {}, 200),
        ("/auth", {"root_path": "/auth"}, 200),
        ("auth/login", {}, 503),
        ("/blog/ü/7", {"root_path": "/blog", "method": "POST"}, 503),
        ("/blog/ü/7", {"root_path": "/blog", "method": "GET"}, 200),
    ],
)
def test_what_fails_closed_is_found_below_a_mount_point_too(
    path: str, more: dict[str, Any], status: int, asgi_async: Any
) -> None:
    guarded = Asgi(async_app, policy=BELOW, store=BrokenStore())
    assert asyncio.run(asgi_async(guarded, path, **more)).status == status


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/ü/7", "POST", 503), ("/ü/7", "GET", 200), ("auth/login", "GET", 503), ("/auth/ü", "GET", 503)],
)
def test_what_fails_closed_is_found_under_any_letters(path: str, method: str, status: int, wsgi: Any) -> None:
    guarded = Wsgi(app, policy=BELOW, store=BrokenStore())
    assert wsgi(guarded, path.encode().decode("latin-1"), method=method).status == status


EVERYTHING = Policy(edge="1/minute", on_store_error={"edge": "deny"})


@pytest.mark.parametrize(("policy", "status"), [(BELOW, 200), (EVERYTHING, 503)])
@pytest.mark.parametrize("odd", [{"path": None}, {"path": 5}, {"root_path": 5}, {"method": None}])
def test_a_request_that_cannot_be_read_passes_unless_everything_fails_closed(
    policy: Policy, status: int, odd: dict[str, Any]
) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], **odd}
    asyncio.run(Asgi(async_app, policy=policy, store=BrokenStore())(scope, receive, send))
    assert sent[0]["status"] == status


@pytest.mark.parametrize(("policy", "status"), [(BELOW, 200), (EVERYTHING, 503)])
@pytest.mark.parametrize("odd", [{"path": None}, {"path": 5}, {"method": None}])
def test_nor_does_one_by_wsgi_that_cannot_be_read_pass_there(
    policy: Policy, status: int, odd: dict[str, Any], wsgi: Any
) -> None:
    assert wsgi(Wsgi(app, policy=policy, store=BrokenStore()), **odd).status == status


def test_a_bug_of_ours_lets_everything_else_pass_and_is_logged(
    asgi_async: Any, wsgi: Any, caplog: pytest.LogCaptureFixture
) -> None:
    policy = CLOSED["by endpoint"]
    with caplog.at_level(logging.ERROR, logger="threshold"):
        assert (
            asyncio.run(asgi_async(Asgi(async_app, policy=policy, store=BrokenStore()), "/blog")).status
            == 200
        )
        assert wsgi(Wsgi(app, policy=policy, store=BrokenStore()), "/blog").status == 200
    assert caplog.text.count("went through unlimited") == 2


@pytest.mark.parametrize("nothing", [None, "no app", 429])
def test_an_on_refused_that_returns_no_app_gets_the_standard_refusal(
    nothing: Any, asgi_async: Any, wsgi: Any
) -> None:
    options: dict[str, Any] = {
        "policy": Policy(user="0/minute"),
        "on_refused": lambda request, verdict: nothing,
    }
    answer = asyncio.run(asgi_async(Asgi(async_app, store=MemoryStore(), **options)))
    assert answer.status == 429 and answer.one("content-type") == "application/problem+json"
    assert wsgi(Wsgi(app, store=MemoryStore(), **options)).status == 429


def test_repeated_answers_are_not_kept_for_accept_fields_of_any_length(asgi_async: Any) -> None:
    guarded = Asgi(async_app, policy=Policy(edge="1/hour"), store=MemoryStore())
    for number in range(50):
        accept = b"text/plain, " + b"x" * 10_000 + str(number).encode()
        asyncio.run(asgi_async(guarded, headers=[(b"accept", accept)]))
    repeats = guarded._repeats
    assert isinstance(repeats, Repeats) and len(repeats.kept) == 0


class AwayStore(MemoryStore):
    """A store that is away."""

    def decide(self, plan: Plan) -> Outcome:
        raise StoreUnavailable("away")


def test_what_is_decided_locally_while_the_store_is_away_is_announced_too() -> None:
    told: list[Event] = []
    guard = Threshold(Policy(user="1/minute", on_store_error="local"), store=AwayStore(), hooks=[told.append])
    assert [guard.check(Caller(user="u1")).status for _ in range(3)] == [200, 429, 429]
    assert [type(event) for event in told] == [StoreFailed, Refused]


def test_identities_appear_in_events_only_where_they_are_asked_for() -> None:
    seen: dict[bool, Refused] = {}
    for reveal in (False, True):
        told: list[Event] = []
        guard = Threshold(Policy(user="0/minute"), store=MemoryStore(), hooks=[told.append], reveal=reveal)
        guard.check(Caller(user="olly", tenant="t1"))
        (event,) = told
        assert isinstance(event, Refused)
        seen[reveal] = event
    assert seen[True].caller == "u2:t1:olly"
    assert "olly" not in seen[False].caller  # no hex digits, which a hash may hold by chance


@pytest.mark.parametrize("hooks", [5, [5], print])
def test_hooks_that_cannot_be_called_are_refused(hooks: Any) -> None:
    with pytest.raises(ValueError, match=r"hooks: .* cannot work; give a list of functions"):
        Threshold(Policy(user="1/minute"), store=MemoryStore(), hooks=hooks)


def test_a_class_in_place_of_a_store_is_refused() -> None:
    store: Any = MemoryStore
    with pytest.raises(ValueError, match=r"store: .* cannot work"):
        Threshold(Policy(user="1/minute"), store=store)
