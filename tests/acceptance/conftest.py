"""Real servers on this machine: uvicorn in a thread, gunicorn in a process, each on an address of its own."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import uvicorn


@pytest.fixture(scope="session")
def whole_demo(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str] | None]:
    """Begin the demo, if it is to be tested: it waits for most of its 20 s, so the audits begin it early."""
    if not any(item.path.name == "test_the_demo.py" for item in request.session.items):
        yield None
        return
    command = [sys.executable, "-m", "threshold.cli", "demo", "--json", "--pairs", "200"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.terminate()


@contextmanager
def serving(app: Any, **options: Any) -> Iterator[int]:
    """Serve an ASGI app with uvicorn on a port of its own; yield the port."""
    options = {"log_level": "error", "proxy_headers": False, "timeout_graceful_shutdown": 1, **options}
    server = uvicorn.Server(uvicorn.Config(app, **options))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        assert server.started
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
        assert not thread.is_alive()


def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Look again and again until the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


class UnixConnection(HTTPConnection):
    """An HTTP connection over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def listens(path: str) -> bool:
    """Whether somebody accepts connections there: between bind() and listen() a socket only exists."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        return trial.connect_ex(path) == 0


@contextmanager
def gunicorn(source: str, directory: Path, *arguments: str, **environment: str) -> Iterator[str]:
    """Serve `app` of a Python source with gunicorn on a unix socket of its own; yield the socket's path.

    `environment` is added to that of this process. The source may use TOKEN, which proves that the server
    that answers is the one started here.
    """
    token = secrets.token_hex(8)
    (directory / "served.py").write_text(f"TOKEN = {token!r}\n{source}")
    path = str(directory / "gunicorn.sock")
    command = [sys.executable, "-m", "gunicorn", "-b", f"unix:{path}", *arguments, "served:app"]
    log = directory / "gunicorn.log"
    with log.open("wb") as output:
        told = {**os.environ, **environment}
        process = subprocess.Popen(command, cwd=directory, env=told, stdout=output, stderr=output)
    try:
        until(lambda: process.poll() is not None or listens(path))
        connection = UnixConnection(path)
        connection.request("GET", "/token")
        assert connection.getresponse().read().decode() == token, log.read_text()
        connection.close()
        yield path
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def uvicorn_server() -> Iterator[Callable[..., int]]:
    """Serve ASGI apps until the test ends; returns the port."""
    with ExitStack() as stack:
        yield lambda app, **options: stack.enter_context(serving(app, **options))


@pytest.fixture(scope="session")
def gunicorn_command() -> Callable[..., Any]:
    """Serve a WSGI source in a folder while a `with` block lasts."""
    return gunicorn


@pytest.fixture
def gunicorn_server(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Serve a WSGI source until the test ends; returns the path of its unix socket."""
    with ExitStack() as stack:
        yield lambda source, *arguments: stack.enter_context(gunicorn(source, tmp_path, *arguments))


@pytest.fixture
def unix_connection() -> type[UnixConnection]:
    """An HTTP connection over a unix socket."""
    return UnixConnection


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Wait for a condition of another thread or process."""
    return until
