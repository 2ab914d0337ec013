"""The contract, part three: refund, reset, state and close."""

from __future__ import annotations

from random import Random

from ..errors import ConfigurationError
from ..plan import Rule
from ..sliding_window import SlidingWindow
from ..token_bucket import TokenBucket
from .audit import worst_window
from .contract_base import LIMITS, Bench, plan, rules_of


class UpkeepContract(Bench):
    """What a store must do besides deciding."""

    def test_a_refund_at_once_gives_everything_back(self) -> None:
        for rule in rules_of("r"):
            for cost in (2, 3):
                charged = plan([rule], cost=cost)
                outcome = self.store.decide(charged)
                assert outcome.allowed
                self.store.refund(charged, outcome.at)
                assert self.take(rule, cost=0).found[0][:3] == (0, 5, 0)

    def test_a_refund_gives_back_only_its_own_charge(self) -> None:
        for rule in rules_of("r"):
            assert self.take(rule, cost=3).allowed
            charged = plan([rule], cost=2)
            outcome = self.store.decide(charged)
            self.store.refund(charged, outcome.at)
            assert self.take(rule, cost=0).found[0][1] == 2

    def test_a_refund_of_a_plan_reaches_all_its_limits(self) -> None:
        rules = rules_of("a") + rules_of("b")
        charged = plan(rules, cost=4)
        outcome = self.store.decide(charged)
        self.store.refund(charged, outcome.at)
        assert [answer[1] for answer in self.store.decide(plan(rules, cost=0)).found] == [5] * 4

    def test_a_late_refund_gives_back_no_more_than_is_still_held(self) -> None:
        for rule in rules_of("r"):
            charged = plan([rule], cost=5)
            outcome = self.store.decide(charged)
            self.clock.advance(3600)
            assert self.take(rule, cost=5).allowed
            self.store.refund(charged, outcome.at)
            assert not self.take(rule).allowed, rule.name

    def test_a_refund_of_what_is_unknown_does_nothing(self) -> None:
        for rule in rules_of("r"):
            self.store.refund(plan([rule], "nobody", cost=3), self.clock())
            assert self.store.state([rule.scope + "nobody"]) == [None]
            assert self.take(rule, "nobody", cost=5).allowed

    def test_refunds_never_let_more_through_than_the_limit(self) -> None:
        """Whatever is refunded did not happen; what remains keeps the promise."""
        rng = Random(20)
        for rule in rules_of("r"):
            kept: list[tuple[int, int]] = []
            open_charges: list[tuple[int, int]] = []
            for _ in range(600):
                self.clock.advance_us(rng.choice((0, 1, 40_000, 200_000, 999_999, 1_500_000)))
                if open_charges and rng.random() < 0.3:
                    at, cost = open_charges.pop(rng.randrange(len(open_charges)))
                    self.store.refund(plan([rule], cost=cost), at)
                    continue
                cost = rng.choice((1, 1, 2, 5))
                outcome = self.take(rule, cost=cost)
                if outcome.allowed:
                    event = (outcome.at, cost)
                    (open_charges if rng.random() < 0.4 else kept).append(event)
            kept += open_charges
            if isinstance(rule.limit, SlidingWindow):
                assert worst_window(kept, rule.limit.window_us) <= 5
            else:
                for seconds in (1, 2, 7, 30, 200):
                    assert worst_window(kept, seconds * 1_000_000) <= 5 + seconds

    def test_reset_gives_the_whole_limit_back(self) -> None:
        for rule in rules_of("r"):
            self.use_up(rule)
            self.use_up(rule, "bob")
            self.store.reset([rule.scope + "ann", rule.scope + "nobody"])
            assert self.store.state([rule.scope + "ann"]) == [None]
            assert self.take(rule).found[0][:2] == (0, 4)
            assert not self.take(rule, "bob").allowed

    def test_reset_of_nothing_does_nothing(self) -> None:
        self.store.reset([])
        assert self.store.state([]) == []

    def test_state_tells_touched_keys_from_untouched_ones_in_the_order_asked(self) -> None:
        for rule in rules_of("r"):
            assert self.take(rule, "ann").allowed
            assert self.take(rule, "cid").allowed
            states = self.store.state([rule.scope + who for who in ("bob", "ann", "dan", "cid")])
            assert [state is not None for state in states] == [False, True, False, True]

    def test_holds_the_limits_that_people_use(self) -> None:
        for limit in (
            *LIMITS,
            TokenBucket("1000/minute"),
            TokenBucket("10000/second", burst=20_000),
            TokenBucket("1/year"),
            SlidingWindow("1/year"),
            SlidingWindow("1000000/second"),
            SlidingWindow("100000/day"),
        ):
            try:
                self.store.check(limit)
            except ConfigurationError as error:  # pragma: no cover
                raise AssertionError(f"a store must hold {limit}") from error
            assert self.take(Rule.of("common", "edge", limit)).allowed, limit

    def test_close_can_be_called_twice(self) -> None:
        self.store.close()
        self.store.close()
