from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.errors import ConfigurationError
from sentinel.profile import Profile, check_operations
from sentinel.shapes import (
    SHAPES,
    Custom,
    Oscillation,
    Ramp,
    Soak,
    Spike,
    Stress,
    Sustained,
    ThreePhase,
    shape,
)

EVERY_PROFILE: list[Profile] = [
    Sustained(rate=120, duration_s=10),
    Spike(rate=50, duration_s=100),
    Ramp(rate=100, duration_s=20),
    Stress(),
    Soak(),
    ThreePhase(rate=10, ramp_down_s=30),
    Custom(((0, 5), (1, 0), (4, 0), (9, 300))),
    Oscillation(rate=100, duration_s=130, wave="sine"),
    Oscillation(rate=100, duration_s=130, wave="square"),
    Oscillation(rate=100, duration_s=130, wave="sawtooth"),
    Sustained(rate=5, duration_s=30) + Spike(rate=10, duration_s=20),
    Oscillation(rate=10, duration_s=90) * Ramp(rate=2, duration_s=60),
    Ramp(rate=100, duration_s=20).scaled(load=0.25, time=3),
]
names = [f"{number}-{type(profile).__name__}" for number, profile in enumerate(EVERY_PROFILE)]


@pytest.mark.parametrize("profile", EVERY_PROFILE, ids=names)
def test_the_cumulative_is_the_integral_of_the_rate(profile: Profile) -> None:
    for start, end in pairwise(profile.knots()):
        for low, high in ((start, (start + end) / 2), ((start + end) / 2, end)):
            steps = 64
            width = (high - low) / steps
            area = sum(profile.rate_at(low + (step + 0.5) * width) for step in range(steps)) * width
            assert profile.cumulative(high) - profile.cumulative(low) == pytest.approx(
                area, rel=1e-4, abs=1e-6
            )


@pytest.mark.parametrize("profile", EVERY_PROFILE, ids=names)
def test_nothing_comes_before_the_start_or_after_the_end(profile: Profile) -> None:
    assert profile.rate_at(-0.001) == profile.rate_at(profile.duration_s + 0.001) == 0
    assert profile.cumulative(-5) == 0
    assert profile.cumulative(profile.duration_s + 5) == pytest.approx(profile.total)
    assert profile.total > 0


@pytest.mark.parametrize("profile", EVERY_PROFILE, ids=names)
def test_phases_follow_each_other_from_start_to_end(profile: Profile) -> None:
    phases = profile.phases()
    assert phases[0].start_s == 0
    assert phases[-1].end_s == pytest.approx(profile.duration_s)
    assert all(a.end_s == pytest.approx(b.start_s) for a, b in pairwise(phases))


@pytest.mark.parametrize(
    ("profile", "table"),
    [
        (Sustained(rate=7, duration_s=3), {0: 7, 1.5: 7, 3: 7}),
        (Spike(rate=20, duration_s=100), {0: 20, 14.99: 20, 15: 200, 44.99: 200, 45: 20, 99: 20}),
        (Spike(rate=20, duration_s=100, multiplier=3), {20: 60}),
        (Ramp(rate=100, duration_s=10), {0: 0, 2: 50, 4: 100, 6.9: 100, 8.5: 50, 10: 0}),
        (Stress(), {0: 0, 900: 500, 1800: 1000}),
        (Soak(), {0: 100, 3599: 100}),
        (ThreePhase(rate=100), {0: 0, 60: 150, 120: 300, 299: 300, 300: 100, 600: 100}),
        (ThreePhase(rate=128, peak_rate=500, ramp_down_s=30), {120: 500, 300: 128, 615: 64, 630: 0}),
        (Custom(((0, 10), (10, 20), (12, 0))), {0: 10, 5: 15, 10: 20, 11: 10, 12: 0}),
        (Oscillation(rate=100, duration_s=120), {0: 20, 15: 135, 30: 250, 45: 135, 60: 20, 90: 250}),
        (Oscillation(rate=100, duration_s=120, wave="square"), {0: 20, 29: 20, 30: 250, 59: 250, 60: 20}),
        (Oscillation(rate=100, duration_s=120, wave="sawtooth"), {0: 20, 30: 135, 60: 20, 90: 135}),
    ],
)
def test_rates_at_given_seconds(profile: Profile, table: dict[float, float]) -> None:
    assert {second: profile.rate_at(second) for second in table} == pytest.approx(table)


