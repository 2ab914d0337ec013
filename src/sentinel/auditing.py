"""One audit from a promise and a driver: plan, send everything, judge."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace

from sentinel.audit import AuditResult, Row, evaluate
from sentinel.audit_plan import ENDLESS_S, AuditPlan, plan_audit, seconds_needed
from sentinel.audit_run import Send, run_audit
from sentinel.drivers.driver import Driver, Request
from sentinel.errors import ConfigurationError
from sentinel.probe import ADMITTED, Probe
from sentinel.promise import ClockTrust, Promise
from sentinel.quiet import quiet
from sentinel.runner import new_loop
from sentinel.skipping_clock import SkippingClock
from sentinel.stopping import stoppable
from sentinel.waker import Waker
from sentinel.witness import Witness

BEGINS_IN_NS = 100_000_000  # the plan is made for an instant that lies ahead, or boundaries would be missed
SKIPPING_PER_S = 2_000  # what a slow store bears where every request waits for the one before it
FEWEST_REQUESTS = 1_000


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """Set how an audit is made; see `plan_audit` and `evaluate` for ranges.

    single_key: the target tells callers apart no further. fresh: no key was used before. judge_refusals: no
    other limit or penalty refuses. judge_penalties: waits beyond all that the promise can owe announce
    penalties. seed: of the random spacings. witness: believes the instants of decision
    that the target tells and signs, and insists on them. admitted: the statuses that only a request gets
    which the limiter let through.
    """

    budget_s: float = 60.0
    max_rate: float = 2_000.0
    max_requests: int = 100_000
    single_key: bool = False
    fresh: bool = True
    judge_refusals: bool = True
    judge_penalties: bool = False
    clock: ClockTrust | None = None
    seed: int = 0
    witness: Witness | None = None
    admitted: Collection[int] = ADMITTED


def audit(
    promise: Promise,
    driver: Driver,
    request: Callable[[str], Request],
    settings: AuditSettings,
    progress: Callable[[int, int], None] | None = None,
    again: Callable[[Callable[[], int]], Driver] | None = None,
) -> AuditResult:
    """Audit whatever the driver leads to, and wait for it; raise TargetError when it cannot be reached.

    `again` makes another driver to the same kind of limiter by a clock it is handed, in microseconds: acts
    whose waits do not fit the time allowed are then made there, with the waits skipped. The first Ctrl-C (or
    SIGTERM, or the end of the terminal) ends it with what is proven so far, the second one at once. Raises
    ConfigurationError where the first answer does not tell whether the limiter let the request through.
    """
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_Audit(promise, request, settings, progress).of(driver, again))


class _Audit:
    """One audit: the acts in real time, then those that only fit where waits are skipped."""

    def __init__(
        self,
        promise: Promise,
        request: Callable[[str], Request],
        settings: AuditSettings,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._promise = promise
        self._request = request
        self._settings = settings
        self._progress = progress
        self._stop = asyncio.Event()
        self._prefix = f"audit-{secrets.token_hex(4)}/"
        self._key = "only" if settings.single_key else None

    async def of(self, driver: Driver, again: Callable[[Callable[[], int]], Driver] | None) -> AuditResult:
        settings, witness = self._settings, self._settings.witness
        with stoppable(self._stop.set):
            await driver.open()
            try:
                probe = self._probe(driver)
                rows = await self._first(probe)
                with quiet(), Waker() as wake:
                    begins_ns = time.monotonic_ns() + BEGINS_IN_NS
                    plan = self._plan(
                        settings.budget_s, settings.max_requests, time.time() + BEGINS_IN_NS / 1e9
                    )
                    rows += await self._send(plan, probe, time.monotonic_ns, wake, begins_ns)
                rows += self._doubtful(probe)
            finally:
                await driver.close()
            missing = {left.name for left in plan.left_out}
            skipping = None
            if again is not None and missing and not self._stop.is_set():
                skipping = await self._skipping(again, missing, settings.budget_s - plan.seconds)
        missing = {left.name for left in (skipping[0] if skipping is not None else plan).left_out}
        result = evaluate(
            plan,
            rows,
            clock=settings.clock,
            judge_refusals=settings.judge_refusals,
            judge_penalties=settings.judge_penalties,
            fresh=settings.fresh,
            skipping=skipping,
            stopped=self._stop.is_set(),
            needed_s=self._needed(missing, skips=again is not None) if missing else None,
        )
        if witness is None:
            return result
        witness.check()
        return replace(result, strength=(*result.strength, witness.words))

    def _plan(
        self, budget_s: float, max_requests: int, wall_s: float, only: Collection[str] | None = None
    ) -> AuditPlan:
        return plan_audit(
            self._promise,
            budget_s=budget_s,
            max_requests=max_requests,
            wall_s=wall_s,
            only=only,
            max_rate=self._settings.max_rate,
            seed=self._settings.seed,
            single_key=self._key,
        )

    def _probe(self, driver: Driver) -> Probe:
        witness = self._settings.witness
        narrow = None if witness is None else witness.narrow
        return Probe(driver, self._request, admitted=self._settings.admitted, narrow=narrow)

    async def _first(self, probe: Probe) -> list[Row]:
        """Ask once, so that a wrong path or a wrong secret is known before the traffic."""
        key = self._key or "first"
        seen = await probe(self._prefix + key)
        if seen.admitted is None and 0 < seen.status < 500:
            raise ConfigurationError(
                f"the target answers {seen.status}, which does not tell whether its limiter let the request "
                "through; choose a --path that answers 2xx, or say which statuses do: "
                f"--admitted {seen.status}"
            )
        if self._settings.witness is not None:
            self._settings.witness.check()
        return [("first", key, seen)]

    async def _send(
        self,
        plan: AuditPlan,
        send: Send,
        clock: Callable[[], int],
        wake: Callable[[int], Awaitable[None]],
        begins_ns: int,
    ) -> list[Row]:
        rows = await run_audit(
            plan,
            send,
            key_prefix=self._prefix,
            clock=clock,
            wake=wake,
            progress=self._progress,
            stop=self._stop,
            begins_ns=begins_ns,
        )
        return [*rows]

    async def _skipping(
        self, again: Callable[[Callable[[], int]], Driver], missing: Collection[str], left_s: float
    ) -> tuple[AuditPlan, list[Row]] | None:
        """Make acts that are missing by a clock that skips waits, as many as the time left has room for."""
        clock = SkippingClock()
        most = max(FEWEST_REQUESTS, min(self._settings.max_requests, round(left_s * SKIPPING_PER_S)))
        driver = again(clock.us)
        await driver.open()
        try:
            with quiet():
                begins_ns = clock.ns() + BEGINS_IN_NS
                plan = self._plan(ENDLESS_S, most, begins_ns / 1e9, missing)
                timed = clock.timed(self._probe(driver))
                return plan, await self._send(plan, timed, clock.ns, clock.wake, begins_ns)
        finally:
            await driver.close()

    def _needed(self, missing: Collection[str], *, skips: bool) -> int | None:
        return seconds_needed(
            self._promise,
            missing,
            max_rate=self._settings.max_rate,
            max_requests=self._settings.max_requests,
            single_key=self._key,
            skipping_per_s=SKIPPING_PER_S if skips else 0,
        )

    def _doubtful(self, probe: Probe) -> list[Row]:
        return [("sent twice", key.removeprefix(self._prefix), seen) for key, seen in probe.doubtful]
