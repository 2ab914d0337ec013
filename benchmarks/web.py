"""The benchmarks of a whole request: Starlette and Flask, in process, bare, with floors, ours and peers.

No sockets: what is measured is the app, and what each limiter adds to it. Every response is counted by its
status and, where the limiter tells it, by its remaining requests; a run that answers otherwise stops.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.util import find_spec
from itertools import cycle
from typing import Any

import floors
from contenders import YEAR
from policies import AMPLE, METHOD, PATH, TENANT, TIER, USER, single, whole
from sampling import Series, WorkloadError
from threshold import Ladder, MemoryStore, Policy, Rung

_clock = time.perf_counter_ns
_ADDRESS = "203.0.113.9"
_BODY = b'{"id": 1}'
CALLERS = 10_000
MANY_CALLERS = f"threshold, whole policy, {CALLERS:,} users in turn"
"""No two requests in a row find the same states."""
_BANNING = Ladder([Rung(ban=86_400)])
_FORGIVING = Ladder([Rung(forgive=True), Rung(cooldown=86_400)])
"""One request over the limit is let through; then the limit itself refuses, for one long episode."""

Identity = dict[str, Callable[[Any], str]]


class Ledger:
    """What the responses of one series said."""

    def __init__(self, name: str, free: int | None) -> None:
        self.name = name
        self.free = free
        """Requests that are answered before the rest is refused; None when nothing is."""
        self.statuses: Counter[int] = Counter()
        self.headers: dict[str, str] = {}

    def check(self, done: int) -> None:
        """Stop unless exactly the prescribed requests were answered, and charged."""
        admitted = done if self.free is None else min(done, self.free)
        due = {status: count for status, count in ((200, admitted), (429, done - admitted)) if count}
        if dict(self.statuses) != due:
            raise WorkloadError(f"{self.name}: answered {dict(self.statuses)} instead of {due}")
        said = self.headers.get("x-ratelimit-remaining")
        if self.free is None and said is not None and not 0 <= int(said) - (AMPLE - done) <= 60:
            raise WorkloadError(f"{self.name}: {said} requests left after {done} of {AMPLE}")
        if "threshold" in self.name and said is None and "ban" not in self.name:
            raise WorkloadError(f"{self.name}: no header fields")


def starlette(size: int) -> list[Series]:
    """One POST through Starlette, admitted and refused."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from threshold.asgi import ThresholdMiddleware

    async def create(request: Request) -> Response:
        return Response(_BODY, media_type="application/json")

    def app() -> Any:
        return Starlette(routes=[Route(PATH, create, methods=[METHOD])])

    def ours(policy: Policy, **identity: Any) -> Any:
        return ThresholdMiddleware(app(), policy=policy, store=MemoryStore(), **identity)

    who: dict[str, Any] = {"tenant": _tenant, "tier": _tier}
    loop = asyncio.new_event_loop()

    def series(name: str, role: str, served: Any, free: int | None = None) -> Series:
        return _asgi(loop, Ledger(name, free), role, served, size)

    listed = [
        series("bare", "bare", app()),
        series("floor, three fields", "floor", floors.asgi(app(), AMPLE, YEAR)),
        series("threshold, one limit", "ours", ours(single(AMPLE))),
        series("threshold, whole policy", "ours", ours(whole(), **who, user=_user)),
        replace(series(MANY_CALLERS, "ours", ours(whole(), **who, user=_users())), first=CALLERS),
        series("refused: floor", "floor", floors.asgi(app(), 1, YEAR), 1),
        series("refused: threshold, one limit", "ours", ours(single(1)), 1),
        series(
            "refused: threshold, whole policy",
            "ours",
            ours(whole(user_limit=1, ladder=_FORGIVING), **who, user=_user),
            2,
        ),
        series(
            "refused: threshold, ban",
            "ours",
            ours(whole(user_limit=1, ladder=_BANNING), **who, user=_user),
            1,
        ),
    ]
    if find_spec("slowapi"):
        listed.append(series("slowapi", "peer", _slowapi(AMPLE)))
        listed.append(series("refused: slowapi", "peer", _slowapi(1), 1))
    if find_spec("ratelimit"):
        listed.append(series("asgi-ratelimit", "peer", _asgi_ratelimit(app(), AMPLE)))
        listed.append(series("refused: asgi-ratelimit", "peer", _asgi_ratelimit(app(), 1), 1))
    return listed


