"""Wire: plans as decide.lua reads them, and outcomes as it writes them. Pure; knows no socket and no client.

A plan is sent as key names and a blob of doubles. The part of the blob that is the same for every caller
(the shape: which limits, which ladder) is packed once per rules and ladder and then reused. What comes
back is one string of 64-bit integers, for any number of plans.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from struct import Struct, iter_unpack, pack
from typing import NamedTuple

from ...errors import ConfigurationError
from ...escalation import AbuseState, Ladder
from ...plan import Found, Limit, Outcome, Plan, Rule, State
from ...sliding_window import COUNT_BITS, ZERO, SlidingWindow, joined
from ...token_bucket import TokenBucket

EXACT = 2**53
"""Whole numbers below this are exact in a double."""
COST_CEILING = 2**31
"""No limit holds that much, so any cost above is refused just the same."""

_MOST_SHAPES = 4096
_LUA = files("threshold.stores.redis")


class Script(NamedTuple):
    """A script's text and the name the server gives it."""

    text: bytes
    sha: bytes

    @classmethod
    def read(cls, name: str) -> Script:
        """Read a script that ships with this package."""
        text = _LUA.joinpath(name).read_bytes()
        return cls(text, sha1(text, usedforsecurity=False).hexdigest().encode())


DECIDE = Script.read("decide.lua")
REFUND = Script.read("refund.lua")


class Shape(NamedTuple):
    """What plans with the same rules and ladder have in common, packed."""

    rules: Sequence[Rule]
    ladder: Ladder | None
    blob: bytes
    takes: int
    recorded: bool
    """The key of an abuse record follows those of the takes."""


