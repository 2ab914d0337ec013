"""Mistakes other limiters made in front of an app, each one as a scenario."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from threshold import MemoryStore, Policy, Tiers
from threshold.asgi import ThresholdMiddleware as ASGI
from threshold.testing import ManualClock
from threshold.wsgi import ThresholdMiddleware as WSGI


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


async def ahello(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def store() -> MemoryStore:
    return MemoryStore(clock=ManualClock())


@pytest.fixture
def hasty() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(function: Callable[[int], None], count: int) -> None:
    """Call a function in as many threads, all at once; fail when one of them does."""
    barrier = threading.Barrier(count)
    failures: list[BaseException] = []

    def run(number: int) -> None:
        barrier.wait()
        try:
            function(number)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_ten_requests_at_once_get_one_place_out_of_one(hasty: None, wsgi: Any, asgi_async: Any) -> None:
    app = WSGI(hello, policy=Policy(user="1/minute"), store=store())
    statuses: list[int] = []
    together(lambda number: statuses.append(wsgi(app).status), 10)
    assert sorted(statuses) == [200] + [429] * 9

    guarded = ASGI(ahello, policy=Policy(user="1/minute"), store=store())

    async def burst() -> list[int]:
        return [answer.status for answer in await asyncio.gather(*(asgi_async(guarded) for _ in range(10)))]

    assert sorted(asyncio.run(burst())) == [200] + [429] * 9


def test_nobody_gets_another_callers_tier_under_threads(hasty: None, wsgi: Any) -> None:
    tiers = Tiers({f"t{i}": f"{1000 + i}/minute" for i in range(8)}, default="t0")
    app = WSGI(
        hello,
        policy=Policy(tenant=tiers),
        store=store(),
        tenant=lambda environ: environ["HTTP_X_TENANT"],
        tier=lambda environ: environ["HTTP_X_TIER"],
    )

    def ask(number: int) -> None:
        for _ in range(50):
            answer = wsgi(app, HTTP_X_TENANT=f"tenant {number}", HTTP_X_TIER=f"t{number}")
            assert answer.one("x-ratelimit-limit") == str(1000 + number)

    together(ask, 8)


def test_nobody_gets_another_callers_identity_while_a_lookup_waits(asgi_async: Any) -> None:
    async def user(scope: Any) -> str:
        name = dict(scope["headers"])[b"user"].decode()
        for _ in range(len(name)):  # the longer the name, the longer the lookup
            await asyncio.sleep(0)
        return str(name)

    app = ASGI(ahello, policy=Policy(user="2/minute"), store=store(), user=user)

    async def scenario() -> list[int]:
        names = [b"x" * (1 + i % 5) for i in range(15)]
        answers = await asyncio.gather(*(asgi_async(app, headers=[(b"user", name)]) for name in names))
        return [answer.status for answer in answers]

    assert sorted(asyncio.run(scenario())) == [200] * 10 + [429] * 5


def test_clients_do_not_share_a_bucket_unless_they_share_an_address(wsgi: Any) -> None:
    app = WSGI(hello, policy=Policy(edge="1/minute"), store=store())
    assert [wsgi(app, client=f"203.0.113.{i}").status for i in range(5)] == [200] * 5
    assert wsgi(app, client="203.0.113.1").status == 429
    assert wsgi(app, client="::ffff:203.0.113.1").status == 429
    assert wsgi(app, client="2001:db8::1").status == 200
    assert wsgi(app, client="2001:db8::ffff").status == 429  # the same /64
    assert wsgi(app, client="2001:db8:0:1::1").status == 200


@pytest.mark.parametrize("path", ["/auth/login", "/auth/login\n", "//auth/login", "/auth/login/"])
def test_every_path_that_a_router_takes_for_an_endpoint_is_charged_to_it(asgi: Any, path: str) -> None:
    """A route of Starlette is a regular expression that ends in "$": it matches before a newline too."""
    app = Starlette(routes=[Route("/auth/login", PlainTextResponse("in"), methods=["POST"])])
    assert asgi(app, path, method="POST").status != 404 or path == "//auth/login"
    guarded = ASGI(app, policy=Policy(endpoints={"POST /auth/login": "1/h"}), store=store())
    assert asgi(guarded, "/auth/login", method="POST").status == 200
    assert asgi(guarded, path, method="POST").status == 429


@pytest.mark.parametrize("nobody", [None, ""])
def test_an_empty_identity_is_not_unlimited_and_not_one_bucket_for_all(wsgi: Any, nobody: Any) -> None:
    policy = Policy(tenant="100/minute", user="1/minute")
    app = WSGI(
        hello, policy=policy, store=store(), tenant=lambda environ: nobody, user=lambda environ: nobody
    )
    assert [wsgi(app, client="203.0.113.1").status for _ in range(2)] == [200, 429]
    assert wsgi(app, client="203.0.113.2").status == 200


def test_a_refused_request_charges_no_other_limit(asgi: Any) -> None:
    app = ASGI(ahello, policy=Policy(edge="10/minute", endpoints={"/paid": "1/minute"}), store=store())
    for _ in range(20):
        asgi(app, "/paid")
    assert asgi(app, "/free").one("x-ratelimit-remaining") == "8"


def test_the_events_reach_the_hooks_without_a_raw_identity(asgi: Any) -> None:
    events: list[Any] = []
    app = ASGI(
        ahello,
        policy=Policy(user="1/minute"),
        store=store(),
        hooks=[events.append],
        user=lambda scope: "alice",
    )
    for _ in range(5):
        asgi(app)
    (event,) = events
    assert event.violated == ("user",) and "alice" not in repr(event) and "203.0.113.9" not in repr(event)
