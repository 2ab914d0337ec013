"""Floors: the least that the same job costs in Python, written by hand for one case each.

Nobody would ship these: one limit, fixed at build time, no checks, no bound on memory, no abuse record.
They say how much of a figure is Python and how much is ours.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from threading import Lock
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
StartResponse = Callable[..., Any]
WSGIApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class Result:
    """What a caller wants to know about one decision."""

    __slots__ = ("allowed", "limit", "remaining", "reset_after", "retry_after")

    def __init__(
        self, allowed: bool, limit: int, remaining: int, retry_after: float, reset_after: float
    ) -> None:
        self.allowed = allowed
        self.limit = limit
        self.remaining = remaining
        self.retry_after = retry_after
        self.reset_after = reset_after


def bucket_with_lock(limit: int, period: float) -> Callable[[str], Result]:
    """A token bucket in floats, one function, under one lock."""
    interval = period / limit
    states: dict[str, float] = {}
    lock = Lock()
    clock = time.monotonic

    def acquire(key: str) -> Result:
        with lock:
            now = clock()
            due = states.get(key, now)
            if due < now:
                due = now
            after = due + interval
            owed = after - now
            if owed > period:
                return Result(False, limit, int((period - due + now) / interval), owed - period, due - now)
            states[key] = after
        return Result(True, limit, int((period - owed) / interval), 0.0, owed)

    return acquire


def bucket_without_lock(limit: int, period: float) -> Callable[[str], Result]:
    """The same without a lock: wrong under threads."""
    interval = period / limit
    states: dict[str, float] = {}
    clock = time.monotonic

    def acquire(key: str) -> Result:
        now = clock()
        due = states.get(key, now)
        if due < now:
            due = now
        after = due + interval
        owed = after - now
        if owed > period:
            return Result(False, limit, int((period - due + now) / interval), owed - period, due - now)
        states[key] = after
        return Result(True, limit, int((period - owed) / interval), 0.0, owed)

    return acquire


def asgi(app: App, limit: int, period: float) -> App:
    """Limit by client address and add the three X-RateLimit fields to every response."""
    acquire = bucket_with_lock(limit, period)
    text = str(limit).encode()

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        result = acquire(scope["client"][0])
        fields = [
            (b"x-ratelimit-limit", text),
            (b"x-ratelimit-remaining", b"%d" % result.remaining),
            (b"x-ratelimit-reset", b"%d" % result.reset_after),
        ]
        if not result.allowed:
            fields.append((b"retry-after", b"%d" % (result.retry_after + 1)))
            await send({"type": "http.response.start", "status": 429, "headers": fields})
            await send({"type": "http.response.body", "body": b"Too Many Requests"})
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *fields]
            await send(message)

        await app(scope, receive, told)

    return limited


def wsgi(app: WSGIApp, limit: int, period: float) -> WSGIApp:
    """The same for WSGI."""
    acquire = bucket_with_lock(limit, period)
    text = str(limit)

    def limited(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        result = acquire(environ["REMOTE_ADDR"])
        fields = [
            ("X-RateLimit-Limit", text),
            ("X-RateLimit-Remaining", str(result.remaining)),
            ("X-RateLimit-Reset", str(int(result.reset_after))),
        ]
        if not result.allowed:
            fields.append(("Retry-After", str(int(result.retry_after + 1))))
            start_response("429 Too Many Requests", fields)
            return [b"Too Many Requests"]

        def started(status: str, headers: list[tuple[str, str]], *error: object) -> Any:
            return start_response(status, [*headers, *fields], *error)

        return app(environ, started)

    return limited
