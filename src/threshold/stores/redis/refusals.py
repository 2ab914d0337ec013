"""Refusals: what is certain to be refused again, remembered in this process so that it costs no round trip.

A refused plan is refused again, in the same way, until its limits would admit it or the episode of its strike
ends; a banned caller until the ban ends. The script says for how long that is certain, and nothing is
remembered for longer than a second, so that a reset elsewhere is noticed soon. Bounded: a full table is
emptied, which costs round trips and nothing else.
"""

from __future__ import annotations

from dataclasses import replace

from ...plan import Outcome, Plan
from ...token_bucket import NEVER

MOST_US = 1_000_000
_MOST_REMEMBERED = 8192


class Refusals:
    """Remember outcomes that are refusals, and give them back while they hold.

    Args:
        longest_us: most microseconds a refusal is remembered; 0 remembers nothing.

    >>> table = Refusals(1_000_000)
    >>> from threshold import SlidingWindow
    >>> from threshold.plan import Rule
    >>> plan = Plan((Rule.of("login", "endpoint", SlidingWindow("5/minute")),), ("ann",))
    >>> refusal = Outcome(False, [(400_000, 0, 900_000, None)], at=7)
    >>> table.remember(plan, refusal, 400_000, asked=0, now=2_000)
    >>> table.find(plan, now=102_000).found[0]
    (300000, 0, 800000, None)
    >>> table.find(plan, now=400_000) is None
    True
    """

    def __init__(self, longest_us: int = MOST_US) -> None:
        self._longest = longest_us
        self._known: dict[object, tuple[Plan, Outcome, int, int]] = {}
        self._struck: dict[str, int] = {}

    def __len__(self) -> int:
        """Number of refusals remembered, some of them expired."""
        return len(self._known)

    def remember(self, plan: Plan, outcome: Outcome, sure_us: int, *, asked: int, now: int) -> None:
        """Keep a refusal that holds for `sure_us` microseconds from when it was decided.

        That was between `asked` and `now`, instants of this process's clock. It is held from the first, so
        that nobody is refused for longer than the server said, and waits are counted from the last, so that
        nobody is told to come back too early, however late an answer was read.
        """
        if plan.peek or not self._longest:
            return
        known = self._known
        if len(known) >= _MOST_REMEMBERED or len(self._struck) >= _MOST_REMEMBERED:
            self.forget()
        if outcome.strike and plan.abuse is not None:
            # What was remembered of this caller was said before the strike and its penalty.
            self._struck[plan.abuse] = now
            if not outcome.blocked_us:
                return
            outcome = Outcome(False, (), outcome.at, 0, outcome.blocked_us, outcome.banned)
            sure_us = outcome.blocked_us
        elif outcome.allowed or outcome.strike:
            return
        # A penalty is the caller's, whatever is asked for; a refusal is that of these very limits.
        key = (plan.keys, plan.cost) if outcome.found else plan.abuse
        known[key] = (plan, outcome, now, asked + min(sure_us, self._longest))

    def find(self, plan: Plan, now: int) -> Outcome | None:
        """The refusal that is certain for this plan now, or None."""
        known = self._known
        if not known or plan.peek:
            return None
        if plan.abuse is not None:
            kept = known.get(plan.abuse)
            if kept is not None and kept[2] <= now < kept[3] and kept[0].ladder is plan.ladder:
                return _later(kept[1], now - kept[2])
        kept = known.get((plan.keys, plan.cost))
        if kept is None:
            return None
        asked, outcome, since, until = kept
        if not since <= now < until or asked.ladder is not plan.ladder or asked.abuse != plan.abuse:
            return None
        if asked.rules != plan.rules or self._struck.get(plan.abuse or "", -1) >= since:
            return None
        return _later(outcome, now - since)

    def forget(self) -> None:
        """Forget everything: something was given back."""
        self._known.clear()
        self._struck.clear()


def _later(outcome: Outcome, passed: int) -> Outcome:
    """The same refusal, `passed` microseconds later."""
    found = [
        (retry if retry == NEVER else max(retry - passed, 0), remaining, max(reset - passed, 0), None)
        for retry, remaining, reset, _ in outcome.found
    ]
    blocked = max(outcome.blocked_us - passed, 0)
    return replace(outcome, found=found, at=outcome.at + passed, blocked_us=blocked)
