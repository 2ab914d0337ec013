"""A server that does as little as HTTP allows, so that a generator is what a benchmark measures.

It takes every request to be one without a body, and looks at nothing but where they end. Run as a script it
prints its port and serves; GET /count tells how many requests it has answered, and its CPU seconds so far.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import cast

ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 17\r\ncontent-type: application/json\r\n\r\n" + b'{"message": "ok"}'
)
END = b"\r\n\r\n"


class Answering(asyncio.Protocol):
    __slots__ = ("rest", "socket", "transport")
    answered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.socket = transport.get_extra_info("socket").fileno()
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data = self.rest + data
        ended = data.count(END)
        self.rest = b"" if data.endswith(END) else data[data.rfind(END) + 4 :] if ended else data
        if data.startswith(b"GET /count "):
            body = b"%d %f" % (Answering.answered, time.process_time())
            self.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        elif ended:
            Answering.answered += ended
            self.write(ANSWER * ended)

    def write(self, data: bytes) -> None:
        """Hand it to the kernel at once; only what does not fit there waits for the loop."""
        try:
            written = os.write(self.socket, data)
        except BlockingIOError:
            written = 0
        except OSError:
            return  # the client is gone
        if written < len(data):
            self.transport.write(data[written:])


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
