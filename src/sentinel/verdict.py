"""The verdict of a run: one sentence, one exit code, and what they rest on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sentinel.baseline import Comparison
from sentinel.checks import CheckResult
from sentinel.exit_codes import ExitCode
from sentinel.figures import length_s
from sentinel.run import RunRecord

_NAMED = 3  # criteria that a sentence names; the report lists all of them


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
    record: RunRecord,
    checks: Iterable[CheckResult] = (),
    comparison: Comparison | None = None,
    *,
    bounds: Iterable[CheckResult] = (),
) -> Verdict:
    """Conclude a run: VOID goes before everything, a failed check before a regression.

    checks: the criteria that were asked for, all of which must be judged. bounds: those that steps set on
    themselves, of which some may be left open by too few samples, but not all there is. A run that was
    stopped is not judged, except by what no later second could have mended.
    """
    asked, own = tuple(checks), tuple(bounds)
    results = (*asked, *own)
    if record.void:
        reasons = "; ".join(record.void_reasons)
        open_results = tuple(map(_unjudged, results))
        sentence = f"VOID, this run proves nothing: {reasons}"
        if record.status == "partial":
            sentence += f"; {stopped_words(record)}"
        return Verdict(ExitCode.VOID, sentence, open_results, comparison)
    if record.status == "partial":
        return _partial(record, results, comparison)
    failed = [result for result in results if result.state == "fail"]
    unknown = [result for result in asked if result.state == "not judged"]
    if failed or unknown:
        return Verdict(ExitCode.CHECK_FAILED, _failure(failed, unknown, len(results)), results, comparison)
    unjudged = [result for result in results if result.state == "not judged"]
    if unjudged and len(unjudged) == len(results):
        sentence = f"VOID, this run proves nothing: nothing could be judged: {_named(unjudged)}"
        return Verdict(ExitCode.VOID, sentence, results, comparison)
    if comparison is not None and comparison.state == "regression":
        return Verdict(ExitCode.REGRESSION, comparison.statement.capitalize(), results, comparison)
    sentence = f"PASSED: {_held(len(results) - len(unjudged))}"
    few = [result for result in results if result.few]
    if few:
        of = f"{len(few)} of them " if len(results) > 1 else ""
        sentence += f", {of}as far as so few requests tell"
    if unjudged:
        sentence += f"; {len(unjudged)} more could not be judged: {_named(unjudged)}"
    counts = record.counts()
    failed_all = sum(counts.values()) and not counts["ok"] and not counts["denied"]
    if failed_all and not results:
        what = f"no criteria were set, and not one of {sum(counts.values()):,} requests succeeded"
        return Verdict(ExitCode.VOID, f"VOID, this run proves nothing: {what}", results, comparison)
    after = f"; {comparison.statement}" if comparison is not None else ""
    return Verdict(ExitCode.PASS, f"{sentence}{after}", results, comparison)


def _held(count: int) -> str:
    if not count:
        return "no criteria were set"
    return f"all {count} criteria hold" if count > 1 else "its criterion holds"


def _unjudged(result: CheckResult) -> CheckResult:
    return replace(result, state="not judged")


def _named(results: Sequence[CheckResult]) -> str:
    words = [f"{result.criterion} ({result.detail})" for result in results[:_NAMED]]
    return "; ".join([*words, *([f"and {len(results) - _NAMED} more"] if len(results) > _NAMED else [])])


def _failure(failed: Sequence[CheckResult], unknown: Sequence[CheckResult], of: int) -> str:
    parts = []
    if failed:
        words = "; ".join(f"{result.criterion} ({result.detail})" for result in failed)
        parts.append(f"{len(failed)} of {of} criteria do not hold: {words}")
    if unknown:
        words = "; ".join(f"{result.criterion} ({result.detail})" for result in unknown)
        rest = "" if failed else f" of {of} criteria"
        parts.append(f"{len(unknown)}{rest} could not be judged: {words}")
    return f"FAILED: {'; '.join(parts)}"


def _partial(record: RunRecord, results: Sequence[CheckResult], comparison: Comparison | None) -> Verdict:
    """Judge a run that was stopped by what is certain already: nothing else, good or bad."""
    certain = [result for result in results if result.state == "fail" and result.lasting]
    shown = tuple(result if result in certain else _unjudged(result) for result in results)
    if certain:
        sentence = f"{_failure(certain, (), len(results))}, on a run that was stopped early"
        return Verdict(ExitCode.CHECK_FAILED, sentence, shown, comparison)
    held = sum(result.state == "pass" for result in results)
    far = f"; so far {held} of {len(results)} criteria held" if results else ""
    sentence = f"PARTIAL, not judged: {stopped_words(record)}{far}"
    return Verdict(ExitCode.VOID, sentence, shown, comparison)


def stopped_words(record: RunRecord) -> str:
    """Say how far a partial run came, and why no further, by the seconds that its figures are of."""
    planned, seconds = max((phase.end_s for phase in record.phases), default=0.0), length_s(record)
    reached = f"{seconds:g} of {planned:g} s" if planned >= seconds else f"{seconds:g} s"
    if record.counters.get("running"):
        return f"the run is still going on, the first {reached} are saved"
    if record.counters.get("checkpoint"):
        return f"the run was killed, only the first {reached} were saved"
    return f"the run was stopped after {reached}"
