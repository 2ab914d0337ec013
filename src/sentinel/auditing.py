"""One audit from a promise and a driver: plan, send everything, judge."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from sentinel.audit import AuditResult, Row, evaluate
from sentinel.audit_plan import plan_audit
from sentinel.audit_run import run_audit
from sentinel.drivers.driver import Driver, Request
from sentinel.probe import Probe
from sentinel.promise import ClockTrust, Promise
from sentinel.quiet import quiet
from sentinel.runner import new_loop
from sentinel.waker import Waker
from sentinel.witness import Witness

BEGINS_IN_S = 0.05  # run_audit sends nothing earlier


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """Set how an audit is made; see `plan_audit` and `evaluate` for ranges.

    single_key: the target tells callers apart no further. fresh: no key was used before. judge_refusals: no
    other limit or penalty refuses. seed: of the random spacings. witness: believes the instants of decision
    that the target tells and signs, and insists on them.
    """

    budget_s: float = 60.0
    max_rate: float = 2_000.0
    max_requests: int = 100_000
    single_key: bool = False
    fresh: bool = True
    judge_refusals: bool = True
    clock: ClockTrust | None = None
    seed: int = 0
    witness: Witness | None = None


def audit(
    promise: Promise,
    driver: Driver,
    request: Callable[[str], Request],
    settings: AuditSettings,
    progress: Callable[[int, int], None] | None = None,
) -> AuditResult:
    """Audit whatever the driver leads to, and wait for it; raise TargetError when it cannot be reached.

    Ctrl-C ends it at once with KeyboardInterrupt: half an audit proves nothing.
    """
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_audit(promise, driver, request, settings, progress))


async def _audit(
    promise: Promise,
    driver: Driver,
    request: Callable[[str], Request],
    settings: AuditSettings,
    progress: Callable[[int, int], None] | None,
) -> AuditResult:
    await driver.open()
    try:
        plan = plan_audit(
            promise,
            budget_s=settings.budget_s,
            max_rate=settings.max_rate,
            max_requests=settings.max_requests,
            seed=settings.seed,
            wall_s=time.time() + BEGINS_IN_S,
            single_key="only" if settings.single_key else None,
        )
        witness = settings.witness
        probe = Probe(driver, request, narrow=None if witness is None else witness.narrow)
        prefix = f"audit-{secrets.token_hex(4)}/"
        if witness is not None:
            await probe(prefix + "witness")  # so that a wrong secret is known before the traffic
            witness.check()
        with quiet(), Waker() as wake:
            rows = await run_audit(plan, probe, key_prefix=prefix, wake=wake, progress=progress)
    finally:
        await driver.close()
    doubtful: list[Row] = [("sent twice", key.removeprefix(prefix), seen) for key, seen in probe.doubtful]
    result = evaluate(
        plan,
        (*rows, *doubtful),
        clock=settings.clock,
        judge_refusals=settings.judge_refusals,
        fresh=settings.fresh,
    )
    if witness is None:
        return result
    witness.check()
    return replace(result, strength=(*result.strength, witness.words))
