"""Plan: everything a store needs to decide one request. Outcome: everything it found and did.

Pure data, the only vocabulary that policies and stores share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal, Protocol

from .escalation import Ladder
from .rate import Rate

Layer = Literal["edge", "tenant", "user", "endpoint", "limiter"]
OnStoreError = Literal["allow", "deny", "local"]

State = Any
"""A limit's own state: an int for a token bucket and for a sliding window. None means untouched."""

Found = tuple[int, int, int, State]
"""What one limit said: (retry_us, remaining, reset_us, state).

retry_us is 0 where it admits, NEVER where it never can, else microseconds; state is what the store is left
with (None from stores that keep it elsewhere)."""


Admitted = tuple[int, int, int]
"""An admitted request: (index of the limit that binds, what remains of it, its reset_us); see `binding`."""


class Limit(Protocol):
    """What an algorithm must offer: pure steps over an opaque state, in integer microseconds.

    One thing more may be offered, for speed: `ordinary()`, source code that does what `step` does for a state
    there is and a cost that is charged. It gives four things: what to do once for all limits that ask for
    just the same; the code; an expression for the instant at which the state then rests; and the objects
    they need, by name. Limits with the same first part, if it is not empty, share these objects too; names
    that begin with an underscore are the caller's. The code finds `state`, `now` and `cost`. It leaves the
    new `state` and what is `remaining`; or returns None, for `step` to be asked. `state` and the objects go
    by other names where several limits stand together; attributes, names of arguments and text stay.
    """

    @property
    def rate(self) -> Rate: ...
    @property
    def limit(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    @property
    def window_us(self) -> int: ...
    @property
    def algorithm(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    def step(self, state: State, now: int, cost: int) -> Found: ...
    def refund(self, state: State, now: int, cost: int, at: int) -> State: ...
    def rests_at(self, state: State) -> int: ...
    def episode_us(self, retry_us: int) -> int: ...


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit in force: the part of a take that is the same for every caller.

    `scope` opens every key counted under this rule and ends in NUL, so that scope + identity is
    injective; it holds the limit's fingerprint, so that a changed limit never reads a foreign state.
    """

    name: str
    layer: Layer
    limit: Limit
    scope: str
    strikes: bool = False
    on_store_error: OnStoreError = "allow"
    step: Callable[[State, int, int], Found] = field(init=False, repr=False, compare=False)
    most: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", self.limit.step)
        object.__setattr__(self, "most", self.limit.limit)

    @classmethod
    def of(
        cls,
        name: str,
        layer: Layer,
        limit: Limit,
        *,
        strikes: bool = False,
        on_store_error: OnStoreError = "allow",
        prefix: str = "",
    ) -> Rule:
        """Build a rule with the scope that belongs to its name and limit."""
        return cls(name, layer, limit, f"{prefix}{name}#{limit.fingerprint}\0", strikes, on_store_error)


class Lineup(tuple[Rule, ...]):
    """Rules that are asked together again and again: worth a store's while to prepare for."""


def binding(rules: Sequence[Rule], found: Sequence[Found]) -> int:
    """Index of the limit that binds: the refusal that lasts longest, else the smallest remaining share."""
    best = i = 0
    least = 2.0
    for answer in found:
        share = answer[1] / (rules[i].most or 1)
        if answer[0]:  # below every share; NEVER lasts longest
            share = -float(answer[0]) if answer[0] > 0 else -inf
        if share < least:
            best = i
            least = share
        i += 1  # noqa: SIM113 (0.1 us)
    return best


# Plan and Outcome are built for every request. They are values and nobody changes them, but a frozen
# dataclass costs 0.6 us to build and a tuple 40 ns per field read; a plain slotted one 0.2 us and 5 ns.


@dataclass(slots=True)
class Plan:
    r"""One request as a store sees it: the takes to make, and the abuse record to consult.

    A take is a rule and the name counted under it; the two together are a key. Rules and names stand in
    parallel columns because the rules of a request are known beforehand and only the names are new.

    >>> from threshold import TokenBucket
    >>> user = Rule.of("user", "user", TokenBucket("100/minute"))
    >>> plan = Plan((user,), ("u:ada", "u:ada"), abuse_scope="abuse\0")
    >>> plan.keys == (user.scope + "u:ada",), plan.abuse
    (True, 'abuse\x00u:ada')
    """

    rules: tuple[Rule, ...]
    names: Sequence[str]
    """One per rule; and where an abuse record is consulted, last, the name it is kept under."""
    cost: int = 1
    abuse_scope: str | None = None
    """What opens the key of the caller's abuse record; None when nothing here may strike."""
    ladder: Ladder | None = None
    group: str = ""
    """Keys of a plan that must live together (everything but the edge layer) share this name."""
    peek: bool = False
    """Decide, but write nothing."""

    @classmethod
    def of(
        cls,
        rules: tuple[Rule, ...],
        keys: Sequence[str],
        cost: int = 1,
        abuse: str | None = None,
        ladder: Ladder | None = None,
        group: str = "",
        peek: bool = False,
    ) -> Plan:
        """Build a plan from whole keys: a rule's scope and a name each, `abuse` with a scope of its own.

        Raises:
            ValueError: for a key that does not begin with its rule's scope.
        """
        names = []
        for rule, key in zip(rules, keys, strict=True):
            if not key.startswith(rule.scope):
                raise ValueError(f"keys: {key!r} does not begin with {rule.scope!r}, the scope of its rule")
            names.append(key[len(rule.scope) :])
        if abuse is None:
            return cls(rules, names, cost, None, ladder, group, peek)
        scope, name = split(abuse)
        return cls(rules, [*names, name], cost, scope, ladder, group, peek)

    @property
    def keys(self) -> tuple[str, ...]:
        """One full key per rule: the rule's scope + the name counted."""
        return tuple([rule.scope + name for rule, name in zip(self.rules, self.names)])  # noqa: B905 (0.1 us)

    @property
    def abuse(self) -> str | None:
        """Key of the caller's abuse record, or None when nothing here may strike."""
        return None if self.abuse_scope is None else self.abuse_scope + self.names[-1]


Asked = tuple[tuple[Rule, ...], Sequence[str], int, str | None, Ladder | None, str]
"""What makes a `Plan`, up to its group: a request as a policy hands it to whoever may need no plan for it."""


def split(key: str) -> tuple[str, str]:
    r"""The scope of a key, and the name counted under it; what has no NUL is all scope.

    >>> split("user\0u:ada")
    ('user\x00', 'u:ada')
    """
    scope, nul, name = key.partition("\0")
    return scope + nul, name


@dataclass(slots=True)
class Outcome:
    """What a store found and did for one plan."""

    allowed: bool
    """The request may go on: all limits admitted it and were charged, or the ladder forgave it."""
    found: Sequence[Found]
    """What each limit said, in the order of the plan; empty when a penalty refused outright."""
    at: int
    """The instant of the decision, in the store's microseconds."""
    strike: int = 0
    """Number of the strike this request earned; 0 for none."""
    blocked_us: int = 0
    """Microseconds a cooldown or ban still runs, this request's own penalty included."""
    banned: bool = False
    """The block is a ban."""
    shadowed: bool = False
    """The caller is under a shadow ban."""
    overflowed: int = 0
    """Limits that used their shared overflow state because the store is full; a strike lost counts as one."""
