from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.errors import ConfigurationError
from sentinel.pacer import (
    NS,
    SPACINGS,
    Boundary,
    Clumped,
    Even,
    Poisson,
    Segment,
    Spacing,
    invert,
    schedule,
    spacing,
)
from sentinel.profile import Profile
from sentinel.shapes import Custom, Oscillation, Ramp, Spike, Stress, Sustained, ThreePhase

PROFILES: list[Profile] = [
    Sustained(rate=1000, duration_s=10),
    Sustained(rate=7, duration_s=3),
    Spike(rate=50, duration_s=60),
    Ramp(rate=300, duration_s=30),
    Stress(rate=200, duration_s=100),
    ThreePhase(rate=20),
    Custom(((0, 0), (3, 0), (5, 50), (6, 0), (9, 0))),
    Oscillation(rate=100, duration_s=130),
    Oscillation(rate=100, duration_s=130, wave="square"),
    Oscillation(rate=100, duration_s=130, wave="sawtooth"),
    Ramp(rate=100, duration_s=20) * Sustained(rate=2, duration_s=30),
    Sustained(rate=10, duration_s=5) + Ramp(rate=30, duration_s=9),
]


@pytest.mark.parametrize("profile", PROFILES)
def test_even_arrival_k_comes_exactly_when_k_are_due(profile: Profile) -> None:
    plan = schedule(profile, Even(), seed=1)
    positions = np.arange(len(plan), dtype=float)
    reached = [profile.cumulative(instant) for instant in invert(profile, positions).tolist()]
    assert np.abs(np.array(reached) - positions).max() < 1e-6
    assert len(plan) == pytest.approx(profile.total, abs=1)


@pytest.mark.parametrize(
    ("profile", "instants_ms"),
    [
        (Sustained(rate=4, duration_s=1), [0, 250, 500, 750]),
        (Sustained(rate=2.5, duration_s=1), [0, 400, 800]),
        (Stress(rate=8, duration_s=1), [0, 500, 707.106781, 866.025404]),
        (Custom(((0, 0), (1, 0), (2, 8), (3, 0))), [1000, 1500, 1707.106781, 1866.025404, 2000, 2133.974596,
                                                    2292.893219, 2500]),
        (Spike(rate=1, duration_s=10, multiplier=2), [0, 1000, 1750, 2250, 2750, 3250, 3750, 4250, 5000, 6000,
                                                      7000, 8000, 9000]),
    ],
)  # fmt: skip
def test_instants_by_hand(profile: Profile, instants_ms: list[float]) -> None:
    plan = schedule(profile, Even(), seed=1)
    assert (plan.instants / 1e6).tolist() == pytest.approx(instants_ms, abs=1e-6)


@pytest.mark.parametrize("kind", [Even(), Poisson(), Clumped(7), Boundary(1.0, 0.1)])
@pytest.mark.parametrize("profile", PROFILES)
def test_schedules_ascend_inside_the_profile_and_repeat(profile: Profile, kind: Spacing) -> None:
    first, second = (schedule(profile, kind, seed=42) for _ in range(2))
    assert first.instants.tolist() == second.instants.tolist()
    assert bool((np.diff(first.instants) >= 0).all())
    assert first.instants[0] >= 0 and first.instants[-1] <= profile.duration_s * NS
    assert sum(first.per_second()) == len(first) == first.total


def test_another_seed_gives_other_poisson_arrivals_and_the_same_even_ones() -> None:
    load = Sustained(rate=100, duration_s=10)
    assert schedule(load, Poisson(), 1).instants.tolist() != schedule(load, Poisson(), 2).instants.tolist()
    assert schedule(load, Even(), 1).instants.tolist() == schedule(load, Even(), 2).instants.tolist()


def test_poisson_gaps_are_exponential_and_counts_vary_by_their_root() -> None:
    plan = schedule(Sustained(rate=1000, duration_s=200), Poisson(), seed=7)
    gaps = np.diff(plan.instants) / 1e6
    assert len(plan) == pytest.approx(200_000, abs=5 * 200_000**0.5)
    assert gaps.mean() == pytest.approx(1.0, rel=0.02)
    assert gaps.std() == pytest.approx(1.0, rel=0.02)
    assert (gaps > 3).mean() == pytest.approx(np.exp(-3), rel=0.05)
    per_second = np.array(plan.per_second())
    assert per_second.var() / per_second.mean() == pytest.approx(1.0, abs=0.5)


