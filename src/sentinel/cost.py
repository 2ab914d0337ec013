"""What a limiter cost at each load, and the verdict that follows; measuring is `costing`'s business."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sentinel.exit_codes import ExitCode
from sentinel.overhead import ANSWERS, Answer, Overhead


@dataclass(frozen=True, slots=True)
class Cost:
    """Hold what the limiter cost at one load: allowed and refused requests, as far as there were enough.

    rate: requests per second. failed: those left out for want of a usable answer. requests: all that were
    measured.
    """

    rate: float
    found: tuple[Overhead, ...]
    failed: int
    requests: int = 0


def worst(costs: Sequence[Cost]) -> tuple[Overhead, ...]:
    """Give, for allowed and for refused requests, the load at which the evidence allows the most."""
    found: dict[str, Overhead] = {}
    for entry in (one for each in costs for one in each.found):
        if entry.answer not in found or entry.upper_us > found[entry.answer].upper_us:
            found[entry.answer] = entry
    return tuple(found.values())


def missing(costs: Sequence[Cost]) -> dict[Answer, tuple[float, ...]]:
    """Name the loads, in requests per second, at which one kind of answer was too rare to be measured."""
    found = {
        answer: tuple(cost.rate for cost in costs if all(one.answer != answer for one in cost.found))
        for answer in ANSWERS
    }
    return {answer: rates for answer, rates in found.items() if rates}


def missing_words(answer: Answer, rates: Sequence[float]) -> str:
    """Say what was not measured, and why.

    >>> missing_words("refused", (200.0, 1_250.0))
    'refused requests NOT MEASURED at 200, 1,250 requests/s: the limiter refused next to nothing'
    """
    why = "the limiter refused next to nothing" if answer == "refused" else "next to nothing was let through"
    return (
        f"{answer} requests NOT MEASURED at {', '.join(f'{rate:,.0f}' for rate in rates)} requests/s: {why}"
    )


def conclude(costs: Sequence[Cost], budget_us: float, *, stopped: bool = False) -> tuple[ExitCode, str]:
    """Conclude an experiment in one sentence.

    What is not inside the budget fails. Nothing passes that was stopped, or where allowed or refused
    requests were too few to tell at any load: it is VOID, and says how far the budget held.
    """
    found = worst(costs)
    parts = [
        f"{entry.answer} {entry.median.value_us:+.0f} µs at the median, at worst {entry.upper_us:+.0f} µs"
        for entry in found
    ]
    budget = f"the budget of {budget_words(budget_us)}"
    if not all(entry.within(budget_us) for entry in found):
        early = ", on an experiment that was stopped early" if stopped else ""
        return ExitCode.CHECK_FAILED, f"FAILED: not within {budget}: {'; '.join(parts)}{early}"
    if stopped:
        so_far = f"; so far within {budget}: {'; '.join(parts)}" if parts else ""
        return ExitCode.VOID, f"PARTIAL, not judged: the experiment was stopped{so_far}"
    if not any(entry.answer == "allowed" for entry in found):
        failed = sum(entry.failed for entry in costs)
        return (
            ExitCode.VOID,
            f"VOID: too few requests were let through to tell ({failed} had no usable answer)",
        )
    unknown = [missing_words(answer, rates) for answer, rates in missing(costs).items()]
    if unknown:
        return ExitCode.VOID, f"VOID: {'; '.join(unknown)}; else within {budget}: {'; '.join(parts)}"
    return ExitCode.PASS, f"PASSED: within {budget}: {'; '.join(parts)}"


def budget_words(budget_us: float) -> str:
    """Write a budget for a reader.

    >>> budget_words(5_000), budget_words(1)
    ('5 ms', '1 µs')
    """
    return f"{budget_us / 1e3:g} ms" if budget_us >= 100 else f"{budget_us:g} µs"
