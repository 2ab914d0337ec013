"""Under the servers people use, with several workers: one limit for all of them together."""

from __future__ import annotations

import http.client
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from counting_apps import LIMIT
from pool_worker import LIMIT as POOL_LIMIT
from pool_worker import take

from threshold import Limiter
from threshold.stores.shared import SharedMemoryStore

_PARTS = Path(__file__).parent / "parts"
_WORKERS = 4
_GUNICORN = ["-m", "gunicorn", "--workers", str(_WORKERS), "--no-control-socket", "--log-level", "warning"]
_SERVERS = {
    "gunicorn-sync": [*_GUNICORN, "--bind", "unix:{socket}", "counting_apps:wsgi"],
    "gunicorn-sync-preload": [*_GUNICORN, "--preload", "--bind", "unix:{socket}", "counting_apps:wsgi"],
    "gunicorn-gthread": [*_GUNICORN, "--threads", "4", "--bind", "unix:{socket}", "counting_apps:wsgi"],
    "gunicorn-gthread-preload": [
        *[*_GUNICORN, "--threads", "4", "--preload"],
        *["--bind", "unix:{socket}", "counting_apps:wsgi"],
    ],
    "uvicorn": [
        *["-m", "uvicorn", "--workers", str(_WORKERS), "--log-level", "warning", "--lifespan", "on"],
        *["--fd", "{fd}", "counting_apps:asgi"],
    ],
}


class _UnixConnection(http.client.HTTPConnection):
    """A connection to the socket of the server under test, and to nothing else."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _ask(path: str, target: str) -> tuple[int, int]:
    """One request on one connection: the status, and the process that answered."""
    connection = _UnixConnection(path)
    try:
        connection.request("GET", target, headers={"Connection": "close"})
        response = connection.getresponse()
        return response.status, int(response.read())
    finally:
        connection.close()


class Server:
    """A server with several workers on a unix socket of its own."""

    def __init__(self, kind: str, store: str, folder: Path) -> None:
        self.path = str(folder / "http")
        listening = socket.socket(socket.AF_UNIX)
        if kind == "uvicorn":
            listening.bind(self.path)
            listening.listen(512)
        arguments = [part.format(socket=self.path, fd=listening.fileno()) for part in _SERVERS[kind]]
        environment = {**os.environ, "STORE": store, "PYTHONPATH": str(_PARTS)}
        self.process = subprocess.Popen(
            [sys.executable, *arguments], env=environment, cwd=folder, pass_fds=[listening.fileno()]
        )
        listening.close()
        self._wait_until_all_answer()

    def _wait_until_all_answer(self) -> None:
        deadline = time.monotonic() + 60
        seen: set[int] = set()
        while len(seen) < 2:
            assert time.monotonic() < deadline and self.process.poll() is None, "the server did not start"
            try:
                seen.add(_ask(self.path, f"/warm-up-{time.monotonic_ns()}")[1])
            except OSError:
                time.sleep(0.02)

    def attempts(self, target: str, number: int) -> tuple[Counter[int], set[int]]:
        """Ask so many times from eight threads: how often each status came, and who answered."""
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: _ask(self.path, target), range(number)))
        return Counter(status for status, _ in answers), {pid for _, pid in answers}

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str, str], Server]]:
    started: list[Server] = []

    def start(kind: str, store: str) -> Server:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Server(kind, store, folder))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.mark.parametrize("kind", list(_SERVERS))
def test_all_workers_together_admit_exactly_the_limit(
    kind: str, name: str, serve: Callable[[str, str], Server]
) -> None:
    server = serve(kind, name)
    statuses, workers = server.attempts("/counted", LIMIT * 4)
    assert statuses == {200: LIMIT, 429: LIMIT * 3}
    assert len(workers) > 1


@pytest.mark.parametrize("kind", ["gunicorn-sync", "gunicorn-gthread-preload", "uvicorn"])
def test_an_app_that_names_no_store_gets_one_for_all_its_workers(
    kind: str, name: str, serve: Callable[[str, str], Server]
) -> None:
    statuses, workers = serve(kind, f"auto-{name}").attempts("/counted", LIMIT * 4)
    assert statuses == {200: LIMIT, 429: LIMIT * 3}
    assert len(workers) > 1


def test_a_store_per_process_admits_the_limit_once_for_each_worker(
    serve: Callable[[str, str], Server],
) -> None:
    """The contrast: what shared memory is for."""
    statuses, workers = serve("gunicorn-sync", "memory").attempts("/counted", LIMIT * 12)
    assert len(workers) > 1
    assert LIMIT < statuses[200] <= LIMIT * _WORKERS


def test_a_killed_worker_and_a_restart_of_the_server_forget_nothing(
    name: str, serve: Callable[[str, str], Server]
) -> None:
    first = serve("gunicorn-sync", name)
    statuses, workers = first.attempts("/counted", LIMIT // 2)
    assert statuses == {200: LIMIT // 2}
    os.kill(workers.pop(), signal.SIGKILL)
    statuses, _ = first.attempts("/counted", LIMIT // 4)
    first.stop()
    second = serve("gunicorn-gthread", name)
    again, _ = second.attempts("/counted", LIMIT)
    assert statuses[200] + again[200] == LIMIT - LIMIT // 2


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_share_a_store_that_is_handed_to_them(name: str, method: str) -> None:
    store = SharedMemoryStore(name, 1_000, timeout=20)
    context = multiprocessing.get_context(method)
    results = context.Queue()
    processes = [context.Process(target=take, args=(store, 200, results)) for _ in range(4)]
    for process in processes:
        process.start()
    admitted = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert sum(admitted) == 500
    assert not Limiter(POOL_LIMIT, store).acquire("everybody").allowed
    store.close()
