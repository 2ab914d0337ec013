"""Requests to a WSGI application in this process: no sockets, the same answers.

A WSGI application blocks its thread. Called on the loop, requests follow one another, and nothing but the
application is timed; called in threads, they meet each other as under a server.
"""

from __future__ import annotations

import asyncio
import io
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from sentinel.drivers.driver import Done, Request, Response
from sentinel.errors import check_range

Environ: TypeAlias = dict[str, Any]
App: TypeAlias = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

_UNPREFIXED = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}


class WsgiDriver:
    """Call a WSGI application for every request.

    threads: 0 calls it on the loop, one request at a time; 1 to 64 calls it in that many threads. A request
    has no time limit: nothing can end a call that blocks.
    """

    def __init__(self, app: App, *, threads: int = 0) -> None:
        check_range("threads", threads, 0, 64)
        self.counters = {"app_errors": 0}
        self._app = app
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        """Start the threads, if any."""
        self._loop = asyncio.get_running_loop()
        if self._threads:
            self._pool = ThreadPoolExecutor(self._threads, "sentinel-wsgi")

    def send(self, request: Request, done: Done) -> None:
        """Call the application; without threads the answer is reported before this returns."""
        if self._pool is None or self._loop is None:
            done(self._call(request))
            return
        loop = self._loop
        self._pool.submit(lambda: loop.call_soon_threadsafe(done, self._call(request)))

    async def close(self) -> None:
        """Wait for the threads: every call under way is answered first."""
        if self._pool is not None:
            await asyncio.to_thread(self._pool.shutdown)

    def _call(self, request: Request) -> Response:
        answer = _Answer()
        try:
            parts = self._app(self._environ(request), answer.start)
            try:
                answer.body += parts
                answer.done_ns = time.monotonic_ns()
            finally:
                close = getattr(parts, "close", None)
                if close is not None:
                    close()
        except Exception as failure:
            self.counters["app_errors"] += 1
            reason = f"the application raised {type(failure).__name__}: {failure}"
            return Response(0, [], b"", time.monotonic_ns(), reason)
        if not answer.status:
            reason = "the application returned without an answer"
            return Response(0, [], b"", time.monotonic_ns(), reason)
        body = b"" if request.method == "HEAD" else b"".join(answer.body)
        return Response(answer.status, answer.headers, body, answer.done_ns)

    def _environ(self, request: Request) -> Environ:
        path, _, query = request.target.partition("?")
        environ: Environ = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": peer if (peer := request.key)[:1].isdigit() else "127.0.0.1",
            "HTTP_HOST": "localhost",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(request.body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": self._threads > 1,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in (*request.common.pairs, *request.headers.pairs):
            text = name.decode("latin-1")
            key = _UNPREFIXED.get(text) or f"HTTP_{text.upper().replace('-', '_')}"
            said = value.decode("latin-1")
            environ[key] = f"{environ[key]},{said}" if key in environ and key != "HTTP_HOST" else said
        if request.body:
            environ["CONTENT_LENGTH"] = str(len(request.body))
        return environ


class _Answer:
    """Collect one answer from an application."""

    __slots__ = ("body", "done_ns", "headers", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.done_ns = 0

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """Take the head; a second one replaces it only with an error in hand, as PEP 3333 has it."""
        if self.status and exc_info is None:
            raise AssertionError("start_response was called twice without exc_info")
        self.status = int(status[:3])
        self.headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return self.body.append
