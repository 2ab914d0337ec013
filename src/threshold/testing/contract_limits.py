"""The contract, part one: one limit, one key."""

from __future__ import annotations

from ..plan import Rule
from ..sliding_window import SlidingWindow
from ..token_bucket import NEVER, TokenBucket
from .contract_base import Bench, plan, rules_of

_ODD_IDENTITIES = (
    "a",
    "aa",
    " ",
    "a b",
    "\n",
    "{a}",
    "{}",
    "a:b",
    "a#b",
    "*",
    "%00",
    "'; --",
    "\u00e9",
    "e\u0301",
    "\u65e5\u672c",
    "\U0001f600",
    "\ufeff",
    "-1",
    "0",
    "k" * 10_000,
    "k" * 9_999 + "l",
)


class LimitContract(Bench):
    """What a store must say about one limit."""

    def test_a_fresh_key_has_the_whole_limit(self) -> None:
        for rule in rules_of("r"):
            outcome = self.take(rule)
            assert outcome.allowed and outcome.at == self.clock()
            assert outcome.found[0][:2] == (0, 4), outcome
            assert (outcome.strike, outcome.blocked_us, outcome.banned) == (0, 0, False), outcome
            assert (outcome.shadowed, outcome.overflowed) == (False, 0), outcome

    def test_refuses_until_retry_after_and_admits_exactly_then(self) -> None:
        for rule in rules_of("r"):
            for offset in (0, 1, 333_333, 999_999, 4_000_001):
                who = f"ann{offset}"
                self.clock.advance_us(offset)
                self.use_up(rule, who)
                for cost in (1, 3, 5):
                    retry = self.take(rule, who, cost).found[0][0]
                    assert retry > 0, (rule.name, cost, retry)
                    self.clock.advance_us(retry - 1)
                    early = self.take(rule, who, cost)
                    assert not early.allowed and early.found[0][0] == 1, (rule.name, cost, early)
                    self.clock.advance_us(1)
                    assert self.take(rule, who, cost).allowed, (rule.name, cost)
                    while self.take(rule, who).allowed:
                        pass

    def test_reset_after_is_when_the_limit_is_whole_again(self) -> None:
        for rule in rules_of("r"):
            reset = self.take(rule, cost=3).found[0][2]
            self.clock.advance_us(reset - 1)
            assert not self.take(rule, cost=5).allowed
            self.clock.advance_us(1)
            outcome = self.take(rule, cost=5)
            assert outcome.allowed and outcome.found[0][1] == 0

    def test_a_cost_takes_that_many(self) -> None:
        for rule in rules_of("r"):
            assert self.take(rule, cost=3).found[0][1] == 2
            refused = self.take(rule, cost=3)
            assert not refused.allowed and refused.found[0][1] == 2
            assert self.take(rule, cost=2).found[0][1] == 0

    def test_cost_zero_is_always_admitted_and_takes_nothing(self) -> None:
        for rule in rules_of("r"):
            fresh = self.take(rule, cost=0)
            assert fresh.allowed and fresh.found[0][:3] == (0, 5, 0), fresh
            assert self.store.state([rule.scope + "ann"]) == [None]
            self.use_up(rule)
            used = self.take(rule, cost=0)
            assert used.allowed and used.found[0][:2] == (0, 0), used

    def test_a_cost_above_the_capacity_is_refused_for_good_and_takes_nothing(self) -> None:
        for rule in rules_of("r"):
            for cost in (6, 10**9, 10**15, 10**30):
                outcome = self.take(rule, cost=cost)
                assert not outcome.allowed and outcome.found[0][:2] == (NEVER, 5), (cost, outcome)
            assert self.take(rule, cost=5).allowed

    def test_a_limit_of_zero_admits_nothing_but_cost_zero(self) -> None:
        for limit in (TokenBucket("0/minute"), SlidingWindow("0/minute")):
            rule = Rule.of("zero", "tenant", limit)
            self.store.check(limit)
            for cost in (1, 7):
                assert self.take(rule, cost=cost).found[0][:3] == (NEVER, 0, 0)
            assert self.take(rule, cost=0).found[0][:3] == (0, 0, 0)

    def test_keys_that_differ_in_anything_do_not_share(self) -> None:
        for rule in rules_of("r"):
            for who in _ODD_IDENTITIES:
                assert self.take(rule, who, cost=5).found[0][1] == 0, who
            for who in _ODD_IDENTITIES:
                assert not self.take(rule, who).allowed, who
            self.store.reset([rule.scope + who for who in _ODD_IDENTITIES[::2]])
            for i, who in enumerate(_ODD_IDENTITIES):
                assert self.take(rule, who).allowed is (i % 2 == 0), who

    def test_one_identity_under_two_rules_is_counted_apart(self) -> None:
        first, second = rules_of("one")[1], rules_of("two")[1]
        self.use_up(first)
        assert not self.take(first).allowed
        assert self.take(second).found[0][1] == 4

    def test_a_changed_limit_does_not_read_the_old_state(self) -> None:
        old = Rule.of("r", "user", SlidingWindow("5/minute"))
        self.use_up(old)
        for limit in (
            SlidingWindow("5/minute", precision=7),
            SlidingWindow("6/minute"),
            TokenBucket("5/minute"),
        ):
            assert self.take(Rule.of("r", "user", limit)).allowed, limit

    def test_a_clock_that_steps_back_never_denies_longer_than_the_limit_itself(self) -> None:
        for rule, longest in zip(rules_of("r"), (5_000_000, 11_000_000), strict=True):
            self.use_up(rule)
            self.clock.advance(-5 * 3600)
            for cost in (1, 5):
                refused = self.take(rule, cost=cost)
                assert not refused.allowed and 0 < refused.found[0][0] <= longest, (rule.name, refused)
            self.clock.advance_us(refused.found[0][0] - 1)
            assert not self.take(rule, cost=5).allowed, rule.name
            self.clock.advance_us(1)
            assert self.take(rule, cost=5).allowed, rule.name

    def test_a_clock_that_steps_back_forgets_nothing(self) -> None:
        for rule in rules_of("r"):
            self.use_up(rule)
            for back in (1, 999_999, 60_000_000):
                self.clock.advance_us(-back)
                assert not self.take(rule).allowed, (rule.name, back)

    def test_cost_zero_needs_no_room_on_a_plan_either(self) -> None:
        rules = rules_of("r")
        for rule in rules:
            self.use_up(rule)
        assert self.store.decide(plan(rules, cost=0)).allowed
