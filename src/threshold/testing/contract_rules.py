"""The contract, part two: several limits in one decision, and the ladder."""

from __future__ import annotations

from itertools import permutations

from ..escalation import Ladder, Rung
from ..plan import Outcome, Rule
from ..sliding_window import SlidingWindow
from ..token_bucket import NEVER, TokenBucket
from .contract_base import LADDER, LIMITS, Bench, abuse_key, plan, rules_of

_TENANT = Rule.of("tenant", "tenant", TokenBucket("60/minute", burst=20))
_USER = Rule.of("user", "user", SlidingWindow("3 per 10 seconds"), strikes=True)
_POST = Rule.of("post", "endpoint", TokenBucket("1/second", burst=2), strikes=True)


class RuleContract(Bench):
    """What a store must do when several limits stand in one plan."""

    def left(self, rules: list[Rule], who: str = "ann") -> list[int]:
        """What each limit has left, without taking anything."""
        return [answer[1] for answer in self.store.decide(plan(rules, who, cost=0, peek=True)).found]

    def test_all_admit_and_all_are_charged(self) -> None:
        outcome = self.store.decide(plan([_TENANT, _USER, _POST], cost=2))
        assert outcome.allowed
        assert [answer[1] for answer in outcome.found] == [18, 1, 0]
        assert self.left([_TENANT, _USER, _POST]) == [18, 1, 0]

    def test_one_refuses_and_none_is_charged(self) -> None:
        rules = [_TENANT, _USER, _POST]
        for _ in range(2):
            assert self.store.decide(plan(rules)).allowed
        for _ in range(50):
            outcome = self.store.decide(plan(rules))
            assert not outcome.allowed
            assert [answer[0] == 0 for answer in outcome.found] == [True, True, False]
            assert [answer[1] for answer in outcome.found] == [18, 1, 0]
        assert self.left(rules) == [18, 1, 0]

    def test_an_untouched_limit_of_a_refused_plan_stays_untouched(self) -> None:
        for rule in rules_of("r"):
            self.store.reset([_POST.scope + "bob"])
            self.use_up(_POST, "bob")
            assert not self.store.decide(plan([rule, _POST], "bob")).allowed
            assert self.store.state([rule.scope + "bob"]) == [None]

    def test_every_refusing_limit_is_named(self) -> None:
        rules = [_TENANT, _USER, _POST]
        assert self.take(_USER, cost=3).allowed
        assert self.take(_POST, cost=2).allowed
        outcome = self.store.decide(plan(rules))
        retries = [answer[0] for answer in outcome.found]
        assert retries[0] == 0 and retries[1] > retries[2] > 0, outcome

    def test_one_limit_that_can_never_admit_refuses_the_plan(self) -> None:
        outcome = self.store.decide(plan([_TENANT, _USER, _POST], cost=3))
        assert not outcome.allowed
        assert [answer[0] for answer in outcome.found] == [0, 0, NEVER]
        assert self.left([_TENANT, _USER, _POST]) == [20, 3, 2]

    def test_the_order_of_the_takes_changes_nothing(self) -> None:
        rules = [_TENANT, _USER, _POST]
        seen = []
        for i, order in enumerate(permutations(range(3))):
            who = f"ann{i}"
            history = []
            for cost in (1, 1, 1, 0, 2, 5, 1):
                outcome = self.store.decide(plan([rules[j] for j in order], who, cost=cost, ladder=LADDER))
                answers = dict(zip(order, outcome.found, strict=False))
                history.append((verdict(outcome), [answers[j][:3] for j in range(3) if j in answers]))
            seen.append(history)
        assert all(history == seen[0] for history in seen), seen

    def test_peek_says_what_would_be_and_writes_nothing(self) -> None:
        rules = [_TENANT, _USER, _POST]
        keys = [rule.scope + "ann" for rule in rules] + [abuse_key()]
        for _ in range(3):
            before = self.store.state(keys)
            glance = self.store.decide(plan(rules, ladder=LADDER, peek=True))
            again = self.store.decide(plan(rules, ladder=LADDER, peek=True))
            assert (verdict(glance), glance.found) == (verdict(again), again.found)
            assert self.store.state(keys) == before
            real = self.store.decide(plan(rules, ladder=LADDER))
            assert verdict(glance) == verdict(real)
            assert [answer[0] for answer in glance.found] == [answer[0] for answer in real.found]

    def test_peek_reports_what_is_left_now(self) -> None:
        for rule in rules_of("r"):
            assert self.store.decide(plan([rule], peek=True)).found[0][:3] == (0, 5, 0)
            assert self.take(rule, cost=2).allowed
            assert self.store.decide(plan([rule], cost=3, peek=True)).found[0][:2] == (0, 3)
            assert self.store.decide(plan([rule], cost=4, peek=True)).found[0][1] == 3


