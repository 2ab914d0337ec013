"""Whatever a request looks like, the middleware adds no error to an app that has none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from threshold import Ladder, MemoryStore, Policy, Tiers
from threshold.asgi import ThresholdMiddleware as ASGI
from threshold.http import shell
from threshold.testing import ManualClock
from threshold.wsgi import ThresholdMiddleware as WSGI

POLICY = Policy(
    edge={"/a": "5/minute", "default": "50/minute"},
    tenant=Tiers({"free": "20/minute"}, default="free"),
    user={"GET /b/{id}": "3/minute", "default": "30/minute"},
    endpoints={"POST /c/*": "2/minute"},
    ladder=Ladder.default(),
    allow=["192.0.2.0/24"],
    strike_anonymous=True,
)
STORE = MemoryStore(max_keys=500, clock=ManualClock())
OPTIONS: dict[str, Any] = {
    "policy": POLICY,
    "trusted_proxies": ["10.0.0.0/8", "unix"],
    "max_delayed": 0,
    "tenant": lambda request: "t\0\ud800",
}


@contextmanager
def no_trouble(unless: bool) -> Iterator[None]:
    """Fail when a failure of ours let the request through: that is for broken servers only."""
    with patch.object(shell.logger, "exception") as logged:
        yield
    assert unless or not logged.called, logged.call_args


addresses = st.one_of(
    st.none(),
    st.text(max_size=20),
    st.sampled_from(["10.0.0.1", "203.0.113.9", "192.0.2.1", "::1%x", "::ffff:10.0.0.1", "testclient", ""]),
)
paths = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["/a", "/b/1", "//b//2/", "/c/" * 40, "*", "", "/\ud800", "/" * 600, "http://x/a"]),
)
header_names = st.one_of(st.binary(max_size=12), st.sampled_from([b"x-forwarded-for", b"accept"]))
app_headers = st.lists(
    st.tuples(st.one_of(st.binary(max_size=12), st.sampled_from([b"RateLimit", b"retry-after"])), st.binary())
)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["http", "websocket"]),
    method=st.one_of(st.text(max_size=8), st.sampled_from(["GET", "HEAD", "POST"])),
    path=paths,
    root=st.one_of(st.none(), st.text(max_size=5), st.just("/b")),
    client=st.one_of(st.none(), st.tuples(addresses, st.integers()), st.tuples(addresses).map(list)),
    headers=st.lists(st.tuples(header_names, st.binary(max_size=40))),
    missing=st.sets(st.sampled_from(["client", "headers", "root_path", "method"])),
    said=app_headers,
)
def test_no_asgi_scope_breaks_a_working_app(
    kind: str, method: str, path: str, root: Any, client: Any, headers: Any, missing: set[str], said: Any
) -> None:
    start = "http.response.start" if kind == "http" else "websocket.accept"
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": start, "status": 200, "headers": said})

    async def receive() -> Any:
        return {"type": f"{kind}.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": kind,
        "method": method,
        "path": path,
        "root_path": root,
        "client": client,
        "headers": headers,
    }
    for name in missing:
        del scope[name]
    guarded = ASGI(app, store=STORE, websocket_messages="2/minute", **OPTIONS)
    with no_trouble(unless=kind == "http" and "method" in missing):
        asyncio.run(guarded(scope, receive, send))
    assert sent
    if sent[0].get("status") == 200:
        assert sent[0]["headers"][: len(said)] == said
        ours = [name for name, _ in sent[0]["headers"][len(said) :]]
        assert len(ours) == len(set(ours))
        assert not {name.lower() for name, _ in said}.intersection(ours)


@settings(max_examples=150, deadline=None)
@given(
    environ=st.dictionaries(
        st.sampled_from(
            [
                "REQUEST_METHOD",
                "PATH_INFO",
                "SCRIPT_NAME",
                "REMOTE_ADDR",
                "HTTP_X_FORWARDED_FOR",
                "HTTP_ACCEPT",
            ]
        ),
        st.one_of(st.text(max_size=40), paths.map(str)),
    )
)
def test_no_wsgi_environ_breaks_a_working_app(environ: dict[str, str]) -> None:
    started: list[Any] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        started.append((status, headers))
        return lambda data: None

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"fine"]

    guarded = WSGI(app, store=STORE, **OPTIONS)
    with no_trouble(unless="REQUEST_METHOD" not in environ):
        body = guarded(environ, start_response)
    assert b"".join(body) or environ.get("REQUEST_METHOD") == "HEAD"
    assert started[0][0][:3] in ("200", "429")
    assert all(type(name) is str and value.isprintable() for name, value in started[0][1])
