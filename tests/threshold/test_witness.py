"""A witness tells when the store decided, signed, and leaves everything else as it was."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from threshold import Caller, ConfigurationError, Limiter, MemoryStore, Policy, Threshold, TokenBucket
from threshold.asgi import ThresholdMiddleware as AsgiMiddleware
from threshold.plan import Outcome, Plan
from threshold.testing import Witness
from threshold.testing import witness as module
from threshold.wsgi import ThresholdMiddleware as WsgiMiddleware

SECRET = "known to nobody else"
POLICY = Policy(edge=TokenBucket("2/hour", burst=2))


class Awaited(MemoryStore):
    """A store that is awaited, for want of a server."""

    asynchronous = True

    async def decide(self, plan: Plan) -> Outcome:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().decide(plan)

    async def aclose(self) -> None:
        self.close()


def believed(told: str, begun: int) -> bool:
    begin, end, signature = told.split(";")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    expected = hmac.new(SECRET.encode(), f"{begin};{end};{boot}".encode(), "sha256").hexdigest()
    return signature == expected and begun <= int(begin) <= int(end) <= time.monotonic_ns()


async def ok(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})
    await send({"type": "http.response.body", "body": b"fine"})


def ask(app: Any, path: str = "/") -> tuple[int, dict[str, str]]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "client": ("10.0.0.1", 1)}
    asyncio.run(app(scope, None, send))
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


@pytest.mark.parametrize("awaited", [False, True])
def test_every_decision_behind_asgi_is_told_and_signed(awaited: bool) -> None:
    witness = Witness(SECRET)
    store: Any = witness.async_store(Awaited()) if awaited else witness.store(MemoryStore())  # type: ignore[arg-type]
    app = witness.asgi(AsgiMiddleware(ok, policy=POLICY, store=store))
    for status in (200, 200, 429, 429):
        begun = time.monotonic_ns()
        got, headers = ask(app)
        assert got == status and believed(headers["threshold-decided"], begun)
        assert ("x-own" in headers) is (status == 200) and "ratelimit" in headers


def test_every_decision_behind_wsgi_is_told_and_signed() -> None:
    witness = Witness(SECRET)

    def plain(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("X-Own", "1")])
        return [b"fine"]

    app = witness.wsgi(WsgiMiddleware(plain, policy=POLICY, store=witness.store(MemoryStore())))
    for status in ("200 OK", "200 OK", "429 Too Many Requests"):
        begun, heads = time.monotonic_ns(), []
        app(
            {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "REMOTE_ADDR": "10.0.0.1"},
            lambda *head, heads=heads: heads.append(head),
        )
        assert heads[0][0] == status and believed(dict(heads[0][1])["Threshold-Decided"], begun)


def test_where_the_store_was_not_asked_nothing_is_told() -> None:
    witness = Witness(SECRET)
    assert "threshold-decided" not in ask(witness.asgi(ok))[1]
    seen = []

    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    asyncio.run(witness.asgi(lifespan)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert seen == ["lifespan"]


def test_a_witnessed_store_is_a_store_with_or_without_an_app_around_it() -> None:
    store = Witness(SECRET).store(MemoryStore())
    guard = Threshold(POLICY, store=store)
    assert [guard.check(Caller(address="10.0.0.1")).status for _ in range(3)] == [200, 200, 429]
    limiter = Limiter(TokenBucket("1/hour", burst=1), store)
    assert [limiter.acquire("ann").allowed for _ in range(2)] == [True, False]
    limiter.reset("ann")
    assert limiter.peek("ann").allowed and limiter.acquire("ann").allowed
    store.close()


def test_a_short_secret_or_a_system_without_a_boot_id_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="at least 16 characters"):
        Witness("short")
    monkeypatch.setattr(module, "_BOOT_ID", tmp_path / "none")
    with pytest.raises(ConfigurationError, match="needs Linux"):
        Witness(SECRET)
