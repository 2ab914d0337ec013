"""The ladder: what it refuses to be built from, and what a strike does to a record."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threshold import ConfigurationError, Ladder, Rung
from threshold.escalation import AbuseState

SECOND = 1_000_000
DAY = 86_400 * SECOND


def test_the_default_ladder_is_the_documented_one() -> None:
    ladder = Ladder.default()
    assert [rung.forgive for rung in ladder.rungs] == [True, True, False, False, False]
    assert [rung.cooldown_us // SECOND for rung in ladder.rungs] == [0, 0, 60, 300, 0]
    assert [rung.ban_us // SECOND for rung in ladder.rungs] == [0, 0, 0, 0, 86_400]
    assert [bool(rung.shadow_us) for rung in ladder.rungs] == [False, False, False, True, False]
    assert ladder.decay_us == DAY and ladder.delay_us == (SECOND, 3 * SECOND)
    assert ladder.longest_us == DAY


def test_the_last_rung_holds_for_every_further_strike() -> None:
    ladder = Ladder([Rung(forgive=True), Rung(ban=5)])
    assert [ladder.rung(n).ban_us for n in (1, 2, 3, 1000)] == [0, 5 * SECOND, 5 * SECOND, 5 * SECOND]


def test_durations_are_seconds_or_timedeltas() -> None:
    assert (
        Rung(cooldown=1.5).cooldown_us == Rung(cooldown=timedelta(milliseconds=1500)).cooldown_us == 1_500_000
    )
    assert Ladder([Rung()], decay=timedelta(days=1)).decay_us == DAY


@pytest.mark.parametrize("field", ["cooldown", "shadow", "ban"])
@pytest.mark.parametrize(
    "value", [-1, float("nan"), float("inf"), 367 * 86_400, "60", None, True, timedelta(days=400)]
)
def test_refuses_a_duration_out_of_range_by_name(field: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=field):
        Rung(**{field: value})  # type: ignore[arg-type]


def test_refuses_rungs_that_contradict_themselves() -> None:
    with pytest.raises(ConfigurationError, match="ban"):
        Rung(cooldown=1, ban=1)
    for block in ({"cooldown": 1}, {"ban": 1}):
        with pytest.raises(ConfigurationError, match="forgive"):
            Rung(forgive=True, **block)


@pytest.mark.parametrize("forgive", ["no", "", 1, 0, None])
def test_refuses_to_guess_whether_a_rung_forgives(forgive: bool) -> None:
    with pytest.raises(ConfigurationError, match=r"^forgive: .* give True or False$"):
        Rung(forgive=forgive)


@pytest.mark.parametrize("rungs", [[], [None], [Rung()] * 101, ["ban"], 5, None, Rung(), "ban"])
def test_refuses_ladders_without_proper_rungs(rungs: list[Rung]) -> None:
    with pytest.raises(ConfigurationError, match="rungs"):
        Ladder(rungs)


@pytest.mark.parametrize("decay", [0, 0.5, -1, 367 * 86_400, float("nan"), "day"])
def test_refuses_a_decay_out_of_range(decay: float) -> None:
    with pytest.raises(ConfigurationError, match="decay"):
        Ladder([Rung()], decay=decay)


@pytest.mark.parametrize("delay", [(3, 1), (0, 6), (-1, 1), (1,), 5, None, ("a", "b"), (1, float("nan"))])
def test_refuses_delays_out_of_range(delay: tuple[float, float]) -> None:
    with pytest.raises(ConfigurationError, match="delay"):
        Ladder([Rung()], delay=delay)


def test_ladders_are_values() -> None:
    assert Ladder.default() == Ladder.default() and hash(Ladder.default()) == hash(Ladder.default())
    rungs = [Rung(forgive=True)]
    ladder = Ladder(rungs)
    rungs.append(Rung(ban=1))
    assert len(ladder.rungs) == 1


def test_a_running_shadow_ban_outlives_later_strikes() -> None:
    ladder = Ladder([Rung(shadow=100), Rung(cooldown=5), Rung(shadow=10)])
    first = ladder.strike(None, 0, SECOND)
    second = ladder.strike(first, 20 * SECOND, SECOND)
    third = ladder.strike(second, 40 * SECOND, SECOND)
    assert [state.shadow_until for state in (first, second, third)] == [100 * SECOND] * 3
    assert ladder.strike(third, 200 * SECOND, SECOND).shadow_until == 210 * SECOND


times = st.integers(0, 3 * DAY)
ladders = st.lists(
    st.builds(Rung, forgive=st.just(True))
    | st.builds(Rung, cooldown=st.integers(1, 9000), shadow=st.integers(0, 9000))
    | st.builds(Rung, ban=st.integers(1, 90_000)),
    min_size=1,
    max_size=6,
).map(lambda rungs: Ladder(rungs, decay=3600))


@given(
    ladders,
    st.lists(st.tuples(st.integers(0, 2 * 3600 * SECOND), st.integers(SECOND, 60 * SECOND)), min_size=1),
)
def test_a_record_rests_when_nothing_in_it_matters_any_more(
    ladder: Ladder, strikes: list[tuple[int, int]]
) -> None:
    state, now = None, 10**12
    for pause, episode in strikes:
        now += pause
        previous, state = state, ladder.strike(state, now, episode)
        remembered = previous is not None and now - previous.struck_at < ladder.decay_us
        assert state.strikes == (previous.strikes + 1 if remembered and previous else 1)
        assert state.blocked_until in (0, now + ladder.rung(state.strikes).block_us)
        assert state.episode_until == now + episode
    assert state is not None
    rest = ladder.rests_at(state)
    # At rest: no block, no shadow, no episode, and the next strike is the first again.
    assert state.blocked_until <= rest and state.shadow_until <= rest and state.episode_until <= rest
    assert ladder.strike(state, rest, SECOND) == ladder.strike(None, rest, SECOND)
    # A microsecond earlier something still counted.
    assert (
        max(state.blocked_until, state.shadow_until, state.episode_until) > rest - 1
        or ladder.strike(state, rest - 1, SECOND).strikes > 1
    )


def test_clamping_touches_only_the_block() -> None:
    ladder = Ladder([Rung(cooldown=60)])
    state = AbuseState(3, 9 * DAY, 9 * DAY + 60 * SECOND, 0, 7, 8)
    assert ladder.clamp(state, DAY) == state._replace(blocked_until=DAY + 60 * SECOND)
