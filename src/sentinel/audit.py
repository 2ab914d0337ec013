"""Run an audit's traffic against anything that answers, and state what was proven and how strong the proof
is.

The target is a coroutine function: it is handed a key and returns an Observation. An audit whose positive
control was not refused proves nothing, and says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Literal

from sentinel.announcements import retry_after
from sentinel.audit_plan import Act, AuditPlan, LeftOut, capacity_of
from sentinel.exit_codes import ExitCode
from sentinel.findings import Finding
from sentinel.observations import ADMITTED, REFUSED, UNKNOWN, Observation, Observations
from sentinel.oracle import over_admission, wrong_refusal
from sentinel.promise import ClockTrust, Promise, Window

Send = Callable[[str], Awaitable[Observation]]
State = Literal["kept", "broken", "void"]
Row = tuple[str, str, Observation]  # act, key, what was seen

MOST_UNKNOWN = 0.05
_IN_FLIGHT = 2_000


@dataclass(frozen=True, slots=True)
class ActResult:
    """Hold what one act met and what it proves."""

    name: str
    finds: str
    requests: int
    admitted: int
    refused: int
    unknown: int
    excess: int
    wrong_refusals: int


@dataclass(frozen=True, slots=True)
class AuditResult:
    """State what an audit proved.

    `state` is "kept" when nothing was proven against the promise although it was tested, "broken" when
    something was, "void" when the audit cannot know. `strength` says in sentences how small a fault would
    have been proven.
    """

    promise: Promise
    state: State
    over_admission: Finding
    wrong_refusal: Finding | None
    retry_after: Finding
    acts: tuple[ActResult, ...]
    left_out: tuple[LeftOut, ...]
    control_refused: bool
    sentence: str
    strength: tuple[str, ...]

    @property
    def excess(self) -> int:
        """Return the number of admissions proven to be over the limit."""
        return self.over_admission.proven

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return the findings of all proofs that were made."""
        return tuple(f for f in (self.over_admission, self.wrong_refusal, self.retry_after) if f is not None)

    @property
    def exit_code(self) -> ExitCode:
        """Return what the command should exit with."""
        codes = {"kept": ExitCode.PASS, "broken": ExitCode.CHECK_FAILED, "void": ExitCode.VOID}
        return codes[self.state]


# --- running
# ---------------------------------------------------------------------------------------------------------


async def _sleep_until(instant_ns: int) -> None:
    await asyncio.sleep(max(0, instant_ns - time.monotonic_ns()) / 1e9)


async def run_audit(
    plan: AuditPlan,
    send: Send,
    *,
    key_prefix: str = "",
    clock: Callable[[], int] = time.monotonic_ns,
    wake: Callable[[int], Awaitable[None]] = _sleep_until,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Row, ...]:
    """Send a plan's traffic and return every observation with its act and key.

    Keys are `key_prefix` + the plan's: give a fresh prefix per audit, so that no key has been seen before.
    `wake` sleeps until an instant of `clock` (nanoseconds), which the observations are timed by too;
    `progress` is told (done, planned).
    """
    rows: list[Row] = []
    begun = clock() + 50_000_000
    planned = plan.requests
    under_way: set[asyncio.Task[None]] = set()

    async def one(act: str, key: str) -> Observation:
        seen = await send(key_prefix + key)
        rows.append((act, key, seen))
        if progress is not None:
            progress(len(rows), planned)
        return seen

    async def fire(act: str, key: str) -> None:
        await one(act, key)

    async def obey(act: Act, key: str) -> None:
        """Exhaust the key at once, look for a refusal with nothing beside it, wait as told, try once more."""
        await wake(begun + round(act.starts_s * 1e9))
        capacity = capacity_of(plan.promise)
        crowd = await asyncio.gather(*(one(act.name, key) for _ in range(capacity + 5)))
        waits = [seen.retry_after_s or 0.0 for seen in crowd if seen.admitted is False]
        for _ in range(act.requests - len(crowd) - 1):
            seen = await one(act.name, key)
            if seen.admitted is False:
                waits = [seen.retry_after_s or 0.0]
                break
        settled = 0.0 if not waits else max(*waits, settled_ns(plan.promise) / 1e9)
        await wake(clock() + round(settled * 1e9) + 2_000_000)
        await one(act.name, key)

    obedient = [asyncio.ensure_future(obey(act, key)) for act in plan.acts for key in act.obey]
    timeline = sorted((at, act.name, key) for act in plan.acts for at, key in act.sends)
    last = -1
    for at, act, key in timeline:
        if begun + at > clock():
            await wake(begun + at)
        elif at != last:  # late: let the others run; those of one instant start together all the same
            await asyncio.sleep(0)
        last = at
        if len(under_way) >= _IN_FLIGHT:
            await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.ensure_future(fire(act, key))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way, *obedient)
    return tuple(rows)


# --- judging
# ---------------------------------------------------------------------------------------------------------


