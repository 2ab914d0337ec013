"""Judge what an audit saw: what was proven, how strong the proof is, and what was left out.

An audit whose positive control was not refused proves nothing, and says so. Sending is `audit_run`'s
business.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Literal

from sentinel.announcements import retry_after
from sentinel.audit_plan import Act, AuditPlan, LeftOut
from sentinel.exit_codes import ExitCode
from sentinel.findings import Finding
from sentinel.observations import ADMITTED, REFUSED, UNKNOWN, Observation, Observations
from sentinel.oracle import over_admission, wrong_refusal
from sentinel.promise import ClockTrust, Promise, Window, settled_ns

State = Literal["kept", "broken", "void"]
Row = tuple[str, str, Observation]  # act, key, what was seen

MOST_UNKNOWN = 0.05
LATE_MS = 50.0


@dataclass(frozen=True, slots=True)
class ActResult:
    """Hold what one act met and what it proves.

    `late_ms` is the 99th percentile of how late its requests were sent: behind its plan, an act is not
    quite the traffic it is named for. Proofs do not suffer, they rest on what was sent.
    """

    name: str
    finds: str
    requests: int
    admitted: int
    refused: int
    unknown: int
    excess: int
    wrong_refusals: int
    late_ms: float


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
    by_act: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_act[row[0]].append(row)
    begun = _begun(plan, by_act)
    judged = judge_refusals and fresh
    acts = tuple(_act_result(act, by_act[act.name], plan.promise, trust, judged, begun) for act in plan.acts)
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
        (*_strength(plan.promise, seen, over, wrong, again), *_lateness(acts)),
    )


def _columns(rows: Sequence[Row]) -> Observations:
    return Observations.of([key for _, key, _ in rows], [seen for _, _, seen in rows])


def _begun(plan: AuditPlan, rows: Mapping[str, list[Row]]) -> int:
    """Find the instant the plan's zero must have been: no request is sent before its time."""
    return min(
        (min(_behind(act, rows[act.name])) for act in plan.acts if act.sends and rows[act.name]), default=0
    )


def _behind(act: Act, rows: list[Row]) -> list[int]:
    """Return, request by request in order of sending, the instant it was sent less that it was planned
    for."""
    sent = sorted(seen.sent_ns if seen.left_ns is None else seen.left_ns for _, _, seen in rows)
    return [at - planned for at, (planned, _) in zip(sent, act.sends, strict=False)]


def _act_result(
    act: Act, rows: list[Row], promise: Promise, clock: ClockTrust, refusals: bool, begun: int
) -> ActResult:
    seen = _columns(rows)
    behind = sorted(_behind(act, rows))
    return ActResult(
        act.name,
        act.finds,
        len(seen),
        seen.count(ADMITTED),
        seen.count(REFUSED),
        seen.count(UNKNOWN),
        over_admission(seen, promise, clock).proven,
        wrong_refusal(seen, promise, clock).proven if refusals else 0,
        (behind[len(behind) * 99 // 100] - begun) / 1e6 if behind else 0.0,
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
            lines.append(f"over-admission: so would a rate {slack:.2%} too high through the longest act")
    if wrong is None:
        lines.append("wrong refusals: not judged, other limits or penalties may have refused as well")
    elif wrong.blind is None:
        lines.append("wrong refusals: nothing was refused, so nothing could be proven")
    else:
        lines.append(
            f"wrong refusals: {wrong.examined} refusals judged; the sharpest would have proven a limit "
            f"{max(1, ceil(wrong.blind * 100)) / 100:.2f} requests or more too low"
        )
    if again.examined:
        held = again.examined - again.proven
        lines.append(f"Retry-After: waited for {again.examined} times, then admitted {held} times")
    else:
        lines.append("Retry-After: not tested, no refusal could be waited for with nothing else under way")
    return tuple(lines)


def _lateness(acts: tuple[ActResult, ...]) -> tuple[str, ...]:
    late = [act for act in acts if act.late_ms > LATE_MS]
    if not late:
        return ()
    worst = max(late, key=lambda act: act.late_ms)
    names = ", ".join(act.name for act in late)
    words = "the proofs hold, but this traffic was not quite what it is named for"
    return (f"sender: late by up to {worst.late_ms:.0f} ms in {names}; {words}",)


def _rate_slack(promise: Promise, seen: Observations, blind: float) -> float | None:
    """Return the relative error of the rate that the longest stretch of one key would have shown."""
    admitted = seen.where(seen.outcome == ADMITTED)
    spans = (int(rows.done_ns.max() - rows.sent_ns.min()) for _, rows in admitted.by_key())
    stretch_us = max(spans, default=0) / 1e3
    if isinstance(promise, Window) and stretch_us < promise.period_us:
        return None
    promised = promise.limit * stretch_us / promise.period_us
    return (blind + 1) / promised if promised > 10 else None
