"""Judge what an audit saw: what was proven, how strong the proof is, and what was left out.

An audit whose positive control was not refused proves nothing, and says so. Sending is `audit_run`'s
business.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sentinel.announcements import lost_penalty, penalties, retry_after
from sentinel.audit_plan import Act, AuditPlan, LeftOut
from sentinel.audit_words import (
    LATE_MS,
    Facts,
    State,
    lateness,
    penalised,
    sentence,
    skipped,
    strength,
    untold,
)
from sentinel.exit_codes import ExitCode
from sentinel.findings import Finding
from sentinel.observations import ADMITTED, REFUSED, UNKNOWN, Observation, Observations
from sentinel.oracle import over_admission, wrong_refusal
from sentinel.promise import ClockTrust, Promise, settled_ns

Row = tuple[str, str, Observation]  # act, key, what was seen


@dataclass(frozen=True, slots=True)
class ActResult:
    """Hold what one act met and what it proves.

    `late_ms` is the 99th percentile of how late its requests were sent: behind its plan, an act is not
    quite the traffic it is named for. Proofs do not suffer, they rest on what was sent. `waits_skipped`: the
    limiter was handed a clock that skips the waits, so that hours passed in seconds.
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
    waits_skipped: bool = False


@dataclass(frozen=True, slots=True)
class AuditResult:
    """State what an audit proved.

    `state` is "kept" when nothing was proven against the promise although it was tested, "broken" when
    something was, "void" when the audit cannot know, "partial" when it was stopped before anything was.
    `strength` says in sentences how small a fault would have been proven. `unusable` counts, by status (0: no
    answer), the answers that do not tell whether the limiter let a request through. `requests` counts
    those of all acts, and the one that was asked before them.
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
    unusable: tuple[tuple[int, int], ...] = ()
    stopped: bool = False
    lost_penalty: Finding | None = None
    requests: int = 0

    @property
    def excess(self) -> int:
        """Return the number of admissions proven to be over the limit."""
        return self.over_admission.proven

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return the findings of all proofs that were made."""
        made = (self.over_admission, self.wrong_refusal, self.retry_after, self.lost_penalty)
        return tuple(finding for finding in made if finding is not None)

    @property
    def exit_code(self) -> ExitCode:
        """Return what the command should exit with."""
        codes = {"kept": ExitCode.PASS, "broken": ExitCode.CHECK_FAILED}
        return codes.get(self.state, ExitCode.VOID)


# ---------------------------------------------------------------------------------------------------------


def evaluate(
    plan: AuditPlan,
    rows: Sequence[Row],
    *,
    clock: ClockTrust | None = None,
    judge_refusals: bool = True,
    judge_penalties: bool = False,
    fresh: bool = True,
    skipping: tuple[AuditPlan, Sequence[Row]] | None = None,
    stopped: bool = False,
    needed_s: int | None = None,
) -> AuditResult:
    """Judge what an audit saw.

    Set `judge_refusals` to False where penalties or other limits may refuse as well: a refusal is then no
    proof of anything. Set `judge_penalties` where a Retry-After beyond all that the promise can owe announces
    a penalty: none may be cut short, refusals are not judged either, and where none could be tested the audit
    is void. Set `fresh` to False where keys may have been used before. `skipping` is what was sent
    by a clock that skips waits, of the acts the plan has no room for. `stopped` says that the rows are not
    all there would have been, `needed_s` how many seconds would have room for what was left out.
    """
    trust, promise = clock or ClockTrust(), plan.promise
    passes = [(plan, rows), *([skipping] if skipping is not None else [])]
    seen = _columns([row for _, some in passes for row in some])
    over = over_admission(seen, promise, trust)
    judge_refusals = judge_refusals and not judge_penalties
    wrong = wrong_refusal(seen, promise, trust, fresh=fresh) if judge_refusals else None
    # Whoever may be punished for asking again is owed no more than what the last answer alone announced.
    again = retry_after(seen, trust, settled_ns=None if judge_penalties else settled_ns(promise))
    blocks = penalties(seen, promise, trust) if judge_penalties else ()
    lost = lost_penalty(seen, blocks, trust) if judge_penalties else None
    acts: list[ActResult] = []
    for number, (planned, sent) in enumerate(passes):
        acts += _act_results(planned, sent, trust, judge_refusals and fresh, waits_skipped=number > 0)
    controls = [act for act in acts if act.name == "control"]
    facts = Facts(
        promise,
        seen,
        tuple(finding for finding in (over, wrong, again, lost) if finding is not None),
        control=bool(controls),
        control_refused=any(act.refused for act in controls),
        unusable=_unusable(passes),
        tested=tuple(act.name for act in acts if act.requests),
        skipped=sum(act.waits_skipped and act.requests > 0 for act in acts),
        left_out=passes[-1][0].left_out,
        stopped=stopped,
        needed_s=needed_s,
        blocks=blocks if judge_penalties else None,
    )
    state = _state(facts)
    return AuditResult(
        promise,
        state,
        over,
        wrong,
        again,
        tuple(acts),
        facts.left_out,
        facts.control_refused,
        sentence(state, facts),
        (
            *strength(promise, seen, over, wrong, again),
            *penalised(facts),
            *untold(facts.unusable),
            *_lateness(acts),
            *skipped([act.name for act in acts if act.waits_skipped]),
        ),
        facts.unusable,
        stopped,
        lost,
        len(seen),
    )


def _state(facts: Facts) -> State:
    if any(not finding.held for finding in facts.findings):
        return "broken"
    if facts.stopped:
        return "partial"
    doubtful = facts.unclear or not facts.control_refused or not facts.decisive or facts.untested_penalties
    return "void" if doubtful else "kept"


def _unusable(passes: Sequence[tuple[AuditPlan, Sequence[Row]]]) -> tuple[tuple[int, int], ...]:
    """Count the answers that tell nothing, by status, most frequent first."""
    planned = {act.name for plan, _ in passes for act in plan.acts}
    counts = Counter(
        seen.status for _, rows in passes for act, _, seen in rows if seen.admitted is None and act in planned
    )
    return tuple(counts.most_common())


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


def _act_results(
    plan: AuditPlan, rows: Sequence[Row], clock: ClockTrust, refusals: bool, *, waits_skipped: bool
) -> list[ActResult]:
    by_act: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_act[row[0]].append(row)
    begun = _begun(plan, by_act)
    found = []
    for act in plan.acts:
        seen, behind = _columns(by_act[act.name]), sorted(_behind(act, by_act[act.name]))
        found.append(
            ActResult(
                act.name,
                act.finds,
                len(seen),
                seen.count(ADMITTED),
                seen.count(REFUSED),
                seen.count(UNKNOWN),
                over_admission(seen, plan.promise, clock).proven,
                wrong_refusal(seen, plan.promise, clock).proven if refusals else 0,
                (behind[len(behind) * 99 // 100] - begun) / 1e6 if behind else 0.0,
                waits_skipped,
            )
        )
    return found


def _lateness(acts: Sequence[ActResult]) -> tuple[str, ...]:
    late = {act.name: act.late_ms for act in acts if act.late_ms > LATE_MS}
    return lateness(late) if late else ()