def test_clumps_come_at_one_instant() -> None:
    plan = schedule(Sustained(rate=10, duration_s=2), Clumped(5), seed=1)
    instants, sizes = np.unique(plan.instants, return_counts=True)
    assert instants.tolist() == [0, NS // 2, NS, NS * 3 // 2]
    assert sizes.tolist() == [5, 5, 5, 5]


def test_boundary_bursts_stand_astride_every_boundary_with_half_on_each_side() -> None:
    plan = schedule(Sustained(rate=100, duration_s=10), Boundary(2.0, 0.1), seed=1)
    seconds = plan.instants / NS
    nearest = np.round(seconds / 2) * 2
    assert np.abs(seconds - nearest).max() <= 0.05 + 1e-9
    for boundary in (2, 4, 6, 8):
        before = ((seconds >= boundary - 0.05 - 1e-9) & (seconds < boundary)).sum()
        after = ((seconds >= boundary) & (seconds < boundary + 0.05 - 1e-9)).sum()
        assert (before, after) == (100, 100)


def test_boundaries_can_lie_off_the_start() -> None:
    plan = schedule(Sustained(rate=100, duration_s=5), Boundary(1.0, 0.02, offset_s=0.3), seed=1)
    inside = plan.instants[(plan.instants > NS) & (plan.instants < 2 * NS)] / NS
    assert bool((np.abs(inside - 1.3) <= 0.01 + 1e-9).all())


@settings(max_examples=40)
@given(st.integers(1, 9), st.sampled_from(PROFILES), st.sampled_from([Even(), Poisson(), Clumped(3)]))
def test_segments_share_out_every_arrival_exactly_once(count: int, profile: Profile, kind: Spacing) -> None:
    whole = schedule(profile, kind, seed=3)
    parts = [schedule(profile, kind, 3, Segment(index, count)) for index in range(count)]
    assert sorted(np.concatenate([part.numbers for part in parts]).tolist()) == whole.numbers.tolist()
    for index, part in enumerate(parts):
        assert part.total == whole.total
        assert bool((part.numbers % count == index).all())
        assert part.instants.tolist() == whole.instants[part.numbers].tolist()


def test_a_million_arrivals_are_laid_out_and_one_more_is_refused() -> None:
    assert len(schedule(Sustained(rate=1000, duration_s=1000), Even(), 1)) == 1_000_000
    with pytest.raises(ConfigurationError, match="operations is 1000001"):
        schedule(Sustained(rate=1000.001, duration_s=1000), Even(), 1)


def test_a_load_without_a_single_arrival_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"operations is 0\.5; it must be between"):
        schedule(Sustained(rate=0.5, duration_s=1), Even(), 1)


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/3", "a/b", "0/0", "0/1001"])
def test_refuses_segments_that_are_none(text: str) -> None:
    with pytest.raises(ConfigurationError, match="segment"):
        Segment.parse(text)


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        ("clumped", {"size": 1}, "clump size is 1; it must be between 2 and 100,000"),
        ("clumped", {"size": 2.5}, "clump size is 2.5; it must be a whole number"),
        ("clumped", {"size": True}, "clump size is the bool True"),
        ("boundary", {"window_s": 0}, "window_s is 0"),
        ("boundary", {"window_s": 1, "width_s": 2}, "width_s is 2"),
        ("boundary", {"offset_s": 9}, "offset_s is 9"),
        ("even", {"size": 3}, "spacing even has no 'size'; it takes no parameters"),
        ("odd", {}, "spacing is 'odd'; it must be one of even, poisson, clumped, boundary"),
    ],
)
def test_refuses_spacings_that_make_no_sense(kind: str, parameters: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        spacing(kind, **parameters)


def test_a_described_spacing_can_be_built_again() -> None:
    for kind in SPACINGS.values():
        described = kind().describe()
        assert spacing(str(described.pop("kind")), **described) == kind()  # type: ignore[arg-type]
