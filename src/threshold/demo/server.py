"""Server: uvicorn in processes of its own, on a port the system chose, ended by their pids."""

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
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Server:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._wanted))
        self.port = listener.getsockname()[1]
        arguments = [self._factory, str(listener.fileno())]
        for _ in range(self._workers):
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "threshold.demo.serving", *arguments],
                    env={**os.environ, **self._environment},
                    pass_fds=[listener.fileno()],
                    stdin=subprocess.PIPE,  # never written to: its end tells that this process is gone
                )
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
        processes, self._processes = self._processes, []
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()

    def _wait(self) -> None:
        """Wait until the server answers."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            for process in self._processes:
                if process.poll() is not None:
                    raise RuntimeError(f"the server ended with exit code {process.returncode}")
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
