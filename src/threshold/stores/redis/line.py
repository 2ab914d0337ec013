"""RedisLine: one server as one event loop sees it. Decisions asked for in the same turn travel together.

Whoever asks puts a decision in the queue and waits for a future. One task writes: it takes what is queued, at
most `MOST` decisions to a command and a turn, and sends without waiting for replies, so that the server works
on one batch while the next is packed (half as much again in throughput); a lone decision goes out in the same
turn. Another task reads, and answers the waiters in the order they asked. One timer watches the oldest.

Knows connections, time and queues; of plans only how to pack several into one command.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError, ResponseError

from ...errors import StoreUnavailable
from .batch import Batch, Pack, Single
from .circuit import Circuit
from .faults import code_of, explained
from .server import GOES_AWAY, REDIRECTS, line_of
from .wire import Ask

MOST = 64
"""Decisions to one command: more would keep the server from everybody else for milliseconds."""
MOST_NAMES = 1024
MOST_QUEUED = 8192
"""Decisions that wait at once; one more is refused at once."""
_GRACE_TURNS = 4
"""Turns a late reply is given: it may have been in time and this loop busy."""


class RedisLine:
    """Ask one server from one event loop, over one connection.

    Args:
        connect: awaited for an unconnected redis-py asyncio connection.
        pack: packs decisions into one command.
        apart: what must be equal in decisions that share a command; None when all may.
        budget: seconds from asking to the answer, connecting included.
        circuit: told about failures; asked before each decision.
        greet: awaited with this line and its first connection, before that is used.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        pack: Pack,
        apart: Callable[[Ask], object] | None,
        budget: float,
        circuit: Circuit,
        greet: Callable[[RedisLine, Any], Awaitable[None]] | None = None,
    ) -> None:
        self.circuit = circuit
        self._connect = connect
        self._pack = pack
        self._apart = apart
        self._budget = budget
        self._greet = greet
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Batch | Single] = deque()
        self._sent: deque[Batch | Single] = deque()
        self._open: dict[object, Batch] = {}
        """Batches in the queue that still take decisions, by what keeps them apart."""
        self._count = 0
        self._connection: Any = None
        self._writer: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._wake: asyncio.Future[None] | None = None
        self._barrier: Batch | Single | None = None
        """Nothing is sent before this one is answered: what must be asked again goes first."""
        self._timer: asyncio.TimerHandle | None = None
        self._chores: set[asyncio.Task[None]] = set()
        self._closed = False

    def ask(self, ask: Ask) -> asyncio.Future[Any]:
        """Queue a decision; the future's result is (outcome, microseconds for which a refusal is sure)."""
        self._enter()
        waiter: asyncio.Future[Any] = self._loop.create_future()
        kind = None if self._apart is None else self._apart(ask)
        batch = self._open.get(kind)
        if batch is None:
            batch = self._open[kind] = Batch(self._loop.time(), kind)
            self._add(batch)
        batch.asks.append(ask)
        batch.waiters.append(waiter)
        self._count += 1
        if len(batch.asks) >= MOST or len(batch.asks) * len(ask.names) >= MOST_NAMES:
            del self._open[kind]
        return waiter

    def call(
        self, name: bytes, text: Callable[[], bytes] | None = None, *, asking: bool = False
    ) -> asyncio.Future[Any]:
        """Queue any other command; `text` packs it with the script's text, should the server not know it.

        `asking` tells a node of a cluster that it was named by the one that still owns the slot.
        """
        self._enter()
        waiter: asyncio.Future[Any] = self._loop.create_future()
        self._open.clear()  # what is asked later must not travel earlier
        self._add(Single(self._loop.time(), name, text, waiter, asking))
        self._count += 1
        return waiter

    async def close(self) -> None:
        """Close for good; whoever still waits is told so."""
        self._closed = True
        self._fail_all(StoreUnavailable("the store is closed"))
        await self._end(self._writer)
        # The reader ends last: redis-py, interrupted while it reads, closes at once and waits for nobody.
        await self._disconnect(nowait=False)
        await self._end(self._reader)

    @staticmethod
    async def _end(task: asyncio.Task[None] | None) -> None:
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _enter(self) -> None:
        if not self.circuit.closed:
            self.circuit.enter()
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._count >= MOST_QUEUED:
            raise StoreUnavailable(f"{MOST_QUEUED} decisions are waiting already; nothing was charged")

    def _add(self, entry: Batch | Single) -> None:
        self._queue.append(entry)
        if self._wake is not None:
            self._wake_writer()
        elif self._writer is None or self._writer.done():
            self._writer = self._loop.create_task(self._write())
        if self._timer is None:
            self._timer = self._loop.call_later(self._budget, self._watch, _GRACE_TURNS)

    async def _write(self) -> None:
        try:
            while not self._closed:
                while not self._queue or self._barrier is not None:
                    self._wake = self._loop.create_future()
                    await self._wake
                    self._wake = None
                if self._connection is None and not await self._open_connection():
                    continue
                if self._queue:
                    await self._send()
        finally:
            self._wake = None
            self._fail_all(StoreUnavailable("the event loop is closing"))
            if not self._closed:  # else it is for `close`, which has time to wait
                await self._disconnect()

    async def _send(self) -> None:
        """Write what is queued, one full batch to a turn: the server works on it while the next is packed."""
        entries: list[Batch | Single] = []
        while self._queue:
            entry = self._queue.popleft()
            entries.append(entry)
            if isinstance(entry, Batch):
                if self._open.get(entry.kind) is entry:
                    del self._open[entry.kind]
                if len(entry.asks) >= MOST:
                    break
        self._sent += entries
        try:
            commands = [entry.command(self._pack) for entry in entries]
            await self._connection.send_packed_command(commands, False)
        except (RedisError, OSError) as error:
            await self._lost(error)
        if self._queue:
            await asyncio.sleep(0)

    async def _open_connection(self) -> bool:
        connection = None
        try:
            async with asyncio.timeout(self._budget):
                connection = await self._connect()
                await connection.connect()
                greet, self._greet = self._greet, None
                if greet is not None:
                    await greet(self, connection)
        except (RedisError, OSError, TimeoutError) as error:
            if connection is not None:
                await connection.disconnect(nowait=True)
            reason = f"cannot connect: {line_of(error)}"
            self.circuit.failed(reason)
            self._fail_all(StoreUnavailable(f"{reason}; nothing was charged"))
            return False
        except BaseException:
            if connection is not None:
                await connection.disconnect(nowait=True)
            raise
        self._connection = connection
        self._reader = self._loop.create_task(self._read(connection))
        return True

    async def _read(self, connection: Any) -> None:
        try:
            while connection is self._connection:
                try:
                    reply = await connection.read_response(True)
                except ResponseError as error:
                    if not self._refused(error):
                        return
                    continue
                if self._sent and self._acknowledged(self._sent[0]):
                    continue
                if not self._sent:
                    await self._lost(RedisError("a reply that nobody asked for"))
                    return
                entry = self._sent.popleft()
                self._pass(entry)
                self._settle(entry)
                entry.answer(reply)
                if not self.circuit.closed:
                    self.circuit.answered()
        except (RedisError, OSError) as error:
            if connection is self._connection:
                await self._lost(error)

    def _acknowledged(self, entry: Batch | Single) -> bool:
        """Whether this was only the answer to ASKING, and the reply proper is still to come."""
        if isinstance(entry, Single) and entry.asking:
            entry.asking = False
            return True
        return False

    def _refused(self, error: ResponseError) -> bool:
        """The server answered with an error; say whether the connection is still good."""
        entry = self._sent.popleft()
        self._pass(entry)
        code = code_of(error)
        if not self.circuit.closed:
            self.circuit.answered()
        if code == "NOSCRIPT" and not entry.by_text:
            entry.by_text = True
            if isinstance(entry, Single):
                entry.asking = entry.asked
            self._requeue(entry)
            return True
        self._settle(entry)
        if code in REDIRECTS:
            entry.fail(error)
        else:
            entry.fail(StoreUnavailable(f"{explained(error)}; nothing was charged"))
        if code in GOES_AWAY:
            self._later(self._lost(error))
            return False
        return True

    def _requeue(self, entry: Batch | Single) -> None:
        """Ask again, before what was asked later: it was not executed."""
        place = 0
        while place < len(self._queue) and self._queue[place].by_text:
            place += 1
        self._queue.insert(place, entry)
        self._barrier = self._sent[-1] if self._sent else None
        self._wake_writer()

    def _wake_writer(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _pass(self, entry: Batch | Single) -> None:
        """An entry was answered: it holds nothing up any more."""
        if self._barrier is entry:
            self._barrier = None
            self._wake_writer()

    def _settle(self, entry: Batch | Single) -> None:
        self._count -= len(entry.asks) if isinstance(entry, Batch) else 1

    async def _lost(self, error: BaseException) -> None:
        """The connection is gone: what was sent may have been done; what is queued waits for the next one."""
        told = "; whether it was charged is unknown"
        if code_of(error) in GOES_AWAY:
            told = f": {explained(error)}"
        failure = StoreUnavailable(f"connection lost: {line_of(error)}{told}")
        while self._sent:
            entry = self._sent.popleft()
            self._settle(entry)
            entry.fail(failure)
        await self._disconnect()

    def _watch(self, turns: int) -> None:
        """Look after the oldest entry: fail everything when it is too late."""
        oldest = self._sent[0] if self._sent else self._queue[0] if self._queue else None
        if oldest is None:
            self._timer = None
            return
        left = oldest.since + self._budget - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._watch, _GRACE_TURNS)
        elif turns:
            self._loop.call_soon(self._watch, turns - 1)
        else:
            self._timer = None
            reason = f"no answer within {self._budget * 1000:.0f} ms"
            self.circuit.failed(reason)
            self._fail_all(StoreUnavailable(f"{reason}; whether it was charged is unknown"))
            self._later(self._disconnect())

    def _fail_all(self, error: Exception) -> None:
        for entries in (self._sent, self._queue):
            while entries:
                entry = entries.popleft()
                self._settle(entry)
                entry.fail(error)
        self._open.clear()

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _disconnect(self, *, nowait: bool = True) -> None:
        connection, self._connection = self._connection, None
        self._barrier = None
        self._wake_writer()
        if connection is not None:
            with suppress(TimeoutError):  # TLS takes leave of the server, which may be gone
                async with asyncio.timeout(self._budget):
                    await connection.disconnect(nowait=nowait)