@pytest.mark.parametrize(
    ("profile", "total"),
    [
        (Spike(rate=10, duration_s=100), 70 * 10 + 30 * 100),
        (Ramp(rate=100, duration_s=10), 200 + 300 + 150),
        (Stress(), 900_000),
        (Soak(), 360_000),
        (ThreePhase(rate=100), 120 * 150 + 180 * 300 + 300 * 100),
        (Oscillation(rate=100, duration_s=120), 120 * 135),
        (Oscillation(rate=100, duration_s=120, wave="square"), 120 * 135),
        (Oscillation(rate=100, duration_s=120, wave="sawtooth"), 120 * 135),
        (Ramp(rate=3, duration_s=30) * Sustained(rate=2, duration_s=30), 2 * 3 * (6 + 9 + 4.5)),
        (Sustained(rate=1, duration_s=10) + Sustained(rate=2, duration_s=20), 50),
        (2 * Sustained(rate=1, duration_s=10), 20),
    ],
)
def test_totals_by_hand(profile: Profile, total: float) -> None:
    assert profile.total == pytest.approx(total)


def test_the_product_of_two_lines_is_integrated_without_error() -> None:
    rising = Custom(((0, 0), (30, 30)))
    assert (rising * rising).total == pytest.approx(30**3 / 3, rel=1e-14)


@settings(max_examples=60)
@given(st.floats(0, 130), st.floats(0, 130), st.sampled_from(EVERY_PROFILE))
def test_the_cumulative_never_falls(first: float, second: float, profile: Profile) -> None:
    low, high = sorted((first, second))
    assert profile.cumulative(low) <= profile.cumulative(high) + 1e-9


def test_the_peak_is_seen_on_both_sides_of_a_jump() -> None:
    assert Oscillation(rate=10, duration_s=60, wave="sawtooth").peak == pytest.approx(25)
    assert Ramp(rate=10, duration_s=60).peak == pytest.approx(10)


@pytest.mark.parametrize("profile", EVERY_PROFILE[:10], ids=names[:10])
def test_a_described_shape_can_be_built_again(profile: Profile) -> None:
    described = dict(profile.describe())
    assert shape(str(described.pop("shape")), described) == profile


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("sustained", {"rate": 1, "duration_s": 0}, "duration is 0 s; it must be between 1 and 3,600 s"),
        ("sustained", {"rate": 1, "duration_s": 3601}, "between 1 and 3,600"),
        ("sustained", {"rate": -1}, "rate is -1"),
        ("sustained", {"rate": math.inf}, "rate is inf"),
        ("sustained", {"rate": math.nan}, "rate is nan"),
        ("sustained", {"rate": True}, "rate is True"),
        ("sustained", {"rate": "5"}, "rate is '5'; .* without quotes"),
        ("sustained", {}, "needs rate; write it"),
        ("sustained", {"rate": 1, "speed": 3}, "has no 'speed'; it takes rate, duration_s"),
        ("spike", {"rate": 1, "multiplier": 0.5}, "spike multiplier is 0.5; it must be between 1 and 100"),
        ("spike", {"rate": 1, "multiplier": 101}, "between 1 and 100"),
        ("spike", {"rate": 1, "warm_up": 0.8, "spike": 0.5}, "warm_up . spike is 1.3"),
        ("oscillation", {"rate": 1, "wave": "triangle"}, "wave is 'triangle'"),
        ("oscillation", {"rate": 1, "low": 3}, "low is 3, above high"),
        ("three-phase", {"rate": 1, "peak_s": 3601}, "peak_s is 3601"),
        ("three-phase", {"rate": 1, "ramp_up_s": 0, "peak_s": 0, "steady_s": 0}, "duration is 0"),
        ("custom", {"points": [(0, 1)]}, "points is 1; it must be between 2 and 1,000"),
        ("custom", {"points": [(n, 1) for n in range(1001)]}, "points is 1001"),
        ("custom", {"points": [(1, 1), (2, 1)]}, "starts at second 0"),
        ("custom", {"points": [(0, 1), (2, 1), (2, 3)]}, r"points\[2\].second is 2, after 2"),
        ("custom", {"points": [(0, 1), (2, math.nan)]}, r"points\[1\].rate is nan"),
        ("custom", {"points": [(0, 1), 7]}, r"points\[1\] is 7; write it as"),
        ("banana", {}, "profile is 'banana'; it must be one of spike, sustained"),
    ],
)
def test_bounds_are_enforced_with_field_value_and_range(
    name: str, parameters: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        shape(name, parameters)


@pytest.mark.parametrize(
    "profile", [Sustained(rate=0.001, duration_s=10), Sustained(rate=300, duration_s=3600)]
)
def test_operations_stay_between_one_and_a_million(profile: Profile) -> None:
    with pytest.raises(ConfigurationError, match=r"operations is .*; it must be between 1 and 1,000,000"):
        check_operations(profile)


def test_scaling_refuses_factors_that_make_no_sense() -> None:
    with pytest.raises(ConfigurationError, match="load is -1"):
        Sustained(rate=1).scaled(load=-1)
    with pytest.raises(ConfigurationError, match="time is 0"):
        Sustained(rate=1).scaled(time=0)


def test_every_shape_is_tested_here() -> None:
    assert set(SHAPES.values()) <= {type(profile) for profile in EVERY_PROFILE}
