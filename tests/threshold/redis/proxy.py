"""A proxy between a store and its server: counts what goes through, and loses replies when told to."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType


class Proxy:
    """Listen on a port of loopback and forward to a server's unix socket; runs in a thread of its own."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self.port = 0
        self.drop_replies = False
        """Requests arrive, replies vanish: the server did it and nobody knows."""
        self.commands: list[bytes] = []
        """Names of the commands that came through, in order."""
        self.turns = 0
        """Times the direction turned from asking to answering: round trips."""
        self.connections = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def forget(self) -> None:
        """Count from here."""
        self.commands.clear()
        self.turns = 0

    def __enter__(self) -> Proxy:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        asking = [False]
        up_reader, up_writer = await asyncio.open_unix_connection(self._socket)
        back = asyncio.create_task(self._back(up_reader, writer, asking))
        try:
            pending = b""
            while data := await reader.read(65536):
                asking[0] = True
                pending = self._count(pending + data)
                up_writer.write(data)
                await up_writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            back.cancel()
            up_writer.close()
            writer.close()
            self._tasks.discard(task)

    async def _back(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asking: list[bool]
    ) -> None:
        try:
            while data := await reader.read(65536):
                if asking[0]:
                    asking[0] = False
                    self.turns += 1
                if not self.drop_replies:
                    writer.write(data)
                    await writer.drain()
            writer.close()
        except ConnectionError:
            pass

    def _count(self, data: bytes) -> bytes:
        """Note the commands in `data`; returns what is left of an incomplete one."""
        while data.startswith(b"*"):
            head, more, rest = data.partition(b"\r\n")
            if not more:
                return data
            name = b""
            for i in range(int(head[1:])):
                size, more, rest = rest.partition(b"\r\n")
                length = int(size[1:]) if more else 0
                if not more or len(rest) < length + 2:
                    return data
                if i == 0:
                    name = rest[:length]
                rest = rest[length + 2 :]
            self.commands.append(name)
            data = rest
        return data
