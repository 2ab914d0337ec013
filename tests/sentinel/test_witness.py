"""Told instants of decision are believed only when they can be true, and make a single token provable."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from sentinel import witness as module
from sentinel.auditing import AuditSettings, audit
from sentinel.drivers.asgi import AsgiDriver
from sentinel.drivers.driver import Headers, Request, Response
from sentinel.errors import ConfigurationError
from sentinel.observations import Observation, Observations
from sentinel.oracle import over_admission, wrong_refusal
from sentinel.promise import Bucket
from sentinel.witness import FIELD, Witness
from threshold import MemoryStore, Policy, TokenBucket
from threshold.asgi import ThresholdMiddleware
from threshold.testing import Witness as TheirWitness

SECRET = "known to nobody else"
SEEN = Observation(1_000, 9_000, True, None, 200)


def answer(field: str | None) -> Response:
    headers = [] if field is None else [(FIELD.encode(), field.encode())]
    return Response(200, headers, b"", 9_000)


def test_what_is_signed_and_possible_is_believed() -> None:
    witness = Witness(SECRET)
    closer = witness.narrow(SEEN, answer(witness.sign(2_000, 3_000)))
    assert (closer.sent_ns, closer.done_ns, closer.left_ns) == (2_000, 3_000, 1_000)
    assert witness.narrow(SEEN, answer(None)) == SEEN
    witness.check()
    assert "decided 1 of 2 requests, each to within 1 µs" in witness.words


@pytest.mark.parametrize(
    "field",
    [
        Witness("another secret, as long").sign(2_000, 3_000),
        Witness(SECRET, boot="another machine").sign(2_000, 3_000),
        Witness(SECRET).sign(2_000, 3_000).replace("3000;", "4000;"),
        Witness(SECRET).sign(2_000, 3_000).upper(),
        Witness(SECRET).sign(999, 3_000),
        Witness(SECRET).sign(2_000, 9_001),
        Witness(SECRET).sign(3_000, 2_000),
        "", "1", "1;2", "1;2;", "²;3;x", f"{'9' * 5_000};1;x",
    ],
)  # fmt: skip
def test_what_is_forged_foreign_or_impossible_is_not(field: str) -> None:
    witness = Witness(SECRET)
    assert witness.narrow(SEEN, answer(field)) == SEEN and witness.refused == 1
    with pytest.raises(ConfigurationError, match="not signed by this witness secret on this boot"):
        witness.check()


def test_nothing_told_a_short_secret_and_an_unknown_boot_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="no answer carries a threshold-decided field"):
        Witness(SECRET).check()
    with pytest.raises(ConfigurationError, match="witness secret has 5 characters"):
        Witness("short")
    monkeypatch.setattr(module, "_BOOT_ID", module._BOOT_ID / "none")
    with pytest.raises(ConfigurationError, match="only known to be one on Linux"):
        Witness(SECRET)


def history(burst: int, seed: int) -> list[tuple[Observation, Response]]:
    """Drive a bucket of 100/s, each answer 30 to 80 ms after its decision, and sign when it decided."""
    rng, witness = random.Random(seed), Witness(SECRET)
    tokens, last, rows = float(burst), 10**9, []
    for _ in range(400):
        now = last + rng.choice((0, 500_000, 4_000_000, 12_000_000))
        tokens, last = min(burst, tokens + (now - last) / 10_000_000), now
        tokens -= (admitted := tokens >= 1)
        seen = Observation(now - rng.randrange(900, 10**6), now + rng.randrange(30, 80) * 10**6, admitted)
        field = witness.sign(now - rng.randrange(1, 900), now + rng.randrange(1, 900))
        rows.append((seen, answer(field)))
    return rows


@pytest.mark.parametrize("seed", range(20))
def test_one_token_too_many_or_too_few_is_proven_and_nothing_else(seed: int) -> None:
    promise = Bucket(100, 1_000_000, burst=10)
    for burst, faults in ((10, (0, 0)), (11, (1, 0)), (9, (0, 1))):
        witness, rows = Witness(SECRET), history(burst, seed)
        far, near = (
            Observations.of(["ann"] * len(rows), seen)
            for seen in ([seen for seen, _ in rows], [witness.narrow(*row) for row in rows])
        )
        proven = over_admission(near, promise).proven, wrong_refusal(near, promise).proven
        assert tuple(min(one, 1) for one in proven) == faults
        assert over_admission(far, promise).proven == 0, "hidden by slow answers"
        assert witness.narrowed == len(rows)


def served(burst: int, *, secret: str = SECRET) -> AsgiDriver:
    """Guard an app that takes its time by a bucket of 100/s, with a witness."""

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await asyncio.sleep(0.05)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    witness = TheirWitness(secret)
    policy = Policy(edge=TokenBucket("100/second", burst=burst))
    guarded: Any = ThresholdMiddleware(slow, policy=policy, store=witness.store(MemoryStore()))
    return AsgiDriver(witness.asgi(guarded))  # type: ignore[arg-type]


def keyed() -> Callable[[str], Request]:
    known: dict[str, str] = {}

    def request(key: str) -> Request:
        address = known.setdefault(key, f"10.1.{len(known) // 250}.{len(known) % 250}")
        return Request("GET", "/", Headers(), Headers(), b"", address)

    return request


def test_an_audit_proves_one_token_too_many_behind_slow_answers_only_with_a_witness() -> None:
    promise, short = Bucket(100, 1_000_000, burst=20), AuditSettings(budget_s=2.5, max_rate=1_000)
    blind = audit(promise, served(21), keyed(), short)
    assert blind.state == "kept", "nothing can be proven from outside"
    believing = AuditSettings(budget_s=2.5, max_rate=1_000, witness=Witness(SECRET))
    found = audit(promise, served(21), keyed(), believing)
    assert found.state == "broken" and found.over_admission.proven >= 1
    assert "signed when it decided" in found.strength[-1] or "sender" in found.strength[-1]
    honest = AuditSettings(budget_s=2.5, max_rate=1_000, witness=Witness(SECRET))
    kept = audit(promise, served(20), keyed(), honest)
    assert kept.state == "kept" and kept.over_admission.examined > 100
    assert kept.over_admission.blind is not None and kept.over_admission.blind < 1


def test_a_target_with_another_secret_is_refused_before_the_traffic() -> None:
    settings = AuditSettings(budget_s=60, witness=Witness(SECRET))
    with pytest.raises(ConfigurationError, match="not signed by this witness secret"):
        audit(
            Bucket(100, 1_000_000, burst=20), served(20, secret="something else entirely"), keyed(), settings
        )
