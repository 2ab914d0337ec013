"""Rate: so many requests per so much time, as one validated value.

Knows text and time units; knows nothing of algorithms, keys or stores.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from .errors import ConfigurationError

if TYPE_CHECKING:
    from fractions import Fraction

MILLISECOND = 1_000
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY
YEAR = 365 * DAY

UNITS = {
    "us": 1,
    "microsecond": 1,
    "microseconds": 1,
    "ms": MILLISECOND,
    "millisecond": MILLISECOND,
    "milliseconds": MILLISECOND,
    "s": SECOND,
    "sec": SECOND,
    "second": SECOND,
    "seconds": SECOND,
    "min": MINUTE,
    "minute": MINUTE,
    "minutes": MINUTE,
    "h": HOUR,
    "hour": HOUR,
    "hours": HOUR,
    "d": DAY,
    "day": DAY,
    "days": DAY,
    "week": WEEK,
    "weeks": WEEK,
    "year": YEAR,
    "years": YEAR,
}
_TEXT = re.compile(
    r"\s*(\d{1,3}(?:,\d{3}){1,6}|\d{1,18}(?:_\d{1,18}){0,6})"
    r"\s*(?:/|\bper\b)\s*(\d{1,18})?\s*([a-z]+)\s*",
    re.ASCII | re.IGNORECASE,
)
_FORMS = (
    'write it as "100/minute", "5/second" or "10 per 5 minutes" (units: us, ms, s, min, h, day, week, year)'
)

MAX_LIMIT = 1_000_000_000
MIN_PERIOD_US = MILLISECOND
MAX_PERIOD_US = 10 * YEAR


@dataclass(frozen=True, slots=True)
class Rate:
    """State how many requests are meant per how much time.

    Args:
        limit: requests, 0 to 1,000,000,000; 0 means never.
        per: seconds (int, float or Fraction) or a timedelta, from 1 ms to 10 years; kept to the
            nearest microsecond.

    Raises:
        ConfigurationError: when either is out of range or not a number.

    >>> Rate(100, per=60.0) == Rate.parse("100/minute")
    True
    >>> Rate.parse("10 per 5 minutes").period_us
    300000000
    """

    limit: int
    period_us: int

    def __init__(self, limit: int, per: float | Fraction | timedelta) -> None:
        if type(limit) is not int or not 0 <= limit <= MAX_LIMIT:
            raise ConfigurationError("limit", limit, f"give a whole number from 0 to {MAX_LIMIT:,}")
        object.__setattr__(self, "limit", limit)
        object.__setattr__(self, "period_us", _period_us(per))

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read a rate from text such as "100/minute" or "10 per 5 minutes".

        Raises:
            ConfigurationError: naming the text when it is not a rate or the unit is unknown.

        >>> Rate.parse("5/second")
        Rate(limit=5, period_us=1000000)
        """
        found = _TEXT.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ConfigurationError("rate", text, _FORMS)
        limit, count, unit = found.groups()
        weight = UNITS.get(unit.lower())
        if weight is None:
            raise ConfigurationError("rate", text, f"{unit!r} is no unit of time; {_FORMS}")
        most = int(re.sub("[_,]", "", limit))
        if most > MAX_LIMIT:
            raise ConfigurationError("rate", text, f"give 0 to {MAX_LIMIT:,} requests")
        period = int(count or 1) * weight
        if not MIN_PERIOD_US <= period <= MAX_PERIOD_US:
            raise ConfigurationError("rate", text, "give a period from 1 ms to 10 years")
        return cls(most, timedelta(microseconds=period))

    @property
    def period(self) -> float:
        """The period in seconds."""
        return self.period_us / SECOND

    def __str__(self) -> str:
        for name, unit in (
            ("year", YEAR),
            ("day", DAY),
            ("hour", HOUR),
            ("minute", MINUTE),
            ("second", SECOND),
        ):
            if self.period_us % unit == 0:
                count = self.period_us // unit
                return f"{self.limit}/{name}" if count == 1 else f"{self.limit} per {count} {name}s"
        if self.period_us % MILLISECOND == 0:
            return f"{self.limit} per {self.period_us // MILLISECOND} ms"
        return f"{self.limit} per {self.period_us} us"


RateLike = Rate | str | tuple[int, timedelta]


def as_rate(value: RateLike) -> Rate:
    """Turn what a user may write for a rate into a `Rate`.

    >>> as_rate((100, timedelta(minutes=1))) == as_rate("100/minute")
    True
    """
    if isinstance(value, Rate):
        return value
    if isinstance(value, tuple) and len(value) == 2:
        return Rate(value[0], value[1])
    if isinstance(value, str):
        return Rate.parse(value)
    raise ConfigurationError("rate", value, _FORMS)


def _period_us(per: float | Fraction | timedelta) -> int:
    remedy = "give seconds or a timedelta, from 1 ms to 10 years"
    if isinstance(per, timedelta):
        return _in_range(per // timedelta(microseconds=1), per, remedy)
    from fractions import Fraction  # 3 ms, and rates are mostly written as text

    if not isinstance(per, (int, float, Fraction)) or isinstance(per, bool):
        raise ConfigurationError("per", per, remedy)
    try:
        period = round(Fraction(per) * SECOND)
    except (ValueError, OverflowError):  # nan, inf
        raise ConfigurationError("per", per, remedy) from None
    return _in_range(period, per, remedy)


def _in_range(period: int, per: object, remedy: str) -> int:
    if not MIN_PERIOD_US <= period <= MAX_PERIOD_US:
        raise ConfigurationError("per", per, remedy)
    return period
