"""Over TLS: the same decisions, and nobody is trusted whom the certificate does not vouch for."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis

from threshold import StoreUnavailable, TokenBucket
from threshold.plan import Plan, Rule
from threshold.stores.redis import AsyncRedisStore, RedisStore

from .servers import Server, free_port, valkey_binary

_RULE = Rule.of("user", "user", TokenBucket("3/hour"))
_PLAN = Plan((_RULE,), ("ann",), group="ann")
_PATIENT = 5.0


def _has_tls(binary: str) -> bool:
    """Whether the server was built with TLS. Without a certificate it ends at once in any case."""
    command = [binary, "--port", "0", "--tls-port", str(free_port()), "--bind", "127.0.0.1"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return "tls-cert-file" in told.stdout + told.stderr


class TlsServer(Server):
    """A server with a certificate of its own for 127.0.0.1, and a TLS port beside its unix socket."""

    def __init__(self, binary: str) -> None:
        super().__init__(binary)
        self.tls_port = free_port()
        self.certificate = self.folder / "certificate.pem"
        key = self.folder / "key.pem"
        request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        request += [
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=threshold-test",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ]
        request += ["-keyout", str(key), "-out", str(self.certificate)]
        subprocess.run(request, check=True, capture_output=True, timeout=20)
        self._options = (
            *("--tls-port", str(self.tls_port), "--tls-auth-clients", "no"),
            *("--tls-cert-file", str(self.certificate), "--tls-key-file", str(key)),
        )

    def tls_url(self, authority: Path | None) -> str:
        """The URL to reach it over TLS, trusting this certificate; None: those of the system."""
        trusted = "" if authority is None else f"?ssl_ca_certs={quote(str(authority), safe='')}"
        return f"rediss://127.0.0.1:{self.tls_port}/0{trusted}"


@pytest.fixture(scope="module")
def tls_server() -> Iterator[TlsServer]:
    found = (shutil.which("redis-server"), shutil.which("valkey-server"), valkey_binary())
    binary = next((each for each in found if each is not None and _has_tls(each)), None)
    if binary is None or shutil.which("openssl") is None:
        pytest.skip("needs a Redis or Valkey server built with TLS on the PATH, and openssl")
    with TlsServer(binary) as server:
        yield server


def test_decides_refunds_and_resets_over_tls(tls_server: TlsServer) -> None:
    store = RedisStore(tls_server.tls_url(tls_server.certificate), budget=_PATIENT, prefix="tls-sync")
    outcomes = [store.decide(_PLAN) for _ in range(4)]
    assert [outcome.allowed for outcome in outcomes] == [True, True, True, False]
    store.refund(_PLAN, outcomes[2].at)
    store.reset(_PLAN.keys)
    assert store.decide(_PLAN).found[0][1] == 2
    store.close()
    with tls_server.client() as client:
        assert client.keys("tls-sync:*"), "it was this server that counted"


def sockets() -> set[str]:
    """Those that this process has open."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return {name for link in links if (name := link.readlink().name).startswith("socket:")}


def test_decides_over_tls_with_asyncio_many_at_once_and_leaves_nothing_open(tls_server: TlsServer) -> None:
    async def run() -> list[bool]:
        before = sockets()
        url = tls_server.tls_url(tls_server.certificate)
        store = AsyncRedisStore(url, budget=_PATIENT, prefix="tls-async")
        outcomes = await asyncio.gather(*(store.decide(_PLAN) for _ in range(50)))
        own = sockets() - before
        assert own
        await store.aclose()
        assert not own & sockets(), "the server took its leave, and the socket is closed"
        return [outcome.allowed for outcome in outcomes]

    assert sum(asyncio.run(run())) == 3


def test_a_client_that_brings_its_own_tls_settings_keeps_them(tls_server: TlsServer) -> None:
    url = tls_server.tls_url(tls_server.certificate)
    client = redis.Redis.from_url(url, retry=None, socket_timeout=_PATIENT)
    store = RedisStore(client, budget=_PATIENT, prefix="tls-own")
    assert store.decide(_PLAN).allowed
    store.close()
    client.close()


def test_a_server_that_no_authority_vouches_for_is_not_asked(tls_server: TlsServer) -> None:
    store = RedisStore(tls_server.tls_url(None), budget=_PATIENT, prefix="tls-bad")
    with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
        store.decide(_PLAN)
    store.close()
