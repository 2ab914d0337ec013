"""A probe sees through every driver what a bystander would, and an audit runs on it."""

from __future__ import annotations

import asyncio
import time

import pytest

from sentinel.audit import AuditResult, evaluate
from sentinel.audit_plan import plan_audit
from sentinel.audit_run import run_audit
from sentinel.drivers.asgi import AsgiDriver
from sentinel.drivers.driver import Done, Headers, Request, Response
from sentinel.drivers.limiter import LimiterDriver
from sentinel.observations import Observation
from sentinel.probe import Probe
from sentinel.promise import Window
from threshold import Limiter, MemoryStore, SlidingWindow


def for_key(key: str) -> Request:
    return Request("GET", "/api", headers=Headers([("x-key", key)]), key=key)


class Scripted:
    """Answer what the script says, in order, and count retries as told."""

    def __init__(self, *script: tuple[int, int]) -> None:
        self.counters = {"retries": 0}
        self._script = list(script)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def send(self, request: Request, done: Done) -> None:
        status, retries = self._script.pop(0)
        self.counters["retries"] += retries
        done(Response(status, [(b"Retry-After", b"7")], b"", time.monotonic_ns()))


def ask(probe: Probe, times: int) -> list[Observation]:
    async def main() -> list[Observation]:
        return [await probe("ann") for _ in range(times)]

    return asyncio.run(main())


def test_statuses_become_admitted_refused_or_unknown() -> None:
    probe = Probe(Scripted((200, 0), (404, 0), (429, 0), (503, 0), (0, 0)), for_key)
    seen = ask(probe, 5)
    assert [row.admitted for row in seen] == [True, None, False, None, None]
    assert [row.retry_after_s for row in seen] == [None, None, 7.0, None, None]
    assert all(row.sent_ns <= row.done_ns for row in seen)
    other = Probe(Scripted((503, 0), (404, 0), (200, 0)), for_key, admitted={404}, refused={503})
    assert [row.admitted for row in ask(other, 3)] == [False, True, None]


def test_a_request_the_driver_sent_twice_may_have_cost_two_admissions() -> None:
    probe = Probe(Scripted((200, 1), (429, 0)), for_key)
    rows = [("act", "ann", row) for row in ask(probe, 2)]
    assert len(probe.doubtful) == 1 and probe.doubtful[0][1].admitted is None
    plan = plan_audit(Window(2, 60_000_000), budget_s=3)
    accused = evaluate(plan, rows).wrong_refusal
    spared = evaluate(plan, [*rows, *(("act", key, seen) for key, seen in probe.doubtful)]).wrong_refusal
    assert accused is not None and accused.proven == 1
    assert spared is not None and spared.held


@pytest.mark.parametrize("through", ["limiter", "asgi"])
def test_a_short_audit_in_real_time_passes_the_products_limiter_through_each_driver(through: str) -> None:
    limiter = Limiter(SlidingWindow("8 per 1 second", precision=10), MemoryStore())

    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        if scope["type"] != "http":
            raise RuntimeError("no lifespan here")
        key = dict(scope["headers"])[b"x-key"].decode()  # type: ignore[call-overload]
        decision = limiter.acquire(key)
        headers = [] if decision.allowed else [(b"retry-after", b"2")]
        await send(
            {"type": "http.response.start", "status": 200 if decision.allowed else 429, "headers": headers}
        )  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    driver = LimiterDriver(limiter.acquire) if through == "limiter" else AsgiDriver(app)  # type: ignore[arg-type]

    async def main() -> AuditResult:
        await driver.open()
        try:
            plan = plan_audit(Window(8, 1_000_000, 10), budget_s=2.0, wall_s=time.time() + 0.05)
            probe = Probe(driver, for_key)
            rows = await run_audit(plan, probe, key_prefix=f"{through}/")
            return evaluate(plan, [*rows, *(("control", key, seen) for key, seen in probe.doubtful)])
        finally:
            await driver.close()

    result = asyncio.run(main())
    assert result.state == "kept", result.sentence
    assert result.control_refused and {"control", "barrier", "many-keys"} <= {act.name for act in result.acts}
