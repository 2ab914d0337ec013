"""The six rules of one decision, as sentences about the pure engine."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from threshold import Ladder, Rung, SlidingWindow, TokenBucket
from threshold.engine import decide
from threshold.escalation import AbuseState
from threshold.plan import Outcome, Plan, Rule, State
from threshold.testing.contract_base import plan
from threshold.token_bucket import NEVER

SECOND = 1_000_000
EDGE = Rule.of("edge", "edge", TokenBucket("10/second"))
TENANT = Rule.of("tenant", "tenant", SlidingWindow("6 per 10 seconds"))
USER = Rule.of("user", "user", SlidingWindow("3 per 10 seconds"), strikes=True)
POST = Rule.of("post", "endpoint", TokenBucket("1/second", burst=2), strikes=True)
ALL = (EDGE, TENANT, USER, POST)
LADDER = Ladder(
    [Rung(forgive=True), Rung(cooldown=30), Rung(cooldown=60, shadow=500), Rung(ban=100)], decay=1000
)
NOW = 50 * SECOND


def spent(rule: Rule, cost: int, now: int = NOW) -> State:
    """The state of a rule after this much has been charged."""
    retry, _, _, state = rule.limit.step(None, now, cost)
    assert retry == 0
    return state


def blocked(until: int, *, banned: int = 0) -> AbuseState:
    return AbuseState(2, NOW - SECOND, until, banned, 0, NOW - 1)


def states_of(outcome: Outcome) -> list[State]:
    return [answer[3] for answer in outcome.found]


def test_rule_1_under_a_block_nothing_is_asked_and_nothing_is_written() -> None:
    for banned in (0, 1):
        record = blocked(NOW + 7, banned=banned)
        for cost in (0, 1, 100):
            outcome, struck = decide(plan(ALL, cost=cost, ladder=LADDER), [None] * 4, record, NOW)
            assert not outcome.allowed and outcome.blocked_us == 7 and outcome.banned is (banned == 1)
            assert tuple(outcome.found) == () and outcome.strike == 0 and struck is None


def test_rule_1_ends_exactly_when_the_block_does() -> None:
    record = blocked(NOW)
    assert decide(plan(ALL, ladder=LADDER), [None] * 4, record, NOW)[0].allowed
    assert not decide(plan(ALL, ladder=LADDER), [None] * 4, record, NOW - 1)[0].allowed


def test_rule_1_a_block_is_no_longer_than_the_ladders_longest_after_a_step_back() -> None:
    record = blocked(NOW + 5 * 3600 * SECOND)
    outcome, struck = decide(plan(ALL, ladder=LADDER), [None] * 4, record, NOW)
    assert outcome.blocked_us == LADDER.longest_us == 100 * SECOND
    assert struck is not None and struck.blocked_until == NOW + 100 * SECOND
    assert struck._replace(blocked_until=0) == record._replace(blocked_until=0)


def test_rule_2_every_limit_is_asked_even_after_one_has_refused() -> None:
    states = [None, spent(TENANT, 6), spent(USER, 3), spent(POST, 2)]
    outcome, _ = decide(plan(ALL), states, None, NOW)
    assert [answer[0] > 0 for answer in outcome.found] == [False, True, True, True]
    assert outcome.found[0][:2] == (0, 10)


def test_rule_3_all_admit_and_all_are_charged() -> None:
    outcome, struck = decide(plan(ALL, cost=2, ladder=LADDER), [None] * 4, None, NOW)
    assert outcome.allowed and struck is None
    assert [answer[1] for answer in outcome.found] == [8, 4, 1, 0]
    assert states_of(outcome) == [spent(rule, 2) for rule in ALL]


def test_rule_3_a_shadow_ban_is_told_with_the_admission() -> None:
    record = AbuseState(3, NOW, 0, 0, NOW + 1, 0)
    assert decide(plan(ALL, ladder=LADDER), [None] * 4, record, NOW)[0].shadowed
    assert not decide(plan(ALL, ladder=LADDER), [None] * 4, record, NOW + 1)[0].shadowed


def test_rule_4_one_refuses_and_no_state_changes() -> None:
    states = [spent(EDGE, 1), spent(TENANT, 1), spent(USER, 1), spent(POST, 2)]
    outcome, _ = decide(plan(ALL), states, None, NOW)
    assert not outcome.allowed
    assert all(after is before for after, before in zip(states_of(outcome), states, strict=True))
    assert [answer[1] for answer in outcome.found] == [9, 5, 2, 0]


def test_rule_4_every_refusing_limit_says_when() -> None:
    outcome, _ = decide(plan([USER, POST]), [spent(USER, 3), spent(POST, 2)], None, NOW)
    assert [answer[0] for answer in outcome.found] == [11 * SECOND, SECOND]


def test_rule_5_the_first_refusal_of_an_episode_is_a_strike() -> None:
    state = [spent(USER, 3)]
    outcome, record = decide(plan([USER], ladder=LADDER), state, None, NOW)
    assert outcome.strike == 1 and record is not None
    assert record == AbuseState(1, NOW, 0, 0, 0, NOW + 10 * SECOND)
    for later in (0, 1, 10 * SECOND - 1):
        again, struck = decide(plan([USER], ladder=LADDER), state, record, NOW + later)
        assert (again.allowed, again.strike, struck) == (False, 0, None)
    again, struck = decide(plan([USER], ladder=LADDER), state, record, NOW + 10 * SECOND)
    assert again.strike == 2 and struck is not None and again.blocked_us == 30 * SECOND


def test_rule_5_fifty_refusals_are_one_strike() -> None:
    record, strikes = None, []
    for i in range(50):
        outcome, struck = decide(plan([USER], ladder=LADDER), [spent(USER, 3)], record, NOW + i)
        record = struck or record
        strikes.append(outcome.strike)
    assert strikes == [1] + [0] * 49


def test_rule_5_a_rung_that_forgives_lets_through_and_charges_nothing() -> None:
    states = [None, spent(USER, 3)]
    outcome, record = decide(plan([EDGE, USER], ladder=LADDER), states, None, NOW)
    assert outcome.allowed and outcome.strike == 1 and outcome.blocked_us == 0 and record is not None
    assert states_of(outcome) == states


def test_rule_5_forgives_only_when_every_refusing_limit_may_strike() -> None:
    for other in (EDGE, TENANT):
        states = [spent(other, other.limit.capacity), spent(USER, 3)]
        outcome, record = decide(plan([other, USER], ladder=LADDER), states, None, NOW)
        assert not outcome.allowed and outcome.strike == 1 and record is not None


def test_rule_5_a_refusal_for_good_neither_strikes_nor_is_forgiven() -> None:
    zero = Rule.of("zero", "endpoint", SlidingWindow("0/minute"), strikes=True)
    outcome, record = decide(plan([zero], ladder=LADDER), [None], None, NOW)
    assert not outcome.allowed and outcome.strike == 0 and record is None
    assert outcome.found[0][0] == NEVER
    outcome, record = decide(plan([zero, USER], ladder=LADDER), [None, spent(USER, 3)], None, NOW)
    assert not outcome.allowed and outcome.strike == 1 and record is not None


def test_rule_5_limits_that_may_not_strike_leave_no_record() -> None:
    outcome, record = decide(plan([EDGE, USER], ladder=LADDER), [spent(EDGE, 10), None], None, NOW)
    assert not outcome.allowed and outcome.strike == 0 and record is None


def test_rule_5_without_a_ladder_there_are_no_strikes() -> None:
    outcome, record = decide(plan([USER]), [spent(USER, 3)], blocked(NOW + 5), NOW)
    assert not outcome.allowed and outcome.strike == 0 and record is None


def test_rule_5_cools_down_shadows_bans_and_stays_banned_on_the_last_rung() -> None:
    record, seen, now = None, [], NOW
    for _ in range(6):
        outcome, record = decide(plan([USER], ladder=LADDER), [spent(USER, 3, now)], record, now)
        assert record is not None
        seen.append(
            (outcome.strike, outcome.allowed, outcome.blocked_us // SECOND, outcome.banned, outcome.shadowed)
        )
        now = max(record.blocked_until, record.episode_until)
    assert seen == [
        (1, True, 0, False, False),
        (2, False, 30, False, False),
        (3, False, 60, False, True),
        (4, False, 100, True, True),
        (5, False, 100, True, True),
        (6, False, 100, True, True),
    ]


def test_rule_5_decays_to_the_first_rung_when_the_last_strike_is_old() -> None:
    record = AbuseState(4, NOW, 0, 0, 0, 0)
    for age, strike in ((1000 * SECOND - 1, 5), (1000 * SECOND, 1)):
        now = NOW + age
        outcome, struck = decide(plan([USER], ladder=LADDER), [spent(USER, 3, now)], record, now)
        assert outcome.strike == strike and struck is not None and struck.strikes == strike


def test_rule_6_a_peek_reports_what_is_left_and_what_would_be() -> None:
    states = [spent(EDGE, 3), spent(USER, 3)]
    outcome, _ = decide(plan([EDGE], peek=True), states[:1], None, NOW)
    assert outcome.allowed and outcome.found[0][1] == 7 and outcome.found[0][3] is states[0]
    glance, _ = decide(plan([EDGE, USER], ladder=LADDER, peek=True), states, None, NOW)
    real, _ = decide(plan([EDGE, USER], ladder=LADDER), states, None, NOW)
    assert (glance.allowed, glance.strike) == (real.allowed, real.strike) == (True, 1)


def test_the_default_ladder_warns_twice_then_cools_down_then_bans() -> None:
    ladder, record, seen, now = Ladder.default(), None, [], NOW
    for _ in range(6):
        outcome, record = decide(plan([USER], ladder=ladder), [spent(USER, 3, now)], record, now)
        assert record is not None
        seen.append((outcome.allowed, outcome.blocked_us // SECOND, outcome.banned, outcome.shadowed))
        now = max(record.blocked_until, record.episode_until)
    assert seen == [
        (True, 0, False, False),
        (True, 0, False, False),
        (False, 60, False, False),
        (False, 300, False, True),
        (False, 86_400, True, True),
        (True, 0, False, False),  # a ban of 24 hours ends when the strikes are forgotten
    ]


rules = st.lists(
    st.tuples(st.sampled_from(ALL), st.integers(0, 6), st.integers(-9 * SECOND, 9 * SECOND)),
    min_size=1,
    max_size=4,
)
records = st.none() | st.builds(
    AbuseState,
    st.integers(1, 6),
    st.integers(NOW - 2000 * SECOND, NOW),
    st.sampled_from([0, NOW, NOW + 1, NOW + 10**12]),
    st.integers(0, 1),
    st.sampled_from([0, NOW, NOW + 1]),
    st.sampled_from([0, NOW, NOW + 1]),
)


@settings(deadline=None)
@given(rules, records, st.integers(0, 7), st.booleans(), st.booleans())
def test_the_order_of_the_takes_never_matters(
    taken: list[tuple[Rule, int, int]], record: AbuseState | None, cost: int, laddered: bool, peek: bool
) -> None:
    entries = [(rule, rule.limit.step(None, NOW + shift, used)[3]) for rule, used, shift in taken]
    said = set()
    for order in permutations(range(len(entries))):
        asked = plan(
            [entries[i][0] for i in order], cost=cost, ladder=LADDER if laddered else None, peek=peek
        )
        outcome, struck = decide(asked, [entries[i][1] for i in order], record, NOW)
        found = dict(zip(order, map(tuple, outcome.found), strict=False))
        said.add(
            (
                (
                    outcome.allowed,
                    outcome.at,
                    outcome.strike,
                    outcome.blocked_us,
                    outcome.banned,
                    outcome.shadowed,
                ),
                tuple(sorted(found.items())),
                struck,
            )
        )
    assert len(said) == 1


@settings(deadline=None)
@given(rules, records, st.integers(0, 7), st.booleans())
def test_all_or_nothing_and_never_a_block_beyond_the_longest(
    taken: list[tuple[Rule, int, int]], record: AbuseState | None, cost: int, laddered: bool
) -> None:
    """Checked against what each limit says on its own."""
    entries = [(rule, rule.limit.step(None, NOW + shift, used)[3]) for rule, used, shift in taken]
    asked: Plan = plan([rule for rule, _ in entries], cost=cost, ladder=LADDER if laddered else None)
    outcome, struck = decide(asked, [state for _, state in entries], record, NOW)
    alone = [rule.limit.step(state, NOW, cost) for rule, state in entries]
    untouched = [rule.limit.step(state, NOW, 0) for rule, state in entries]
    assert 0 <= outcome.blocked_us <= LADDER.longest_us
    if laddered and record is not None and record.blocked_until > NOW:
        assert not outcome.allowed and not outcome.found and outcome.strike == 0
        assert struck is None or struck.strikes == record.strikes
    elif all(answer[0] == 0 for answer in alone):
        assert outcome.allowed and list(outcome.found) == alone and struck is None and outcome.strike == 0
    else:
        refusing = [(rule, answer[0]) for (rule, _), answer in zip(entries, alone, strict=True) if answer[0]]
        assert [answer[0] for answer in outcome.found] == [answer[0] for answer in alone]
        assert [answer[1:] for answer in outcome.found] == [
            (a[1:] if a[0] else u[1:]) for a, u in zip(alone, untouched, strict=True)
        ]
        strikes = [rule.strikes and retry != NEVER for rule, retry in refusing]
        quiet = record is not None and record.episode_until > NOW
        assert bool(outcome.strike) is (laddered and any(strikes) and not quiet)
        assert (struck is not None) is bool(outcome.strike)
        forgiven = bool(outcome.strike) and all(strikes) and LADDER.rung(outcome.strike).forgive
        assert outcome.allowed is forgiven
