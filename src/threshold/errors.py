"""The few errors threshold raises. A refusal is a value (`Decision`, `Verdict`), not an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .decision import Decision


class ThresholdError(Exception):
    """Root of every error this package raises on purpose."""


class ConfigurationError(ThresholdError, ValueError):
    """A value that cannot work, found when the object is built.

    The message names the field, the value it was given and what would be right.

    >>> print(ConfigurationError("burst", 0, "give a whole number of requests, 1 or more"))
    burst: 0 cannot work; give a whole number of requests, 1 or more
    """

    def __init__(self, field: str, value: object, remedy: str, *, source: str | None = None) -> None:
        self.field = field
        self.value = value
        self.remedy = remedy
        self.source = source
        super().__init__(field, value, remedy)

    def __str__(self) -> str:
        place = f"{self.source}: " if self.source else ""
        return f"{place}{self.field}: {_shown(self.value)} cannot work; {self.remedy}"


class RateLimited(ThresholdError):
    """Raised by `Limiter.require` when the limit refuses; carries the `Decision`."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        super().__init__(decision)

    def __str__(self) -> str:
        if self.decision.retry_after is None:
            return f"refused: the limit of {self.decision.limit} can never admit this cost"
        return f"refused: try again in {self.decision.retry_after:.3f} s"


class StoreUnavailable(ThresholdError):
    """The store could not answer within its budget; whether it charged is unknown."""


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # a whole number of more than 4,300 digits is not put in decimals
        text = "a number of thousands of digits"
    return text if len(text) <= 120 else f"{text[:117]}..."