class LadderContract(Bench):
    """What a store must do to callers who strike."""

    def strike(self, who: str = "ann") -> Outcome:
        """One refusal in a new episode: use the window up, run into it, and let the episode pass."""
        while True:
            outcome = self.store.decide(plan([_USER], who, ladder=LADDER))
            if outcome.strike or not outcome.allowed:
                break
        self.clock.advance(11)
        return outcome

    def test_the_first_refusal_of_an_episode_is_one_strike_and_the_rest_add_nothing(self) -> None:
        for _ in range(3):
            assert self.store.decide(plan([_USER], ladder=LADDER)).strike == 0
        outcomes = [self.store.decide(plan([_USER], ladder=LADDER)) for _ in range(50)]
        assert [outcome.strike for outcome in outcomes] == [1] + [0] * 49
        assert [outcome.allowed for outcome in outcomes] == [True] + [False] * 49
        self.clock.advance_us(9_999_999)
        assert self.store.decide(plan([_USER], ladder=LADDER)).strike == 0
        self.clock.advance_us(1)
        assert self.store.decide(plan([_USER], ladder=LADDER)).strike == 2

    def test_a_forgiven_request_is_let_through_and_charges_nothing(self) -> None:
        assert self.take(_USER, cost=3).allowed
        outcome = self.store.decide(plan([_TENANT, _USER], ladder=LADDER))
        assert outcome.allowed and outcome.strike == 1 and outcome.blocked_us == 0
        assert outcome.found[0][:3] == (0, 20, 0) and outcome.found[1][0] > 0
        assert self.store.state([_TENANT.scope + "ann"]) == [None]

    def test_forgiveness_needs_every_refusing_limit_to_be_one_that_strikes(self) -> None:
        assert self.take(_TENANT, cost=20).allowed
        assert self.take(_USER, cost=3).allowed
        outcome = self.store.decide(plan([_TENANT, _USER], ladder=LADDER))
        assert not outcome.allowed and outcome.strike == 1

    def test_limits_that_do_not_strike_never_touch_the_record(self) -> None:
        assert self.take(_TENANT, cost=20).allowed
        outcome = self.store.decide(plan([_TENANT, _USER], ladder=LADDER))
        assert not outcome.allowed and outcome.strike == 0
        assert self.store.state([abuse_key()]) == [None]

    def test_a_refusal_for_good_is_no_strike(self) -> None:
        zero = Rule.of("zero", "user", SlidingWindow("0/minute"), strikes=True)
        for rule, cost in ((zero, 1), (_USER, 4)):
            outcome = self.store.decide(plan([rule], cost=cost, ladder=LADDER))
            assert not outcome.allowed and outcome.strike == 0
        assert self.store.state([abuse_key()]) == [None]

    def test_climbs_the_ladder_rung_by_rung(self) -> None:
        first, second = self.strike(), self.strike()
        assert (first.allowed, first.strike, first.blocked_us) == (True, 1, 0)
        assert (second.allowed, second.strike, second.blocked_us) == (False, 2, 30_000_000)
        self.clock.advance(30)
        third = self.strike()
        assert (third.strike, third.blocked_us, third.banned, third.shadowed) == (3, 60_000_000, False, True)
        self.clock.advance(60)
        fourth = self.strike()
        assert (fourth.strike, fourth.blocked_us, fourth.banned) == (4, 100_000_000, True)
        self.clock.advance(100)
        assert self.strike().strike == 5

    def test_under_a_block_everything_is_refused_and_nothing_is_touched(self) -> None:
        self.strike()
        struck = self.strike()
        keys = [_TENANT.scope + "ann", _USER.scope + "ann", abuse_key()]
        before = self.store.state(keys)
        for cost in (0, 1, 50):
            outcome = self.store.decide(plan([_TENANT, _USER], cost=cost, ladder=LADDER))
            assert not outcome.allowed and tuple(outcome.found) == () and outcome.strike == 0
            assert outcome.blocked_us == struck.blocked_us - 11_000_000 and not outcome.banned
        assert self.store.state(keys) == before
        self.clock.advance_us(struck.blocked_us - 11_000_000 - 1)
        assert self.store.decide(plan([_TENANT], ladder=LADDER)).blocked_us == 1
        self.clock.advance_us(1)
        assert self.store.decide(plan([_TENANT], ladder=LADDER)).allowed

    def test_a_shadow_ban_marks_admitted_requests_until_it_ends(self) -> None:
        for pause in (0, 30, 60):
            struck = self.strike()
            self.clock.advance(pause)
        assert struck.shadowed
        self.clock.advance_us(500_000_000 - 71_000_000 - 1)
        assert self.store.decide(plan([_TENANT], ladder=LADDER)).shadowed
        self.clock.advance_us(1)
        assert not self.store.decide(plan([_TENANT], ladder=LADDER)).shadowed

    def test_strikes_are_forgotten_when_the_last_one_is_old_enough(self) -> None:
        self.strike()
        self.clock.advance_us(1_000_000_000 - 11_000_000 - 1)
        assert self.strike().strike == 2
        self.clock.advance_us(1_000_000_000 - 11_000_000)
        assert self.strike().strike == 1

    def test_a_clock_that_steps_back_never_lengthens_a_block_beyond_the_longest(self) -> None:
        self.strike()
        self.strike()
        self.clock.advance(-5 * 3600)
        outcome = self.store.decide(plan([_TENANT], ladder=LADDER))
        assert not outcome.allowed and outcome.blocked_us == LADDER.longest_us
        self.clock.advance_us(LADDER.longest_us - 1)
        assert self.store.decide(plan([_TENANT], ladder=LADDER)).blocked_us == 1
        self.clock.advance_us(1)
        assert self.store.decide(plan([_TENANT], ladder=LADDER)).allowed

    def test_resetting_the_abuse_record_lifts_the_ban(self) -> None:
        ladder = Ladder([Rung(ban=3600)])
        for who in ("ann", "bob"):
            assert self.take(_USER, who, cost=3).allowed
            assert self.store.decide(plan([_USER], who, ladder=ladder)).banned
        self.store.reset([abuse_key("ann")])
        assert self.store.decide(plan([_TENANT], "ann", ladder=ladder)).allowed
        assert self.store.decide(plan([_TENANT], "bob", ladder=ladder)).banned

    def test_the_episode_lasts_as_long_as_the_longest_striking_limit_says(self) -> None:
        slow, fast = rules_of("s", strikes=True)[::-1]
        assert LIMITS[0] is fast.limit
        self.use_up(slow)
        self.use_up(fast)
        assert self.store.decide(plan([fast, slow], ladder=LADDER)).strike == 1
        self.clock.advance_us(9_999_999)
        assert self.store.decide(plan([slow], ladder=LADDER)).strike == 0


def verdict(outcome: Outcome) -> tuple[object, ...]:
    """All of an outcome that is not about single limits."""
    return (
        outcome.allowed,
        outcome.strike,
        outcome.blocked_us,
        outcome.banned,
        outcome.shadowed,
    )
