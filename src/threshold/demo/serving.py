"""A server process of the demo: uvicorn on a listening socket it inherits.

Started by `Server` as `python -m threshold.demo.serving FACTORY DESCRIPTOR`, once per worker: they all accept
from the same socket. uvicorn's own --fd takes every inherited socket for a Unix one, which loses TCP_NODELAY.
"""

from __future__ import annotations

import socket
import sys

import uvicorn


def main(factory: str, descriptor: int) -> None:
    """Serve until told to end."""
    config = uvicorn.Config(factory, factory=True, access_log=False, proxy_headers=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
