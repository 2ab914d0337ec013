"""What a run, an audit or an overhead experiment had to pass, as a flat list of cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sentinel.audit import AuditResult
from sentinel.checks import State
from sentinel.exit_codes import ExitCode
from sentinel.overhead import Overhead
from sentinel.overhead import State as CostState
from sentinel.report.document import Report
from sentinel.report.parts import promise_words
from sentinel.verdict import stopped_words

Status = Literal["passed", "failed", "skipped"]
_CHECKS: dict[State, Status] = {"pass": "passed", "fail": "failed", "not judged": "skipped"}

_COSTS: dict[CostState, Status] = {"within": "passed", "exceeded": "failed", "undecided": "skipped"}


@dataclass(frozen=True, slots=True)
class Case:
    """Hold one thing that had to hold: its group, its name, how it went, and the evidence."""

    group: str
    name: str
    status: Status
    detail: str


def run_cases(report: Report) -> tuple[Case, ...]:
    """List the cases of a run: that it proves anything, its criteria, its comparison, its audit and
    overhead."""
    verdict = report.verdict
    checks = tuple(
        Case("check", str(result.criterion), _CHECKS[result.state], result.detail)
        for result in verdict.checks
    )
    compared: tuple[Case, ...] = ()
    if verdict.comparison is not None:
        state = verdict.comparison.state
        status: Status = {"regression": "failed", "undecided": "skipped"}.get(state, "passed")  # type: ignore[assignment]
        compared = (Case("comparison", "is no regression", status, verdict.comparison.statement),)
    audited = () if report.audit is None else audit_cases(report.audit)
    costs = () if report.budget_us is None else overhead_cases(report.overhead, report.budget_us)
    return (*_validity(report), *checks, *compared, *audited, *costs)


def _validity(report: Report) -> tuple[Case, ...]:
    """Say whether the run proves anything: it was made as planned, ran to its end, and could be judged; and
    by which model, where stalls are under-reported."""
    record, verdict = report.record, report.verdict
    undecided = verdict.exit_code is ExitCode.VOID and not record.void and record.status == "complete"
    reasons = "; ".join(record.void_reasons) or (verdict.sentence if undecided else "")
    closed = "".join(f"; {note}" for note in report.analysis.notes if note.startswith("closed model"))
    valid = Case("run", "is valid", "failed" if reasons else "passed", f"{reasons or 'not void'}{closed}")
    left = [note for note in report.analysis.notes if note.startswith("left behind")]
    told = (Case("run", "removed what it created", "skipped", "; ".join(left)),) if left else ()
    if record.status == "partial":
        return (valid, Case("run", "ran to its end", "failed", stopped_words(record)), *told)
    return (valid, *told)


def audit_cases(result: AuditResult) -> tuple[Case, ...]:
    """List the cases of an audit: its control, each proof, and what was left out."""
    words = promise_words(result.promise)
    control = "refused, as it must be" if result.control_refused else "not refused: nothing was limited"
    proofs = []
    for finding in result.findings:
        worst = "; ".join(f"{a.key}: {a.statement}" for a in finding.accusations[:3])
        status: Status = "failed" if not finding.held else "passed" if finding.examined else "skipped"
        detail = worst or f"nothing proven over {finding.examined} requests"
        proofs.append(Case("audit", f"no {finding.proof} proven against {words}", status, detail))
    left = (Case("audit", f"act {left.name}", "skipped", left.reason) for left in result.left_out)
    return (
        Case("audit", "positive control", "passed" if result.control_refused else "failed", control),
        *proofs,
        *left,
    )


def overhead_cases(found: Sequence[Overhead], budget_us: float) -> tuple[Case, ...]:
    """List the cases of an overhead experiment: each kind of answer within its budget."""
    return tuple(
        Case(
            "overhead",
            f"{entry.answer} requests cost at most {budget_us / 1e3:g} ms",
            _COSTS[entry.state(budget_us)],
            entry.verdict(budget_us),
        )
        for entry in found
    )
