"""Requests to an ASGI application in this process: no sockets, the same answers.

The application shares the generator's core, so its time shows as lag; good for trying things out, not for
capacity.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

from sentinel.drivers.driver import Done, Request, Response
from sentinel.errors import TargetError
from sentinel.target import AppTarget

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def load_app(target: AppTarget) -> App:
    """Import an application, from the working directory first; raise TargetError when there is none.

    A function without parameters is taken for a factory and called once.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(target.module)
        for part in target.attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise TargetError(f"target {target} cannot be loaded: {error}") from error
    if inspect.isfunction(found) and not inspect.signature(found).parameters:
        found = found()
    if not callable(found):
        raise TargetError(f"target {target} is a {type(found).__name__}, not an ASGI application")
    app: App = found
    return app


class AsgiDriver:
    """Call an ASGI application, lifespan included; timeout_s bounds each request."""

    def __init__(self, app: App, *, timeout_s: float = 30.0) -> None:
        self.counters = {"timeouts": 0, "app_errors": 0}
        self._app = app
        self._timeout_s = timeout_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._state: dict[str, Any] = {}
        self._lifespan: asyncio.Task[None] | None = None
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._stopped = asyncio.Event()

    async def open(self) -> None:
        """Start the application; one that knows no lifespan is fine, one that fails to start is not."""
        started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._lifespan = asyncio.create_task(self._live(started))
        await self._to_app.put({"type": "lifespan.startup"})
        problem = await started
        if problem:
            raise TargetError(f"the application failed to start: {problem}")

    async def _live(self, started: asyncio.Future[str]) -> None:
        async def send(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed" and not started.done():
                started.set_result(str(message.get("message") or "no reason given"))
            elif message["type"] == "lifespan.startup.complete" and not started.done():
                started.set_result("")
            elif message["type"].startswith("lifespan.shutdown"):
                self._stopped.set()

        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}
        try:
            await self._app(scope, self._to_app.get, send)
        except Exception:  # an application without lifespan raises whatever it likes
            pass
        finally:
            self._stopped.set()
            if not started.done():
                started.set_result("")

    def send(self, request: Request, done: Done) -> None:
        """Start a task that runs the application."""
        task = asyncio.ensure_future(self._call(request, done))
        self._tasks.add(task)

        def over(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if task.cancelled():  # perhaps before it even started
                done(Response(0, [], b"", time.monotonic_ns(), "the run ended before the answer"))

        task.add_done_callback(over)

    async def _call(self, request: Request, done: Done) -> None:
        answer = _Answer(request)
        error = ""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._app(self._scope(request), answer.receive, answer.send)
        except TimeoutError:
            self.counters["timeouts"] += 1
            error = f"no answer within {self._timeout_s:g} s"
        except Exception as failure:
            self.counters["app_errors"] += 1
            error = f"the application raised {type(failure).__name__}: {failure}"
        done(answer.response(error))

    def _scope(self, request: Request) -> dict[str, Any]:
        path, _, query = request.target.partition("?")
        headers = [(b"host", b"localhost"), *request.common.pairs, *request.headers.pairs]
        if request.body:
            headers.append((b"content-length", b"%d" % len(request.body)))
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode("ascii"),
            "query_string": query.encode("ascii"),
            "root_path": "",
            "headers": headers,
            "client": (peer if (peer := request.key)[:1].isdigit() else "127.0.0.1", 40_000),
            "server": ("127.0.0.1", 80),
            "state": self._state.copy(),
        }

    async def close(self) -> None:
        """Cancel what is under way and shut the application down (5 s at most)."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._lifespan is not None:
            await self._to_app.put({"type": "lifespan.shutdown"})
            try:
                await asyncio.wait_for(self._stopped.wait(), 5)
            except TimeoutError:
                self._lifespan.cancel()
            await asyncio.gather(self._lifespan, return_exceptions=True)


class _Answer:
    """Collect one answer from an application."""

    __slots__ = ("_asked", "_body", "_done_ns", "_gone", "_headers", "_request", "_status")

    def __init__(self, request: Request) -> None:
        self._request = request
        self._asked = False
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._done_ns = 0
        self._gone: asyncio.Event | None = None

    async def receive(self) -> Message:
        """Hand over the body once; after that, wait for the answer's end and say that the client left."""
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._request.body, "more_body": False}
        if not self._done_ns:
            self._gone = self._gone or asyncio.Event()
            await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Collect the head or a part of the body."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [
                (bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())
            ]
        elif message["type"] == "http.response.body":
            self._body.append(bytes(message.get("body", b"")))
            if not message.get("more_body", False):
                self._done_ns = time.monotonic_ns()
                if self._gone is not None:
                    self._gone.set()

    def response(self, error: str) -> Response:
        """Give the answer; one that never ended is an error."""
        if not self._done_ns:
            reason = error or "the application returned without an answer"
            return Response(0, [], b"", time.monotonic_ns(), reason)
        body = b"" if self._request.method == "HEAD" else b"".join(self._body)
        return Response(self._status, self._headers, body, self._done_ns)
