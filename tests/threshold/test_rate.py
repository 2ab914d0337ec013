"""Rate: what people write, and what is refused."""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threshold import ConfigurationError, Rate
from threshold.rate import as_rate

SECOND = 1_000_000
YEAR = 365 * 86_400 * SECOND


@pytest.mark.parametrize(
    ("text", "limit", "period"),
    [
        ("100/minute", 100, 60 * SECOND),
        ("10 per 5 minutes", 10, 300 * SECOND),
        ("5/second", 5, SECOND),
        ("5/s", 5, SECOND),
        ("5 / 10s", 5, 10 * SECOND),
        ("5 per 10 sec", 5, 10 * SECOND),
        ("1,000/min", 1000, 60 * SECOND),
        ("12,345,678/min", 12_345_678, 60 * SECOND),
        ("1_000_000/second", 1_000_000, SECOND),
        ("  3 per hour ", 3, 3600 * SECOND),
        ("3 PER HOUR", 3, 3600 * SECOND),
        ("2/h", 2, 3600 * SECOND),
        ("10/week", 10, 7 * 86_400 * SECOND),
        ("7 per 2 weeks", 7, 14 * 86_400 * SECOND),
        ("1/year", 1, YEAR),
        ("1 per 10 years", 1, 10 * YEAR),
        ("0/day", 0, 86_400 * SECOND),
        ("9 per 250 ms", 9, 250_000),
        ("9/ms", 9, 1_000),
        ("1000000000/day", 10**9, 86_400 * SECOND),
    ],
)
def test_reads_what_people_write(text: str, limit: int, period: int) -> None:
    rate = Rate.parse(text)
    assert (rate.limit, rate.period_us) == (limit, period)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "100",
        "/minute",
        "100/",
        "minute/100",
        "100 minute",
        "-1/minute",
        "1.5/second",
        "1 per 1.5 seconds",
        "1e3/second",
        "100/fortnight",
        "100/month",
        "100 per 5",
        "5persecond",
        "100/minute/day",
        "100/minute;",
        "100\x00/minute",
        "١٠/minute",
        "1001000000000/second",
        "5 per 0 seconds",
        "5 per 11 years",
        "9" * 5000 + "/second",
        "5 per " + "9" * 5000 + " seconds",
        None,
        5,
        b"5/second",
        "_5/second",
        "5,/second",
        "1__0/second",
        "10,00/min",
        "1,0000/min",
        "1000,000/min",
        "1,000_000/min",
        ",100/min",
    ],
)
def test_refuses_what_is_no_rate_and_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Rate.parse(text)
    assert (caught.value.field, caught.value.value) == ("rate", text)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("1 per 100 years", "1 ms to 10 years"),
        ("1 per 0 seconds", "1 ms to 10 years"),
        ("1 per 999 us", "1 ms to 10 years"),
        ("1 per 999999999999999999 years", "1 ms to 10 years"),
        ("1,000,000,001/second", "0 to 1,000,000,000"),
    ],
)
def test_a_rate_out_of_range_is_refused_with_the_text_as_it_was_written(text: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError, match="^rate: '" + re.escape(text)) as caught:
        Rate.parse(text)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("limit", [-1, 1.0, True, None, "5", 10**9 + 1, Fraction(3)])
def test_refuses_a_limit_that_is_no_whole_number_in_range(limit: int) -> None:
    with pytest.raises(ConfigurationError, match="limit"):
        Rate(limit, per=1)


@pytest.mark.parametrize(
    "per",
    [
        0,
        -1,
        0.0009,
        0.0009994,
        float("nan"),
        float("inf"),
        True,
        None,
        "60",
        timedelta(0),
        timedelta.max,
        1e300,
    ],
)
def test_refuses_a_period_out_of_range(per: float) -> None:
    with pytest.raises(ConfigurationError, match="per"):
        Rate(1, per=per)


def test_the_same_rate_written_differently_is_equal() -> None:
    rates = {
        Rate(100, per=60),
        Rate(100, per=60.0),
        Rate(100, per=Fraction(60)),
        Rate(100, per=timedelta(minutes=1)),
        Rate.parse("100/minute"),
        as_rate("100 per 60 s"),
        as_rate((100, timedelta(seconds=60))),
    }
    assert len(rates) == 1
    assert rates.pop().period == 60.0


@given(st.integers(0, 10**9), st.integers(1_000, 10 * YEAR))
def test_the_text_of_a_rate_reads_back_as_the_same_rate(limit: int, period: int) -> None:
    rate = Rate(limit, per=timedelta(microseconds=period))
    assert rate.period_us == period
    assert Rate.parse(str(rate)) == rate


@given(st.integers(1_000, 10 * YEAR))
def test_a_period_in_float_seconds_is_kept_to_the_microsecond(period: int) -> None:
    assert Rate(1, per=period / SECOND).period_us == period


def test_a_rate_cannot_be_changed() -> None:
    rate = Rate.parse("5/second")
    with pytest.raises(AttributeError):
        rate.limit = 6  # type: ignore[misc]


@pytest.mark.parametrize("value", [None, 5, ("5", "second", 1), ["5/second"], {"limit": 5}])
def test_refuses_other_values_in_place_of_a_rate(value: str) -> None:
    with pytest.raises(ConfigurationError, match="rate"):
        as_rate(value)


def test_a_number_of_thousands_of_digits_is_refused_without_being_written_out() -> None:
    for build in (lambda: Rate(10**5000, per=1), lambda: Rate(1, per=10**5000)):
        with pytest.raises(ConfigurationError, match="a number of thousands of digits cannot work; give"):
            build()


def test_a_pair_with_nonsense_inside_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        as_rate((5, "minute"))  # type: ignore[arg-type]
