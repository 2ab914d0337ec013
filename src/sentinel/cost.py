"""What a limiter cost at each load, and the verdict that follows; measuring is `costing`'s business."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sentinel.exit_codes import ExitCode
from sentinel.overhead import Overhead


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


def conclude(costs: Sequence[Cost], budget_us: float) -> tuple[ExitCode, str]:
    """Conclude an experiment in one sentence: VOID when too little was let through, else by the budget."""
    found = worst(costs)
    if not any(entry.answer == "allowed" for entry in found):
        failed = sum(entry.failed for entry in costs)
        return (
            ExitCode.VOID,
            f"VOID: too few requests were let through to tell ({failed} had no usable answer)",
        )
    well = all(entry.within(budget_us) for entry in found)
    parts = [
        f"{entry.answer} {entry.median.value_us:+.0f} µs at the median, at worst {entry.upper_us:+.0f} µs"
        for entry in found
    ]
    if all(entry.answer == "allowed" for entry in found):
        parts.append("refused not measured, the limiter refused next to nothing")
    word = "PASSED: within" if well else "FAILED: not within"
    sentence = f"{word} the budget of {budget_us / 1e3:g} ms: {'; '.join(parts)}"
    return ExitCode.PASS if well else ExitCode.CHECK_FAILED, sentence
