"""A server process of the demo: uvicorn on a listening socket it inherits.

Started by `Server` as `python -m threshold.demo.serving FACTORY DESCRIPTOR`, once per worker: they all accept
from the same socket. Standard input is a pipe that only its starter holds: when that is gone, however it
ended, the server ends as well. uvicorn's own --fd takes every inherited socket for a Unix one, which loses
TCP_NODELAY.
"""

from __future__ import annotations

import socket
import sys
import threading

import uvicorn


def main(factory: str, descriptor: int) -> None:
    """Serve until told to end."""
    config = uvicorn.Config(factory, factory=True, access_log=False, proxy_headers=False, log_level="warning")
    server = uvicorn.Server(config)
    threading.Thread(target=_end_with_starter, args=(server,), daemon=True).start()
    server.run(sockets=[socket.socket(fileno=descriptor)])


def _end_with_starter(server: uvicorn.Server) -> None:
    sys.stdin.buffer.read()
    server.should_exit = True


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
