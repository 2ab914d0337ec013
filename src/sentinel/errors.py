"""Everything sentinel raises on purpose. Knows nothing of runs, drivers or reports."""

from __future__ import annotations


class SentinelError(Exception):
    """Be the one class that catches everything sentinel raises on purpose."""


class ConfigurationError(SentinelError, ValueError):
    """Refuse a scenario, profile or option; the message names the field, the value and the remedy."""


class TargetError(SentinelError):
    """Report a target that cannot be reached, loaded or may not be loaded with traffic."""


class TargetForbidden(TargetError):
    """Refuse a target that is not this machine and was not allowed by name."""


class RecordError(SentinelError, ValueError):
    """Refuse a stored record that is damaged or was written by a newer version."""


class NotWritten(SentinelError):
    """Report something that was asked for and could not be written; the message names the file."""


class TooFewSeconds(SentinelError, ValueError):
    """Report an experiment in which too few seconds have what is to be compared; it proves nothing."""


def check_range(field: str, value: float, low: float, high: float, unit: str = "") -> None:
    """Raise ConfigurationError unless `low <= value <= high`; NaN and infinities are never inside.

    >>> check_range("duration", 30, 1, 3600, "s")
    >>> check_range("duration", 0, 1, 3600, "s")
    Traceback (most recent call last):
    sentinel.errors.ConfigurationError: duration is 0 s; it must be between 1 and 3,600 s
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        suffix = f" {unit}" if unit else ""
        shown = f"{value}{suffix}" if number else f"the {type(value).__name__} {value!r}"
        raise ConfigurationError(f"{field} is {shown}; it must be between {low:,} and {high:,}{suffix}")


def check_whole(field: str, value: int, low: int, high: int, unit: str = "") -> None:
    """Raise ConfigurationError unless the value is a whole number and `low <= value <= high`.

    >>> check_whole("clump size", 10, 2, 100_000)
    >>> check_whole("clump size", 2.5, 2, 100_000)  # type: ignore[arg-type]
    Traceback (most recent call last):
    sentinel.errors.ConfigurationError: clump size is 2.5; it must be a whole number
    """
    check_range(field, value, low, high, unit)
    if not isinstance(value, int):
        raise ConfigurationError(
            f"{field} is {value!r}{f' {unit}' if unit else ''}; it must be a whole number"
        )
