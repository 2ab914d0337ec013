"""A server that does next to nothing, fast: run as a script, it prints its address and serves until ended.

That is its port on the loopback interface, or the path of a socket with --unix PATH. With --freeze-ms N it
stands still for N milliseconds once every second. It keeps to plain system calls: the answers after a stall
come one after another, and what each takes is added to the stall that is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import selectors
import socket
import time

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: text/plain\r\n\r\nok"


def accept(listening: socket.socket) -> socket.socket:
    connection, _ = listening.accept()
    connection.setblocking(False)
    if connection.family == socket.AF_INET:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def answer(number: int) -> bool:
    """Answer whatever ends like a request without a body; tell whether the connection goes on."""
    try:
        data = os.read(number, 4096)
        if data.endswith(b"\r\n\r\n"):
            os.write(number, ANSWER)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return bool(data)


def serve(listening: socket.socket, freeze_s: float) -> None:
    gc.disable()  # a pause of its own making would look like the one it was asked for
    listening.setblocking(False)
    poll = selectors.DefaultSelector()
    poll.register(listening, selectors.EVENT_READ)
    connections: dict[int, socket.socket] = {}
    due = time.monotonic() + 0.5
    while True:
        for key, _ in poll.select(max(0.0, due - time.monotonic())):
            if key.fd in connections:
                if not answer(key.fd):
                    poll.unregister(key.fd)
                    connections.pop(key.fd).close()
                continue
            with contextlib.suppress(OSError):
                connection = accept(listening)
                connections[connection.fileno()] = connection
                poll.register(connection.fileno(), selectors.EVENT_READ)
        if time.monotonic() >= due:
            time.sleep(freeze_s)
            due += 1


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--freeze-ms", type=float, default=0)
    arguments.add_argument("--unix")
    told = arguments.parse_args()
    if told.unix:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(told.unix)
        listening.listen(4096)
        print(told.unix, flush=True)
    else:
        listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
        print(listening.getsockname()[1], flush=True)
    serve(listening, told.freeze_ms / 1000)


if __name__ == "__main__":
    main()
