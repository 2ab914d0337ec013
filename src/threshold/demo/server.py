"""Server: one uvicorn in a process of its own, on a port the system chose, ended by its pid."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from types import TracebackType

_PATIENCE_S = 20.0


class Server:
    """Run an app factory of this package under a real uvicorn while the `with` block lasts.

    Args:
        factory: "module:function" that builds the app.
        environment: variables for the server's processes.
        workers: worker processes, 1 to 64.
        port: port on 127.0.0.1; 0 lets the system choose.

    Raises:
        RuntimeError: when the server does not answer within 20 s.
    """

    def __init__(self, factory: str, environment: dict[str, str], *, workers: int = 1, port: int = 0) -> None:
        self._factory = factory
        self._environment = environment
        self._workers = workers
        self._wanted = port
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._wanted))
        self.port = listener.getsockname()[1]
        descriptor = listener.fileno()
        self._process = subprocess.Popen(
            [
                sys.executable,
                *("-m", "uvicorn", "--factory", self._factory),
                *("--fd", str(descriptor), "--workers", str(self._workers)),
                *("--no-access-log", "--no-proxy-headers", "--log-level", "warning"),
            ],
            env={**os.environ, **self._environment},
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
        )
        listener.close()
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End the server's processes and wait for them."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait(self) -> None:
        """Wait until the server answers."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended with exit code {self._process.returncode}")
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
            try:
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.05)
            finally:
                connection.close()
        raise RuntimeError(f"the server did not answer within {_PATIENCE_S:.0f} s")
