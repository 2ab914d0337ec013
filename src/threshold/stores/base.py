"""Store: the contract between a decision and the place its state lives. Dumb, and atomic.

A third-party store is a store when it passes `threshold.testing.StoreContract`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from ..plan import Found, Limit, Outcome, Plan, Rule, State

Clock = Callable[[], int]
"""The current instant in integer microseconds."""

Take = Callable[[str, int], Found]
"""Decide one cost for one name (a key without its scope) under a rule that is bound already."""


@runtime_checkable
class Store(Protocol):
    """Keep the state of limits and decide plans against it, each in one atomic step.

    Every method may raise `StoreUnavailable`, and nothing else. Two more may be offered, for speed:
    `bind(rule)`, a `Take` that decides one rule without a plan; and `admit(asked)`, which charges an ordinary
    request and answers `Admitted`, or writes nothing and answers None: then `decide` is asked. Neither is
    used where a subclass or a wrapper has a `decide` of its own (see `shortcut`).
    """

    def decide(self, plan: Plan) -> Outcome:
        """Decide all takes of the plan together, by the rules of `engine.decide`."""
        ...

    def refund(self, plan: Plan, at: int) -> None:
        """Give back what the plan charged at the instant `at` (`Outcome.at`), as far as that is safe."""
        ...

    def reset(self, keys: Sequence[str], group: str | None = None) -> None:
        """Forget the state of these keys.

        A store that spreads keys over servers finds them by the `Plan.group` they were decided under; None:
        the identity in the key.
        """
        ...

    def state(self, keys: Sequence[str]) -> list[State]:
        """Read the raw states of these keys, None where there is none."""
        ...

    def check(self, limit: Limit) -> None:
        """Raise `ConfigurationError` when this store cannot hold the limit exactly."""
        ...

    def close(self) -> None:
        """Release what the store holds; using it afterwards is an error."""
        ...


@runtime_checkable
class AsyncStore(Protocol):
    """The same contract for stores that answer over a network, awaited.

    `asynchronous` is True; that is how a front end tells the two apart without calling anything.
    """

    asynchronous: bool

    def decide(self, plan: Plan) -> Awaitable[Outcome]: ...
    def refund(self, plan: Plan, at: int) -> Awaitable[None]: ...
    def reset(self, keys: Sequence[str], group: str | None = None) -> Awaitable[None]: ...
    def state(self, keys: Sequence[str]) -> Awaitable[list[State]]: ...
    def check(self, limit: Limit) -> None: ...
    def aclose(self) -> Awaitable[None]: ...


def shortcut(owner: object, name: str, instead_of: str = "decide") -> Callable[..., Any] | None:
    """The owner's method of this name, which answers in place of another; None without one.

    None as well where the other is not the one the shortcut was written for: in a subclass that has its own,
    and in a wrapper that forwards whatever it does not know.
    """
    if instead_of in getattr(owner, "__dict__", ()):
        return None
    for kind in type(owner).__mro__:
        if name in vars(kind):
            own: Callable[..., Any] = getattr(owner, name)
            return own
        if instead_of in vars(kind):
            return None
    return None


def bind(store: Store, rule: Rule) -> Take:
    """The store's quickest way to decide this one rule: its own `bind`, or a plan per call."""
    own: Callable[[Rule], Take] | None = shortcut(store, "bind")
    if own is not None:
        return own(rule)
    rules = (rule,)

    def take(name: str, cost: int) -> Found:
        return store.decide(Plan(rules, (name,), cost, group=name)).found[0]

    return take
