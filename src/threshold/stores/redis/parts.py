"""A plan that no single node can decide: its parts, and the talk that decides them one after the other.

On a cluster the keys of a group live on one node, and the edge layer's elsewhere; while a slot migrates, even
a group can be on two nodes. Then the parts are decided in order, the one with the abuse record last, and what
an earlier part charged is given back when a later one refuses. Between the two, others may be refused what
was about to be given back: that is the price, and it is paid by refusing, never by admitting too much.

The talk is a generator that yields what to ask and is sent the answers, so that blocking and asyncio code
drive the same one. Pure: no socket, no clock.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

from ...errors import StoreUnavailable
from ...plan import Found, Outcome, Plan, Rule
from ...token_bucket import NEVER
from .cluster_slots import KeysApart

Answer = tuple[Outcome, int]
"""An outcome, and the microseconds for which a refusal is sure."""


class Part(NamedTuple):
    """Takes of a plan that live together."""

    places: tuple[int, ...]
    """Their places in the plan."""
    group: str


class AskPart(NamedTuple):
    """Decide one part."""

    plan: Plan
    group: str
    outside: int = 0
    """0: nothing refused elsewhere; 1: something did, and all of it may strike; 2: something that may not."""
    episode: int = 0


class RefundPart(NamedTuple):
    """Give back what one part was charged."""

    plan: Plan
    group: str
    at: int


Talk = Generator[AskPart | RefundPart, Answer | None, Answer]


def parts_of(plan: Plan, *, each_apart: bool = False) -> list[Part]:
    """The parts of a plan in the order in which they are decided.

    `each_apart` makes every key a part of its own, for a slot that is on its way to another node.
    """
    near = [i for i, rule in enumerate(plan.rules) if rule.layer != "edge"]
    far = [i for i, rule in enumerate(plan.rules) if rule.layer == "edge"]
    parts = [Part((i,), plan.names[i]) for i in far]
    if each_apart:
        parts += [Part((i,), plan.group) for i in near]
        near = []
    if near or plan.abuse is not None or plan.ladder is not None or not parts:
        parts.append(Part(tuple(near), plan.group))
    return parts


def whole(plan: Plan) -> Part:
    """All takes as one part."""
    return Part(tuple(range(len(plan.rules))), plan.group)


def deciding(plan: Plan, parts: Sequence[Part]) -> Talk:
    """Decide the parts in order, the ladder with the last; returns the outcome of the whole plan."""
    *firsts, last = parts
    charged: list[tuple[RefundPart, Part]] = []
    found: dict[int, Found] = {}
    outside = episode = 0
    try:
        for part in firsts:
            asked = part_of(plan, part, peek=plan.peek or outside > 0)
            answer = yield AskPart(asked, part.group)
            assert answer is not None
            found.update(zip(part.places, answer[0].found, strict=True))
            if answer[0].allowed and not asked.peek:
                charged.append((RefundPart(asked, part.group, answer[0].at), part))
            for rule, said in zip(asked.rules, answer[0].found, strict=True):
                if said[0]:
                    strikes = rule.strikes and said[0] != NEVER
                    outside = max(outside, 1 if strikes else 2)
                    episode = max(episode, rule.limit.episode_us(said[0]) if strikes else 0)
        asked = part_of(plan, last, peek=plan.peek, last=True)
        answer = yield AskPart(asked, last.group, outside, episode)
        assert answer is not None
    except (StoreUnavailable, KeysApart):
        for refund, _ in charged:
            yield from _giving_back(refund)
        raise
    outcome, sure = answer
    if outcome.blocked_us and not outcome.strike:  # a running penalty refused outright
        yield from _undo(plan, charged, found)
        return outcome, sure
    refused = outside > 0 or any(said[0] for said in outcome.found)
    if refused:
        yield from _undo(plan, charged, found)
    found.update(zip(last.places, outcome.found, strict=True))
    outcome.found = [found[i] for i in range(len(plan.rules))]
    return outcome, sure if refused and not outside else 0


def _undo(plan: Plan, charged: Sequence[tuple[RefundPart, Part]], found: dict[int, Found]) -> Talk:
    """Give back what was charged, and see what is left then."""
    for refund, part in charged:
        yield from _giving_back(refund)
        look = part_of(plan, part, peek=True)
        look.cost = 0
        try:
            answer = yield AskPart(look, part.group)
        except StoreUnavailable:
            continue
        assert answer is not None
        found.update(zip(part.places, answer[0].found, strict=True))
    return Outcome(False, (), 0), 0


def _giving_back(refund: RefundPart) -> Generator[RefundPart, Answer | None, None]:
    """A refund that cannot be made costs the caller what it was charged, and nothing else."""
    try:
        yield refund
    except StoreUnavailable:
        return


def part_of(plan: Plan, part: Part, *, peek: bool, last: bool = False) -> Plan:
    """One part as a plan of its own. Rules are looked up by identity: the same part, the same tuple."""
    rules = plan.rules if len(part.places) == len(plan.rules) else _picked(plan.rules, part.places)
    names = [plan.names[i] for i in part.places]
    if not last:
        return Plan(rules, names, plan.cost, None, None, part.group, peek)
    names += plan.names[len(plan.rules) :]  # that of the abuse record
    return Plan(rules, names, plan.cost, plan.abuse_scope, plan.ladder, part.group, peek)


_MOST_PICKED = 4096
_known: dict[tuple[int, tuple[int, ...]], tuple[Sequence[Rule], tuple[Rule, ...]]] = {}


def _picked(rules: tuple[Rule, ...], places: tuple[int, ...]) -> tuple[Rule, ...]:
    key = (id(rules), places)
    kept = _known.get(key)
    if kept is not None and kept[0] is rules:
        return kept[1]
    if len(_known) >= _MOST_PICKED:
        _known.clear()
    picked = tuple(rules[i] for i in places)
    _known[key] = (rules, picked)
    return picked
