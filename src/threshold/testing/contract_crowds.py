"""The contract, part six: decisions at once, and names that are nearly the same."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from threading import Barrier, Thread

from ..plan import Outcome, Plan, Rule
from ..sliding_window import SlidingWindow
from ..token_bucket import TokenBucket
from .contract_base import LADDER, Awaited, Bench, plan, rules_of

_CALLERS = 8
_ROUNDS = 20
_TENANT = Rule.of("tenant", "tenant", TokenBucket("60/minute", burst=6))
_USER = Rule.of("user", "user", SlidingWindow("5 per 10 seconds"), strikes=True)


class CrowdContract(Bench):
    """What a store must do when several ask it at once, and whom it must tell apart."""

    def together(self, plans: Sequence[Plan]) -> list[Outcome]:
        """Decide all plans at once: tasks of one event loop, or a thread each that is interrupted often."""
        if isinstance(self.store, Awaited):
            return self.store.together(plans)
        barrier = Barrier(len(plans))
        outcomes: list[Outcome] = []

        def ask(plan: Plan) -> None:
            barrier.wait()
            outcomes.append(self.store.decide(plan))

        threads = [Thread(target=ask, args=(plan,)) for plan in plans]
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(before)
        return outcomes

    def test_callers_at_once_never_get_more_than_the_limit(self) -> None:
        for rule in rules_of("crowd"):
            for turn in range(_ROUNDS):
                outcomes = self.together([plan([rule], f"c{turn}")] * _CALLERS)
                assert sum(outcome.allowed for outcome in outcomes) == 5, (rule.name, outcomes)

    def test_callers_at_once_are_charged_by_every_limit_or_by_none(self) -> None:
        for turn in range(_ROUNDS):
            outcomes = self.together([plan([_TENANT, _USER], f"d{turn}")] * _CALLERS)
            assert sum(outcome.allowed for outcome in outcomes) == 5
            (left,) = self.store.decide(plan([_TENANT], f"d{turn}", cost=0, peek=True)).found
            assert left[1] == 1, "refused by one limit, yet charged to another"

    def test_refusals_at_once_are_one_strike(self) -> None:
        for turn in range(_ROUNDS):
            who = f"e{turn}"
            self.use_up(_USER, who)
            outcomes = self.together([plan([_USER], who, ladder=LADDER)] * _CALLERS)
            assert sorted(outcome.strike for outcome in outcomes) == [0] * (_CALLERS - 1) + [1]

    def test_names_that_look_alike_are_counted_apart(self) -> None:
        names = ["ada", "Ada", "ada ", " ada", "ada\n", "ad\u00e1", "ada\u0301", "ada\u0000", "ａda"]
        for rule in rules_of("alike"):
            for name in names:
                assert self.take(rule, name, cost=5).allowed, f"{name!r} is counted as somebody else"
                assert not self.take(rule, name).allowed