def flask(size: int) -> list[Series]:
    """One POST through Flask, admitted and refused."""
    from flask import Flask, Response

    from threshold.wsgi import ThresholdMiddleware

    def app() -> Any:
        served = Flask("bench")
        served.add_url_rule(
            PATH, "create", lambda: Response(_BODY, mimetype="application/json"), methods=[METHOD]
        )
        return served

    def ours(policy: Policy, **identity: Any) -> Any:
        return ThresholdMiddleware(app(), policy=policy, store=MemoryStore(), **identity)

    def series(name: str, role: str, served: Any, free: int | None = None) -> Series:
        return _wsgi(Ledger(name, free), role, served, size)

    who: dict[str, Any] = {"tenant": _tenant, "tier": _tier}
    listed = [
        series("bare", "bare", app()),
        series("floor, three fields", "floor", floors.wsgi(app(), AMPLE, YEAR)),
        series("threshold, one limit", "ours", ours(single(AMPLE))),
        series("threshold, whole policy", "ours", ours(whole(), **who, user=_user)),
        replace(series(MANY_CALLERS, "ours", ours(whole(), **who, user=_users())), first=CALLERS),
        series("refused: floor", "floor", floors.wsgi(app(), 1, YEAR), 1),
        series("refused: threshold, one limit", "ours", ours(single(1)), 1),
        series(
            "refused: threshold, whole policy",
            "ours",
            ours(whole(user_limit=1, ladder=_FORGIVING), **who, user=_user),
            2,
        ),
        series(
            "refused: threshold, ban",
            "ours",
            ours(whole(user_limit=1, ladder=_BANNING), **who, user=_user),
            1,
        ),
    ]
    if find_spec("flask_limiter"):
        listed.append(series("flask-limiter", "peer", _flask_limiter(app(), AMPLE)))
        listed.append(series("refused: flask-limiter", "peer", _flask_limiter(app(), 1), 1))
    return listed


def _tenant(request: Any) -> str:
    return TENANT


def _tier(request: Any) -> str:
    return TIER


def _user(request: Any) -> str:
    return USER


def _users() -> Callable[[Any], str]:
    users = cycle([f"user-{i}" for i in range(CALLERS)])
    return lambda request: next(users)


def _slowapi(limit: int) -> Any:
    from slowapi import Limiter
    from slowapi.middleware import SlowAPIASGIMiddleware
    from slowapi.util import get_remote_address
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def create(request: Request) -> Response:
        return Response(_BODY, media_type="application/json")

    app = Starlette(routes=[Route(PATH, create, methods=[METHOD])])
    app.state.limiter = Limiter(
        key_func=get_remote_address, default_limits=[f"{limit}/year"], headers_enabled=True
    )
    app.add_middleware(SlowAPIASGIMiddleware)
    return app


def _asgi_ratelimit(app: Any, limit: int) -> Any:
    from ratelimit import RateLimitMiddleware, Rule
    from ratelimit.backends.simple import MemoryBackend

    async def authenticate(scope: Any) -> tuple[str, str]:
        return scope["client"][0], "default"

    backend: Any = MemoryBackend  # untyped
    return RateLimitMiddleware(app, authenticate, backend(), {".*": [Rule(day=limit)]})


def _flask_limiter(app: Any, limit: int) -> Any:
    from flask_limiter import Limiter
    from flask_limiter.util import get_remote_address

    Limiter(
        get_remote_address,
        app=app,
        default_limits=[f"{limit}/year"],
        storage_uri="memory://",
        headers_enabled=True,
    )
    return app


def _asgi(loop: asyncio.AbstractEventLoop, ledger: Ledger, role: str, app: Any, size: int) -> Series:
    template = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": METHOD,
        "scheme": "http",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"blog.example"), (b"accept", b"*/*"), (b"content-length", b"0")],
        "client": (_ADDRESS, 50_000),
        "server": ("127.0.0.1", 80),
    }
    last: dict[str, Any] = {}
    statuses = ledger.statuses

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses[message["status"]] += 1
            last["headers"] = message["headers"]

    async def together(count: int) -> int:
        start = _clock()
        for _ in range(count):
            await app(dict(template), receive, send)
        return _clock() - start

    async def apart(count: int) -> list[int]:
        taken = []
        for _ in range(count):
            scope = dict(template)
            start = _clock()
            await app(scope, receive, send)
            taken.append(_clock() - start)
        return taken

    def check(done: int) -> None:
        ledger.headers = {name.decode().lower(): value.decode() for name, value in last["headers"]}
        ledger.check(done)

    return Series(
        ledger.name,
        role,
        batch=lambda count: loop.run_until_complete(together(count)),
        singles=lambda count: loop.run_until_complete(apart(count)),
        check=check,
        size=size,
    )


def _wsgi(ledger: Ledger, role: str, app: Any, size: int) -> Series:
    template = {
        "REQUEST_METHOD": METHOD,
        "SCRIPT_NAME": "",
        "PATH_INFO": PATH,
        "QUERY_STRING": "",
        "SERVER_NAME": "blog.example",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "blog.example",
        "HTTP_ACCEPT": "*/*",
        "CONTENT_LENGTH": "0",
        "REMOTE_ADDR": _ADDRESS,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    last: dict[str, Any] = {}
    statuses = ledger.statuses

    def write(data: bytes) -> None:
        raise WorkloadError("no app here writes")

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], object]:
        statuses[int(status[:3])] += 1
        last["headers"] = headers
        return write

    def request(environ: dict[str, Any]) -> None:
        body: Iterable[bytes] = app(environ, start_response)
        for _ in body:
            pass
        close = getattr(body, "close", None)
        if close is not None:
            close()

    def together(count: int) -> int:
        start = _clock()
        for _ in range(count):
            request(dict(template))
        return _clock() - start

    def apart(count: int) -> list[int]:
        taken = []
        for _ in range(count):
            environ = dict(template)
            start = _clock()
            request(environ)
            taken.append(_clock() - start)
        return taken

    def check(done: int) -> None:
        ledger.headers = {name.lower(): value for name, value in last["headers"]}
        ledger.check(done)

    return Series(ledger.name, role, batch=together, singles=apart, check=check, size=size)
