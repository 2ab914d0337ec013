"""A server that does next to nothing, fast: run as a script, it prints its port and serves until it is ended.

With --freeze-ms N it stands still for N milliseconds once every second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import time

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: text/plain\r\n\r\nok"


class Answering(asyncio.Protocol):
    """Answer whatever ends like a request without a body; at once, not when the loop has read everything."""

    __slots__ = ("socket",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.socket = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):
            with contextlib.suppress(OSError):
                os.write(self.socket, ANSWER)


async def main(freeze_s: float) -> None:
    loop = asyncio.get_running_loop()
    gc.disable()  # a pause of its own making would look like the one it was asked for
    server = await loop.create_server(Answering, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    due = loop.time() + 0.5
    while True:
        await asyncio.sleep(max(0.0, due - loop.time()))
        if freeze_s:
            time.sleep(freeze_s)  # noqa: ASYNC251  # standing still is what this server is for
        due += 1


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--freeze-ms", type=float, default=0)
    uvloop.run(main(arguments.parse_args().freeze_ms / 1000))
