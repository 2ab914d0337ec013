"""The verdict of a run: one sentence, one exit code, and what they rest on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sentinel.baseline import Comparison
from sentinel.checks import CheckResult
from sentinel.exit_codes import ExitCode
from sentinel.run import RunRecord


@dataclass(frozen=True, slots=True)
class Verdict:
    """Hold the outcome of a run."""

    exit_code: ExitCode
    sentence: str
    checks: tuple[CheckResult, ...] = ()
    comparison: Comparison | None = None

    @property
    def passed(self) -> bool:
        """Tell whether the run passed."""
        return self.exit_code is ExitCode.PASS


def conclude(
    record: RunRecord, checks: Iterable[CheckResult] = (), comparison: Comparison | None = None
) -> Verdict:
    """Conclude a run: VOID goes before everything, a failed check before a regression."""
    results = tuple(checks)
    failed = [result for result in results if not result.passed]
    if record.void:
        reasons = "; ".join(record.void_reasons)
        return Verdict(ExitCode.VOID, f"VOID, this run proves nothing: {reasons}", results, comparison)
    if failed:
        words = "; ".join(f"{result.criterion} ({result.detail})" for result in failed)
        sentence = f"FAILED: {len(failed)} of {len(results)} criteria do not hold: {words}"
        return Verdict(ExitCode.CHECK_FAILED, sentence, results, comparison)
    if comparison is not None and comparison.state == "regression":
        return Verdict(ExitCode.REGRESSION, comparison.statement.capitalize(), results, comparison)
    held = (
        f"all {len(results)} criteria hold"
        if len(results) > 1
        else "its criterion holds"
        if results
        else "no criteria were set"
    )
    partial = ", on a run that was stopped early" if record.status == "partial" else ""
    after = f"; {comparison.statement}" if comparison is not None else ""
    return Verdict(ExitCode.PASS, f"PASSED: {held}{partial}{after}", results, comparison)
