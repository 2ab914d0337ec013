"""The store of middlewares that name none: one for each policy object, in a process by itself."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import weakref
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from threshold import MemoryStore, Policy, workers
from threshold import default_store as chooser
from threshold.asgi import ThresholdMiddleware as ASGI
from threshold.default_store import default_store
from threshold.wsgi import ThresholdMiddleware as WSGI


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing says that this process is one of several, however the tests were started."""
    monkeypatch.setattr(sys, "argv", ["app.py"])
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    monkeypatch.setattr(workers, "_forked", False)


def app(*arguments: Any) -> Any: ...


def test_a_middleware_on_each_of_several_routes_is_one_limit(asgi_async: Any) -> None:
    async def home(request: Any) -> PlainTextResponse:
        return PlainTextResponse("hello")

    guard = [Middleware(ASGI, policy=Policy(user="3/minute"))]
    routed = Starlette(routes=[Route(path, home, middleware=guard) for path in ("/a", "/b")])

    async def statuses() -> list[int]:
        return [(await asgi_async(routed, path)).status for path in ("/a", "/b", "/a", "/b", "/a")]

    assert asyncio.run(statuses()) == [200, 200, 200, 429, 429]


def test_one_policy_object_counts_together_and_another_of_the_same_name_apart() -> None:
    policy = Policy(user="3/minute")
    together: list[Any] = [ASGI(app, policy=policy), ASGI(app, policy=policy), WSGI(app, policy=policy)]
    assert len({id(guarded.threshold.store) for guarded in together}) == 1
    assert ASGI(app, policy=Policy(user="3/minute")).threshold.store is not together[0].threshold.store
    named = MemoryStore()
    assert ASGI(app, policy=policy, store=named).threshold.store is named


def test_the_store_is_announced_once_for_each_policy_object(caplog: pytest.LogCaptureFixture) -> None:
    policy = Policy(user="3/minute", name="spoken of")
    with caplog.at_level(logging.INFO, logger="threshold"):
        for _ in range(3):
            ASGI(app, policy=policy)
    assert [record.getMessage() for record in caplog.records] == [
        "policy 'spoken of': MemoryStore, because nothing says that this app has several processes"
    ]


def test_the_store_is_kept_as_long_as_its_policy_and_no_longer(wsgi: Any) -> None:
    policy = Policy(user="1/minute")

    def answer(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"ok"]

    assert [wsgi(WSGI(answer, policy=policy)).status for _ in range(2)] == [200, 429]
    store = weakref.ref(default_store(policy))
    gc.collect()
    assert store() is not None
    del policy
    gc.collect()
    assert store() is None


def test_a_forked_child_does_not_go_on_with_what_its_parent_counted() -> None:
    policy = Policy(user="3/minute")
    inherited = default_store(policy)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if policy not in chooser._kept else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert default_store(policy) is inherited
