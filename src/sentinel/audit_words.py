"""What an audit comes to, in words: the verdict's sentence, and how strong the proof is.

Words only; what was proven is handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Literal

from sentinel.announcements import Block
from sentinel.audit_plan import BACK_AND_FORTH, BOUNDARIES, LeftOut
from sentinel.findings import Finding
from sentinel.observations import ADMITTED, REFUSED, UNKNOWN, Observations
from sentinel.promise import Promise, Window

State = Literal["kept", "broken", "void", "partial"]

LATE_MS = 50.0
MOST_UNKNOWN = 0.05
_FAULTS: Mapping[str, str] = {
    "over-admission": "requests admitted over the limit",
    "wrong-refusal": "requests refused that were owed an admission",
    "retry-after": "Retry-After answers that did not hold",
    "lost-penalty": "admissions inside a penalty that was announced",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """Hold what a sentence about an audit rests on.

    `tested` and `left_out` name acts; `skipped` counts those tested
    whose waits were skipped. `blocks` are the penalties that were announced, None where none are judged.
    """

    promise: Promise
    seen: Observations
    findings: tuple[Finding, ...]
    control: bool
    control_refused: bool
    unusable: tuple[tuple[int, int], ...]
    tested: tuple[str, ...]
    skipped: int
    left_out: tuple[LeftOut, ...]
    stopped: bool
    needed_s: int | None
    blocks: tuple[Block, ...] | None = None

    @property
    def unclear(self) -> bool:
        """Tell whether too many requests had no answer that tells what the limiter said."""
        return self.seen.count(UNKNOWN) > MOST_UNKNOWN * len(self.seen)

    @property
    def untested_penalties(self) -> str:
        """Say why no penalty was tested although penalties are judged; nothing where one was."""
        if self.blocks is None or any(f.examined for f in self.findings if f.proof == "lost-penalty"):
            return ""
        if not self.blocks:
            return "no penalty was announced"
        return f"{_penalties(len(self.blocks))} announced, but nothing was sent during any of them"

    @property
    def decisive(self) -> bool:
        """Tell whether an act ran that the algorithm is chosen for, so that a coarser one would have shown.

        A sliding window differs from a fixed one around boundaries only; a bucket from a counter by what it
        gives back as time passes.
        """
        acts = BOUNDARIES if isinstance(self.promise, Window) else BACK_AND_FORTH
        return any(name in acts for name in self.tested)


def sentence(state: State, facts: Facts) -> str:
    """Say what an audit comes to."""
    seen = facts.seen
    total = f"{len(seen):,} requests, {seen.count(REFUSED):,} refused"
    if facts.skipped:
        total += f"; waits skipped in {facts.skipped} of {len(facts.tested)} acts"
    if state == "broken":
        faults = ", ".join(f"{f.proven} {_FAULTS[f.proof]}" for f in facts.findings if not f.held)
        early = ", on an audit that was stopped early" if facts.stopped else ""
        return f"BROKEN: proven are {faults} ({total}){early}"
    if state == "partial":
        return f"PARTIAL, not judged: the audit was stopped; nothing proven so far ({total})"
    if state == "void":
        return f"VOID: {_doubt(facts, total)}"
    if facts.left_out:
        missing = _missing(facts)
        return f"KEPT as far as tested: nothing proven against the limit ({total}); not tested: {missing}"
    return f"KEPT: nothing proven against the limit ({total})"


def _doubt(facts: Facts, total: str) -> str:
    """Say why an audit proves nothing; the plainest reason goes first."""
    unknown, answers = sum(count for _, count in facts.unusable), statuses(facts.unusable)
    if facts.control and not facts.control_refused and unknown:
        lost = f"{unknown:,} of {len(facts.seen):,} requests had no usable answer ({answers})"
        return f"the positive control was not refused, and {lost}"
    if not facts.control:
        return f"the positive control did not fit, so nothing is known to be limited ({total})"
    if not facts.control_refused:
        return f"the positive control was not refused: nothing shows that this limit is in force ({total})"
    if facts.decisive and facts.untested_penalties and not facts.unclear:
        return f"nothing proven against the limit ({total}), but {facts.untested_penalties}"
    if facts.decisive:
        return f"{unknown:,} of {len(facts.seen):,} requests had no usable answer ({answers})"
    kind = "a fixed window would pass as well" if isinstance(facts.promise, Window) else "any counter would"
    return f"nothing proven as far as tested ({total}), but {kind}; not tested: {_missing(facts)}"


def statuses(unusable: Iterable[tuple[int, int]]) -> str:
    """Name statuses and how often each came.

    >>> statuses([(404, 12), (0, 3)])
    '404: 12, no answer: 3'
    """
    return ", ".join(f"{status or 'no answer'}: {count:,}" for status, count in unusable)


def untold(unusable: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """Say how many answers did not tell what the limiter said.

    >>> untold([(404, 12)])
    ('answers: 12 do not tell whether the limiter let a request through (404: 12)',)
    """
    total = sum(count for _, count in unusable)
    words = f"answers: {total:,} do not tell whether the limiter let a request through ({statuses(unusable)})"
    return (words,) if total else ()


def _missing(facts: Facts) -> str:
    """Name the acts that were left out, the steady loads by their number, and what it takes to have them."""
    names = [left.name for left in facts.left_out if not left.name.startswith("steady-")]
    steady = len(facts.left_out) - len(names)
    words = ", ".join(
        [*names, *([f"{steady} steady loads" if steady > 1 else "1 steady load"] if steady else [])]
    )
    if facts.needed_s is None:
        return words
    return f"{words} (needs --duration {_duration(facts.needed_s)})"


def _duration(seconds: int) -> str:
    return f"{seconds // 60}m" if seconds % 60 == 0 else f"{seconds}s"


def strength(
    promise: Promise, seen: Observations, over: Finding, wrong: Finding | None, again: Finding
) -> tuple[str, ...]:
    """Say how small a fault would have been proven."""
    lines = []
    if over.blind is not None:
        least = floor(over.blind) + 1
        lines.append(
            f"over-admission: an excess of {least} or more in the tightest interval would have been proven"
        )
        slack = _rate_slack(promise, seen, over.blind)
        if slack is not None:
            lines.append(
                f"over-admission: so would a rate {_at_least(slack * 100)}% too high through the longest act"
            )
    if over.proven:
        lines.append(
            "over-admission: an app that lets requests through while its store is away or slow (fails open) "
            "is found so too; its log tells, and a longer time for the store, or failing closed, rules it out"
        )
    if wrong is None:
        lines.append("wrong refusals: not judged, other limits or penalties may have refused as well")
    elif wrong.blind is None:
        lines.append("wrong refusals: nothing was refused, so nothing could be proven")
    else:
        lines.append(
            f"wrong refusals: {wrong.examined} refusals judged; the sharpest would have proven a limit "
            f"{_at_least(wrong.blind)} requests or more too low"
        )
    if again.examined:
        held = again.examined - again.proven
        lines.append(f"Retry-After: waited for {again.examined} times, then admitted {held} times")
    else:
        lines.append(
            "Retry-After: not tested, no refusal could be waited for in the time allowed and with nothing "
            "else under way"
        )
    return tuple(lines)


def penalised(facts: Facts) -> tuple[str, ...]:
    """Say how many penalties were announced and what was tried during them."""
    if facts.blocks is None:
        return ()
    if facts.untested_penalties:
        return (f"penalties: {facts.untested_penalties}, so none can be said to hold",)
    tried = next(finding for finding in facts.findings if finding.proof == "lost-penalty")
    line = (
        f"penalties: {_penalties(len(facts.blocks))} announced; {tried.examined:,} requests were sent and "
        f"answered during them, {tried.proven:,} of these admitted"
    )
    return (line,)


def _penalties(count: int) -> str:
    return "1 penalty was" if count == 1 else f"{count:,} penalties were"


def _at_least(value: float) -> str:
    """Round up to two digits behind the point: a proof is never claimed for less than it holds, nor for 0."""
    return f"{max(1, ceil(value * 100)) / 100:.2f}"


def lateness(late: Mapping[str, float]) -> tuple[str, ...]:
    """Say which acts were sent late, and by how many milliseconds the worst."""
    words = "the proofs hold, but this traffic was not quite what it is named for"
    return (f"sender: late by up to {max(late.values()):.0f} ms in {', '.join(late)}; {words}",)


def skipped(acts: Sequence[str]) -> tuple[str, ...]:
    """Say which acts ran by a clock that skips the waits."""
    if not acts:
        return ()
    steady = sum(name.startswith("steady-") for name in acts)
    names = [name for name in acts if not name.startswith("steady-")]
    words = ", ".join([*names, *([f"steady loads ({steady})"] if steady else [])])
    line = (
        f"clock: waits too long for the time allowed were skipped in {words}: there the limiter was handed a "
        "clock that jumps, not its store's own"
    )
    return (line,)


def _rate_slack(promise: Promise, seen: Observations, blind: float) -> float | None:
    """Return the relative error of the rate that the longest stretch of one key would have shown."""
    admitted = seen.where(seen.outcome == ADMITTED)
    spans = (int(rows.done_ns.max() - rows.sent_ns.min()) for _, rows in admitted.by_key())
    stretch_us = max(spans, default=0) / 1e3
    if isinstance(promise, Window) and stretch_us < promise.period_us:
        return None
    promised = promise.limit * stretch_us / promise.period_us
    return (blind + 1) / promised if promised > 10 else None
