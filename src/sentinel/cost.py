"""What a limiter cost at each load, and the verdict that follows; measuring is `costing`'s business."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sentinel.exit_codes import ExitCode
from sentinel.overhead import ANSWERS, Answer, Overhead, State

_ENOUGH = 0.25  # refused of what one caller asked: at that share more time gives refusals enough


class Pressed(NamedTuple):
    """Count what was asked in the name of the one caller who is kept over its limit, beside the measured."""

    asked: int
    refused: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Cost:
    """Hold what the limiter cost at one load: allowed and refused requests, as far as there were enough.

    rate: requests per second. failed: those left out for want of a usable answer. requests: all that were
    measured. pressed: how the one caller was kept over its limit; None where nobody counted. short: why there
    is nothing to find though there were requests enough: too few seconds had both arms.
    """

    rate: float
    found: tuple[Overhead, ...]
    failed: int
    requests: int = 0
    pressed: Pressed | None = None
    short: str = ""


_BAD: dict[State, int] = {"within": 0, "undecided": 1, "exceeded": 2}


def worst(costs: Sequence[Cost], budget_us: float) -> tuple[Overhead, ...]:
    """Give, for allowed and for refused requests, the load that speaks against a budget most."""
    found: dict[str, Overhead] = {}

    def against(entry: Overhead) -> tuple[int, float]:
        return _BAD[entry.state(budget_us)], entry.upper_us

    for entry in (one for each in costs for one in each.found):
        if entry.answer not in found or against(entry) > against(found[entry.answer]):
            found[entry.answer] = entry
    return tuple(found.values())


def missing(costs: Sequence[Cost]) -> dict[Answer, tuple[Cost, ...]]:
    """Name the loads at which one kind of answer was too rare to be measured."""
    found = {
        answer: tuple(cost for cost in costs if all(one.answer != answer for one in cost.found))
        for answer in ANSWERS
    }
    return {answer: loads for answer, loads in found.items() if loads}


def missing_words(answer: Answer, loads: Sequence[Cost]) -> str:
    """Say what was not measured, and why.

    >>> missing_words("allowed", (Cost(200.0, (), 0), Cost(1_250.0, (), 0)))
    'allowed requests NOT MEASURED at 200, 1,250 requests/s: next to nothing was let through'
    """
    rates = ", ".join(f"{load.rate:,.0f}" for load in loads)
    why = "next to nothing was let through" if answer == "allowed" else _too_few_refusals(loads)
    return f"{answer} requests NOT MEASURED at {rates} requests/s: {why}"


def _too_few_refusals(loads: Sequence[Cost]) -> str:
    """Say what was done to be refused, what came of it, and what would help.

    >>> _too_few_refusals([Cost(200.0, (), 0, pressed=Pressed(1_750, 70, 10.0))])
    'of 175 requests/s in the name of one caller 4% were refused; choose a --path with a lower limit'
    """
    pressed = [load.pressed for load in loads if load.pressed is not None]
    asked, seconds = sum(one.asked for one in pressed), sum(one.seconds for one in pressed)
    if not asked or not seconds:
        return "too few were refused"
    share = sum(one.refused for one in pressed) / asked
    remedy = "choose a --path with a lower limit" if share < _ENOUGH else "give it a longer --duration"
    return (
        f"of {asked / seconds:,.0f} requests/s in the name of one caller {share:.0%} were refused; {remedy}"
    )


def conclude(costs: Sequence[Cost], budget_us: float, *, stopped: bool = False) -> tuple[ExitCode, str]:
    """Conclude an experiment in one sentence.

    What is shown to exceed the budget fails. Nothing passes that was stopped, or where an interval reaches
    from inside the budget to beyond it, or where allowed or refused requests were too few to tell at any
    load, or came in too few of the seconds, as on a starved machine: it is VOID, and says how far the budget
    held.
    """
    found = worst(costs, budget_us)
    states = {entry.state(budget_us) for entry in found}
    parts = [
        f"{entry.answer} {entry.median.value_us:+.0f} µs at the median, at worst {entry.upper_us:+.0f} µs"
        for entry in found
    ]
    budget = f"the budget of {budget_words(budget_us)}"
    if "exceeded" in states:
        early = ", on an experiment that was stopped early" if stopped else ""
        return ExitCode.CHECK_FAILED, f"FAILED: not within {budget}: {'; '.join(parts)}{early}"
    if stopped:
        word = "too noisy to tell from" if "undecided" in states else "within"
        so_far = f"; so far {word} {budget}: {'; '.join(parts)}" if parts else ""
        return ExitCode.VOID, f"PARTIAL, not judged: the experiment was stopped{so_far}"
    short = [f"at {entry.rate:,.0f} requests/s {entry.short}" for entry in costs if entry.short]
    if short:
        return ExitCode.VOID, f"VOID: {'; '.join(short)}: give it a longer --duration, or a quieter machine"
    if not any(entry.answer == "allowed" for entry in found):
        failed = sum(entry.failed for entry in costs)
        return (
            ExitCode.VOID,
            f"VOID: too few requests were let through to tell ({failed} had no usable answer)",
        )
    if "undecided" in states:
        unclear = [entry.verdict(budget_us) for entry in found if entry.state(budget_us) == "undecided"]
        words = "; ".join(unclear)
        return ExitCode.VOID, f"VOID: {words}; give it a longer --duration, or a quieter machine"
    unknown = [missing_words(answer, loads) for answer, loads in missing(costs).items()]
    if unknown:
        return ExitCode.VOID, f"VOID: {'; '.join(unknown)}; else within {budget}: {'; '.join(parts)}"
    return ExitCode.PASS, f"PASSED: within {budget}: {'; '.join(parts)}"


def budget_words(budget_us: float) -> str:
    """Write a budget for a reader.

    >>> budget_words(5_000), budget_words(1)
    ('5 ms', '1 µs')
    """
    return f"{budget_us / 1e3:g} ms" if budget_us >= 100 else f"{budget_us:g} µs"
