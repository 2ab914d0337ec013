"""Requests over HTTP/1.1, one at a time on each of as many kept-alive connections as it takes.

No redirects, no cookies, no retries behind the caller's back, with one exception that is counted: servers
drop idle connections (uvicorn after 5 s), and a request that ran into that before a single byte came back is
sent once more, on a fresh connection.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from sentinel.drivers.connection import Connection
from sentinel.drivers.driver import Answer, Done, Due, Parcel, Request, Response, deliver
from sentinel.drivers.heads import Head, Heads
from sentinel.errors import TargetError
from sentinel.target import HttpTarget

_WITH_LENGTH = frozenset({"POST", "PUT", "PATCH"})  # announce their body even when it is empty
_SWEEP_S = 0.1
_SWEEP_NS = 100_000_000
_MOST_AT_ONCE = 64  # answers read before the first of them is looked at
_AT_ONCE = 16  # when something else is due: some 100 µs of reading


class HttpDriver:
    """Send requests to one HTTP server.

    timeout_s: of one request, connecting included. idle_max: kept-alive connections that wait for work at
    most. spread: connections to begin with, which then take turns, so that every worker process behind one
    address gets its share; 0 keeps to the connection used last, which is faster.
    """

    def __init__(
        self, target: HttpTarget, *, timeout_s: float = 30.0, idle_max: int = 20_000, spread: int = 0
    ) -> None:
        self.target = target
        self.counters = {"connections": 0, "retries": 0, "timeouts": 0, "connect_errors": 0}
        self._timeout_ns = int(timeout_s * 1e9)
        self._idle_max = idle_max
        self._spread = spread
        self._turn = 0 if spread else -1
        self.heads = Heads()
        self.deliver: Callable[[Iterator[Answer]], None] = deliver
        self.due = Due()
        self._answers: list[Answer] = []
        self.now_ns = 0  # as of the last sweep
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._connecting: set[asyncio.Task[Connection]] = set()
        self._host = b"host: %b\r\n" % target.authority.encode("ascii")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._address: tuple[str, int] | None = None
        self._tls = ssl.create_default_context() if target.tls else None
        self._sweeper: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Connect once, so that a dead target is known before the run; the connection is kept for it."""
        self._loop = asyncio.get_running_loop()
        self.now_ns = time.monotonic_ns()
        try:
            if self.target.socket_path is None:
                await self._resolve()
            connection = await asyncio.wait_for(self._connect(), min(self._timeout_ns / 1e9, 10))
        except (OSError, TimeoutError) as error:
            raise TargetError(
                f"target {self.target} cannot be reached: {str(error) or 'timed out'}"
            ) from error
        connection.reused = True  # it may sit idle until the run starts
        self._idle.append(connection)
        for _ in range(self._spread - 1):
            connection = await self._connect_in_time()
            connection.reused = True
            self._idle.append(connection)
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    async def _resolve(self) -> None:
        """Look the name up once, and keep the first address that answers."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self.target.host, self.target.port, type=1)
        error: OSError | None = None
        for *_, address in found:
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(*address[:2]), 5)
            except OSError as failure:
                error = failure
                continue
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            self._address = (str(address[0]), int(address[1]))
            return
        raise error or OSError("no address")

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()

        def factory() -> Connection:
            return Connection(self)

        if self.target.socket_path is not None:
            _, connection = await loop.create_unix_connection(factory, self.target.socket_path)
        else:
            host, port = self._address or (self.target.host, self.target.port)
            name = self.target.host if self._tls else None
            _, connection = await loop.create_connection(
                factory, host, port, ssl=self._tls, server_hostname=name
            )
        self.counters["connections"] += 1
        self._open.add(connection)
        return connection

    def send(self, request: Request, done: Done) -> None:
        """Send on the connection used last (or longest ago), or on a new one when all are busy."""
        if request.wire is None:
            request.wire = self.encode(request)
        idle = self._idle
        while idle:
            connection = idle.pop(self._turn)
            if not connection.closed:
                connection.begin(request, done)
                return
        self._send_fresh(request, done)

    def send_all(self, parcels: Iterable[Parcel]) -> None:
        """Send requests one after another, each as soon as its instant has been noted."""
        clock, idle, turn = time.monotonic_ns, self._idle, self._turn
        for parcel in parcels:
            parcel.sent = clock()
            if idle and not (connection := idle.pop(turn)).closed:
                if parcel.wire is None:
                    parcel.wire = self.encode(parcel)
                connection.begin(parcel, parcel)
            else:
                self.send(parcel, parcel)

    def encode(self, request: Request) -> bytes:
        """Write a request as it goes over the wire."""
        rest = request.rest or self._rest(request)
        return f"{request.method} {request.target} HTTP/1.1\r\n".encode("ascii") + rest

    def _rest(self, request: Request) -> bytes:
        """Write what follows the first line, and keep it with the request for the next time."""
        body, end = request.body, b"\r\n"
        if body or request.method in _WITH_LENGTH:
            end = b"content-length: %d\r\n\r\n%b" % (len(body), body)
        request.rest = self._host + request.common.wire + request.headers.wire + end
        return request.rest

    def _send_fresh(self, request: Request, done: Done) -> None:
        task = asyncio.ensure_future(self._connect_in_time())
        self._connecting.add(task)

        def connected(task: asyncio.Task[Connection]) -> None:
            self._connecting.discard(task)
            if task.cancelled():
                done(failure("the run ended before the connection stood"))
            elif (error := task.exception()) is not None:
                self.counters["connect_errors"] += 1
                done(failure(f"cannot connect: {str(error) or 'timed out'}"))
            else:
                task.result().begin(request, done)

        task.add_done_callback(connected)

    async def _connect_in_time(self) -> Connection:
        async with asyncio.timeout(self._timeout_ns / 1e9):
            return await self._connect()

    def answered(
        self, done: Done, head: Head, data: bytes, done_ns: int, usable: Connection | None = None
    ) -> None:
        """Hand an answer over soon: what else has arrived is read first, so that it gets its true instant.

        usable: the connection it came over, when that can carry another request.
        """
        if usable is not None:
            if len(self._idle) < self._idle_max:
                self._idle.append(usable)
            else:
                usable.abort()
        answers = self._answers
        answers.append((done, head, data, done_ns))
        count = len(answers)
        if count == 1 and self._loop is not None:
            self._loop.call_soon(self._hand_over)
        elif count >= _AT_ONCE and (done_ns >= self.due.ns or count >= _MOST_AT_ONCE):
            self._hand_over()

    def _hand_over(self) -> None:
        answers, self._answers = iter(self._answers), []
        try:
            self.deliver(answers)
        finally:
            for answer in answers:  # whoever raised must not cost the others theirs
                self.answered(*answer)

    def connection_gone(self, connection: Connection) -> None:
        """Forget a closed connection."""
        self._open.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)

    def send_again(self, request: Request, done: Done) -> None:
        """Send once more what an idle connection swallowed by closing."""
        self.counters["retries"] += 1
        self._send_fresh(request, done)

    def _sweep(self) -> None:
        """Give up requests that have waited longer than the time-out; it takes up to two sweeps to notice."""
        self.now_ns = time.monotonic_ns()
        limit = self.now_ns - self._timeout_ns - _SWEEP_NS
        for connection in [one for one in self._open if one.started_ns and one.started_ns < limit]:
            self.counters["timeouts"] += 1
            connection.fail(f"no answer within {self._timeout_ns / 1e9:g} s")
        if self._loop is not None:
            self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    async def close(self) -> None:
        """Fail what is under way and close every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in list(self._connecting):
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        self._hand_over()
        for connection in list(self._open):
            connection.fail("the run ended before the answer")
            connection.abort()
        self._idle.clear()
        await asyncio.sleep(0)


def failure(error: str) -> Response:
    """Build the answer that stands for none."""
    return Response(0, [], b"", time.monotonic_ns(), error)
