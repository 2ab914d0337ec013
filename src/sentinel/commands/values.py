"""How options are written: durations, rates, limits, segments, instants.

Functions from text to value, for `click.option(type=...)`; what is wrong is raised as a usage error.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from datetime import datetime

import click

from sentinel.errors import ConfigurationError
from sentinel.options import MAX_AHEAD_S
from sentinel.pacer import Segment
from threshold import Rate

_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|µs|ms|s|min|m|h)")
_BARE = re.compile(r"\d+(?:\.\d+)?")


def duration(low: float, high: float) -> Callable[[str], float]:
    """Make the reader of "30s", "5m", "1h", "5ms" or "200us": seconds, within bounds.

    >>> duration(1, 3600)("5m"), duration(0, 1)("5ms")
    (300.0, 0.005)
    """

    def read(text: str) -> float:
        found = _DURATION.fullmatch(text.strip())
        if _BARE.fullmatch(text.strip()):
            raise click.BadParameter(f"{text} has no unit; write {text.strip()}s for seconds, or ms, m or h")
        if found is None:
            raise click.BadParameter(f"{text!r} is no duration; write it like 30s, 5m or 5ms")
        seconds = float(found[1]) * _SECONDS[found[2]]
        if not low <= seconds <= high:
            raise click.BadParameter(f"{text} is out of range; it must be between {low:g} s and {high:,g} s")
        return seconds

    return read


def per_second(text: str) -> float:
    """Read "500", "500/s" or "30000/minute" as a number per second, above 0.

    >>> per_second("500"), per_second("30000/minute")
    (500.0, 500.0)
    """
    try:
        rate = float(text)
    except ValueError:
        parsed = limit(text)
        rate = parsed.limit / parsed.period
    if not math.isfinite(rate) or not 0 < rate <= 1_000_000:
        raise click.BadParameter(
            f"{text} is out of range; it must be above 0 and at most 1,000,000 per second"
        )
    return rate


def limit(text: str) -> Rate:
    """Read a limit such as "500/s" or "5 per 5 minutes"."""
    try:
        return Rate.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def segment(text: str) -> Segment:
    """Read "i/n": this process's share of the arrivals, i from 0 to n - 1."""
    try:
        return Segment.parse(text)
    except ConfigurationError as error:
        raise click.BadParameter(str(error)) from None


def instant(text: str) -> float:
    """Read an instant as Unix time: "+10s" from now, Unix time, or ISO 8601 with an offset.

    >>> instant("2026-01-02T03:04:05+00:00")
    1767323045.0
    """
    if text.startswith("+"):
        return time.time() + duration(0, MAX_AHEAD_S)(text[1:])
    try:
        found = float(text)
    except ValueError:
        found = _date(text)
    if not found <= time.time() + MAX_AHEAD_S:
        raise click.BadParameter(f"{text} is out of range; it must be at most a day ahead")
    return found


def _date(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no instant; write +10s, Unix time, or 2026-01-02T03:04:05+00:00"
        ) from None
    if found.tzinfo is None:
        raise click.BadParameter(f"{text!r} names no time zone; several hosts would disagree, add +00:00")
    return found.timestamp()