class Shapes:
    """The shapes met so far. Bounded: starts afresh when full."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, bool], Shape] = {}

    def of(self, plan: Plan) -> Shape:
        """The shape of a plan."""
        rules, ladder = plan.rules, plan.ladder
        key = (id(rules), id(ladder), plan.abuse is None)
        shape = self._known.get(key)
        if shape is not None and shape.rules is rules and shape.ladder is ladder:
            return shape
        shape = shape_of(rules, ladder, plan.abuse is not None)
        if len(self._known) >= _MOST_SHAPES:
            self._known.clear()
        self._known[key] = shape
        return shape


def shape_of(rules: Sequence[Rule], ladder: Ladder | None, recorded: bool) -> Shape:
    """Pack the rules and the ladder as decide.lua reads them."""
    numbers: list[int] = [len(rules), recorded]
    if ladder is None:
        numbers += (0, 0, 0, 0)
    else:
        strikes = any(rule.strikes for rule in rules)
        numbers += (len(ladder.rungs), ladder.decay_us, ladder.longest_us, strikes)
    for rule in rules:
        limit = rule.limit
        if isinstance(limit, TokenBucket):
            numbers += (1, rule.strikes, limit.unit, limit.drain, limit.full, limit.capacity)
        elif isinstance(limit, SlidingWindow):
            numbers += (2, rule.strikes, limit.width, limit.precision, limit.limit, limit.window_us)
        else:
            raise ConfigurationError("limit", limit, "this store knows TokenBucket and SlidingWindow")
    for rung in () if ladder is None else ladder.rungs:
        numbers += (rung.forgive, rung.block_us, rung.ban_us > 0, rung.shadow_us)
    return Shape(rules, ladder, pack(f"<{len(numbers)}d", *numbers), len(rules), recorded)


def check_limit(limit: Limit) -> None:
    """Raise `ConfigurationError` when the script cannot hold the limit exactly."""
    if isinstance(limit, TokenBucket):
        if 2 * limit.full + limit.drain >= EXACT:
            most = max((EXACT - limit.drain) // (2 * limit.unit), 0)
            remedy = "Redis counts exactly below 2**53: " + (
                f"give a burst of {most:,} or less, or a rate with a rounder period"
                if most
                else "give a rate with a rounder period"
            )
            raise ConfigurationError("limit", limit, remedy)
    elif not isinstance(limit, SlidingWindow):
        raise ConfigurationError("limit", limit, "this store knows TokenBucket and SlidingWindow")


class Ask(NamedTuple):
    """One plan, or a part of one, ready to be sent."""

    names: list[bytes]
    shape: Shape
    cost: int
    mode: int
    """1 for a peek, plus 2 or 4 when a part of the plan was refused elsewhere; see decide.lua."""
    episode: int = 0
    """Microseconds of the episode that a limit decided elsewhere would open, were it to strike."""
    slot: int = 0
    """Where its keys live on a cluster."""


_HEAD = Struct("<6d")


def blob_of_one(ask: Ask, now: int) -> bytes:
    """ARGV[1] of decide.lua for one plan."""
    return _HEAD.pack(now, 1, 49, ask.cost, ask.mode, ask.episode) + ask.shape.blob


def blob_of_many(asks: Sequence[Ask], now: int) -> bytes:
    """ARGV[1] of decide.lua for several plans; a shape they share is sent once."""
    numbers = [now, len(asks)]
    places: dict[int, int] = {}
    shapes: list[bytes] = []
    place = 8 * (2 + 4 * len(asks)) + 1
    for _, shape, cost, mode, episode, _ in asks:
        at = places.get(id(shape))
        if at is None:
            places[id(shape)] = at = place
            place += len(shape.blob)
            shapes.append(shape.blob)
        numbers += (at, cost, mode, episode)
    return pack(f"<{len(numbers)}d", *numbers) + b"".join(shapes)


_REPLIES = [Struct(f"<{n}q") for n in range(64)]


def numbers_of(reply: bytes) -> tuple[int, ...]:
    """The integers of a reply."""
    count = len(reply) >> 3
    return (_REPLIES[count] if count < 64 else Struct(f"<{count}q")).unpack(reply)


def outcome_at(numbers: tuple[int, ...], at: int, takes: int) -> tuple[Outcome, int, int]:
    """Read the outcome of one plan that starts at index `at`.

    Returns the outcome, the microseconds for which the same plan is refused the same way without any
    further effect (0 when that is not certain), and the index of the next outcome.
    """
    code = numbers[at]
    at += 1
    sure = strike = blocked = 0
    if code & 16:
        sure, strike, blocked = numbers[at : at + 3]
        at += 3
    if not code & 8:
        return Outcome(False, (), numbers[0], 0, blocked, code & 4 != 0), sure, at
    found: list[Found] = [
        (numbers[i], numbers[i + 1], numbers[i + 2], None) for i in range(at, at + 3 * takes, 3)
    ]
    outcome = Outcome(code & 1 != 0, found, numbers[0], strike, blocked, code & 4 != 0, code & 2 != 0)
    return outcome, sure, at + 3 * takes


def refund_blob(rules: Sequence[Rule], cost: int, at: int, now: int) -> bytes:
    """ARGV[1] of refund.lua."""
    numbers: list[int] = [now, at]
    for rule in rules:
        limit = rule.limit
        if isinstance(limit, TokenBucket):
            whole, part = divmod(cost * limit.unit, limit.drain)
            numbers += (1, limit.drain, min(whole, EXACT - 1), part)
        elif isinstance(limit, SlidingWindow):
            numbers += (2, limit.width, at // limit.width, min(cost, COST_CEILING))
    return pack(f"<{len(numbers)}d", *numbers)


_RECORD = Struct("<IddBdd")
_HEAD_BYTES = 11


def state_of(raw: bytes | None) -> State:
    """A stored state for people: (instant, fraction) of a meter, a ring, or an abuse record.

    Their lengths tell them apart: 16 (digits) or 11 bytes, 11 + 6 per sub-window, 37.
    """
    if raw is None:
        return None
    if len(raw) == 16:
        return int(raw), 0
    if len(raw) == _RECORD.size:
        return AbuseState(*(int(number) for number in _RECORD.unpack(raw)))
    instant, fraction = int.from_bytes(raw[:7], "little"), int.from_bytes(raw[7:_HEAD_BYTES], "little")
    if len(raw) == _HEAD_BYTES:
        return instant, fraction
    entries = iter_unpack("<HI", raw[_HEAD_BYTES:])  # the head was: youngest sub-window, sum of the counts
    return joined(ZERO + (instant - (instant - low) % 65536 << COUNT_BITS) + count for low, count in entries)
