"""Callers of bare ASGI and WSGI apps, without a server in between."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class Answer:
    """What an app sent."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    sent: list[Any] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name: str) -> str:
        (value,) = self.all(name)
        return value


async def ask_async(
    app: Callable[..., Awaitable[None]],
    path: str = "/",
    *,
    method: str = "GET",
    client: tuple[str, int] | None = ("203.0.113.9", 5000),
    headers: Iterable[tuple[bytes, bytes]] = (),
    root_path: str = "",
    body: Iterable[bytes] = (b"",),
    **more: Any,
) -> Answer:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": root_path,
        "headers": list(headers),
        "client": client,
        "server": ("testserver", 80),
        **more,
    }
    chunks = list(body)
    answer = Answer()
    answered = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if chunks:
            return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        answer.sent.append(message)
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in message["headers"]]
        else:
            answer.body += message.get("body", b"")
            if not message.get("more_body"):
                answered.set()

    await app(scope, receive, send)
    return answer


def ask_asgi(app: Callable[..., Awaitable[None]], path: str = "/", **more: Any) -> Answer:
    return asyncio.run(ask_async(app, path, **more))


def ask_wsgi(
    app: Callable[..., Iterable[bytes]],
    path: str = "/",
    *,
    method: str = "GET",
    client: str | None = "203.0.113.9",
    **environ: Any,
) -> Answer:
    request = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        **environ,
    }
    if client is not None:
        request["REMOTE_ADDR"] = client
    answer = Answer()

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        answer.status = int(status.split()[0])
        answer.headers = list(headers)
        answer.sent.append((status, headers))
        return lambda data: None

    chunks = app(request, start_response)
    try:
        answer.body = b"".join(chunks)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    return answer


@pytest.fixture
def asgi() -> Callable[..., Answer]:
    """Send one request to an ASGI app and wait for its answer."""
    return ask_asgi


@pytest.fixture
def asgi_async() -> Callable[..., Awaitable[Answer]]:
    """The same, inside a running loop."""
    return ask_async


@pytest.fixture
def wsgi() -> Callable[..., Answer]:
    """Send one request to a WSGI app."""
    return ask_wsgi


class _Skipping(selectors.DefaultSelector):
    """A selector that never waits: it says that the time has passed."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everybody waits for ever")
        if not ready and timeout is not None:
            self.passed += timeout
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop in which sleeping takes no time, and `time()` says that it did."""

    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.passed


@pytest.fixture
def skipping() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine in a loop that skips all waiting."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=SkippingLoop) as runner:
            return runner.run(coroutine)

    return run