def evaluate(
    plan: AuditPlan,
    rows: Sequence[Row],
    *,
    clock: ClockTrust | None = None,
    judge_refusals: bool = True,
    fresh: bool = True,
) -> AuditResult:
    """Judge what an audit saw.

    Set `judge_refusals` to False where penalties or other limits may refuse as well: a refusal is then no
    proof of anything. Set `fresh` to False where keys may have been used before.
    """
    trust = clock or ClockTrust()
    seen = _columns(rows)
    over = over_admission(seen, plan.promise, trust)
    wrong = wrong_refusal(seen, plan.promise, trust, fresh=fresh) if judge_refusals else None
    again = retry_after(seen, trust, settled_ns=settled_ns(plan.promise))
    by_act: dict[str, list[Row]] = {act.name: [] for act in plan.acts}
    for row in rows:
        by_act[row[0]].append(row)
    acts = tuple(
        _act_result(act, by_act[act.name], plan.promise, trust, judge_refusals and fresh) for act in plan.acts
    )
    controls = [act for act in acts if act.name == "control"]
    control_refused = any(act.refused for act in controls)
    findings = [finding for finding in (over, wrong, again) if finding is not None]
    state: State = "kept"
    if any(not finding.held for finding in findings):
        state = "broken"
    elif not control_refused or seen.count(UNKNOWN) > MOST_UNKNOWN * len(seen):
        state = "void"
    return AuditResult(
        plan.promise,
        state,
        over,
        wrong,
        again,
        acts,
        plan.left_out,
        control_refused,
        _sentence(state, seen, findings, bool(controls), control_refused),
        _strength(plan.promise, seen, over, wrong, again),
    )


def _columns(rows: Sequence[Row]) -> Observations:
    return Observations.of([key for _, key, _ in rows], [seen for _, _, seen in rows])


def settled_ns(promise: Promise) -> int:
    """Return the longest honest wait of an idle key for one admission, in nanoseconds."""
    return 1_000 * (promise.held_us if isinstance(promise, Window) else promise.wait_us)


def _act_result(act: Act, rows: list[Row], promise: Promise, clock: ClockTrust, refusals: bool) -> ActResult:
    seen = _columns(rows)
    return ActResult(
        act.name,
        act.finds,
        len(seen),
        seen.count(ADMITTED),
        seen.count(REFUSED),
        seen.count(UNKNOWN),
        over_admission(seen, promise, clock).proven,
        wrong_refusal(seen, promise, clock).proven if refusals else 0,
    )


_FAULTS: Mapping[str, str] = {
    "over-admission": "requests admitted over the limit",
    "wrong-refusal": "requests refused that were owed an admission",
    "retry-after": "Retry-After answers that did not hold",
    "lost-penalty": "admissions inside a block",
}


def _sentence(
    state: State, seen: Observations, findings: Sequence[Finding], control: bool, control_refused: bool
) -> str:
    total = f"{len(seen)} requests, {seen.count(REFUSED)} refused"
    if state == "broken":
        faults = ", ".join(f"{f.proven} {_FAULTS[f.proof]}" for f in findings if not f.held)
        return f"BROKEN: proven are {faults} ({total})"
    if state == "void":
        if not control:
            return f"VOID: the positive control did not fit, so nothing is known to be limited ({total})"
        if not control_refused:
            return f"VOID: the positive control was not refused, so nothing was limited ({total})"
        return f"VOID: {seen.count(UNKNOWN)} of {len(seen)} requests had no usable answer"
    return f"KEPT: nothing proven against the limit ({total})"


def _strength(
    promise: Promise, seen: Observations, over: Finding, wrong: Finding | None, again: Finding
) -> tuple[str, ...]:
    lines = []
    if over.blind is not None:
        least = floor(over.blind) + 1
        lines.append(
            f"over-admission: an excess of {least} or more in the tightest interval would have been proven"
        )
        slack = _rate_slack(promise, seen, over.blind)
        if slack is not None:
            lines.append(f"over-admission: so would a rate {slack:.1%} too high through the longest act")
    if wrong is None:
        lines.append("wrong refusals: not judged, other limits or penalties may have refused as well")
    elif wrong.blind is None:
        lines.append("wrong refusals: nothing was refused, so nothing could be proven")
    else:
        lines.append(
            f"wrong refusals: of {wrong.examined} refusals, one that came {wrong.blind:.2f} requests or more "
            "too early would have been proven"
        )
    if again.examined:
        lines.append(
            f"Retry-After: obeyed {again.examined} times, {again.examined - again.proven} times admitted"
        )
    else:
        lines.append("Retry-After: not tested, no refusal could be waited for with nothing else under way")
    return tuple(lines)


def _rate_slack(promise: Promise, seen: Observations, blind: float) -> float | None:
    """Return the relative error of the rate that the longest stretch of one key would have shown."""
    admitted = seen.where(seen.outcome == ADMITTED)
    spans = (int(rows.done_ns.max() - rows.sent_ns.min()) for _, rows in admitted.by_key())
    stretch_us = max(spans, default=0) / 1e3
    if isinstance(promise, Window) and stretch_us < promise.period_us:
        return None
    promised = promise.limit * stretch_us / promise.period_us
    return (blind + 1) / promised if promised > 10 else None
