"""RedisStore: state on a Redis or Valkey server, shared by every process of a fleet. For blocking code.

A decision is one call of decide.lua: the server reads all states, decides by its own clock, and writes what
changed, in one atomic step and one round trip. What is here is the order of things; the words are in wire.py,
the connections in server.py.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from ...errors import StoreUnavailable
from ...plan import Outcome, Plan, State
from ..base import Clock
from .circuit import OnTrouble
from .cluster_slots import KeysApart
from .front import LOOK_AROUND, RedisFront
from .keys import DEFAULT_PREFIX
from .nodes import RedisNodes
from .parts import Answer, AskPart, RefundPart, Talk, deciding, part_of, parts_of, whole
from .resp import command
from .server import Link, RedisServer
from .wire import numbers_of, outcome_at, state_of


class RedisStore(RedisFront):
    """Keep state on a Redis (6.2 and later) or Valkey (7.2 and later) server, for blocking code.

    One decision is one round trip, decided by the server's clock. Threads share a store; a forked child opens
    connections of its own. Needs `pip install "threshold[redis]"`.

    Args:
        server: redis://, rediss:// or unix:// URL, `redis+sentinel://host:port,host:port/service`,
            `redis+cluster://host:port,host:port`, or a client of redis-py that stays yours. Of a client, its
            address, credentials and TLS are used; its time-outs, retries and decoding are not.
        budget: seconds one decision may take, connecting included, 0.001 to 10. Beyond it there is no
            answer but `StoreUnavailable`, and whether it was charged is unknown: it is never asked again.
        prefix: opens every key name, 1 to 12 characters. Stores with another prefix share nothing.
        secret: up to 64 bytes that key the hash of names; the same in every process.
        remember: seconds for which a certain refusal may be answered from memory, 0 to 1. A reset made by
            another process takes up to that long to show.
        probe_interval: seconds between attempts while the server does not answer, 0.01 to 60.
        on_trouble: called with ("opened", why), ("closed", why) or ("warning", what).
        clock: instant in integer microseconds, for tests; default: the server's clock.

    Raises:
        ConfigurationError: for an option that cannot work, a client that is awaited, or one that reads from
            replicas. Nothing is asked of the server yet: it may be away, and come later.

    >>> store = RedisStore("redis://localhost:6379/0", budget=0.05)
    >>> store.budget
    0.05
    >>> store.close()
    """

    blocking: ClassVar[bool] = True
    asynchronous: ClassVar[bool] = False

    def __init__(
        self,
        server: object,
        *,
        budget: float = 0.05,
        prefix: str = DEFAULT_PREFIX,
        secret: bytes = b"",
        remember: float = 1.0,
        probe_interval: float = 1.0,
        on_trouble: OnTrouble | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            server,
            asynchronous=False,
            budget=budget,
            prefix=prefix,
            secret=secret,
            remember=remember,
            probe_interval=probe_interval,
            on_trouble=on_trouble,
            clock=clock,
        )
        self._nodes = RedisNodes(
            self.target, self.budget, self._circuit, self.probe_interval / 4, self._look_around
        )

    def decide(self, plan: Plan) -> Outcome:
        """Decide the plan in one atomic step on the server (see `engine.decide`)."""
        asked = self._local_us()
        known = self._refusals.find(plan, asked)
        if known is not None:
            return known
        only = self._nodes.only
        if only is None:
            outcome, sure = self._decide_on_cluster(plan)
        else:
            ask = self._ask(plan, "")
            reply = only.ask(self._pack((ask,), False), lambda: self._pack((ask,), True))
            outcome, sure, _ = outcome_at(numbers_of(reply), 1, ask.shape.takes)
        if sure or outcome.strike:
            self._learn(plan, outcome, sure, asked)
        return outcome

    def refund(self, plan: Plan, at: int) -> None:
        """Give back what the plan charged at the instant `at`, as far as that is safe.

        Raises:
            StoreUnavailable: when the server did not say that it did; it is not asked again.
        """
        self._refusals.forget()
        parts = parts_of(plan) if self._names.tagged else [whole(plan)]
        for part in parts:
            self._give_back(part_of(plan, part, peek=False), part.group, at)

    def reset(self, keys: Sequence[str], group: str | None = None) -> None:
        """Forget the state of these keys, on the server at once, in other processes within a second.

        Args:
            keys: full text keys.
            group: on a cluster, the group they live with (`Plan.group`); default: the identity they count.
        """
        self._refusals.forget()
        for names, slot in self._gathered(keys, group):
            self._nodes.ask(slot, command(b"DEL", *names))

    def state(self, keys: Sequence[str], group: str | None = None) -> list[State]:
        """Read the raw states of these keys, None where there is none; `group` as for `reset`."""
        found: list[State] = []
        for names, slot in self._gathered(keys, group):
            found += map(state_of, self._nodes.ask(slot, command(b"MGET", *names)))
        return found

    def close(self) -> None:
        """Close the store's own connections; a client that was handed in stays open."""
        self._nodes.close()

    def _look_around(self, server: RedisServer, link: Link) -> None:
        """See what kind of server this is, over the first connection to it."""
        info = link.exchange(LOOK_AROUND, time.monotonic() + self.budget / 2)
        self._learn_of_server(server.circuit, info)

    def _decide_on_cluster(self, plan: Plan) -> Answer:
        try:
            return self._talk(deciding(plan, parts_of(plan)))
        except KeysApart:
            pass
        try:
            return self._talk(deciding(plan, parts_of(plan, each_apart=True)))
        except KeysApart:
            raise StoreUnavailable("a key is between two nodes; nothing was charged") from None

    def _talk(self, talk: Talk) -> Answer:
        """Do what a talk asks for, until it knows the outcome."""
        try:
            step = next(talk)
            while True:
                try:
                    step = talk.send(self._do(step))
                except (StoreUnavailable, KeysApart) as error:
                    step = talk.throw(error)
        except StopIteration as done:
            answer: Answer = done.value
            return answer

    def _do(self, step: AskPart | RefundPart) -> Answer | None:
        if isinstance(step, RefundPart):
            self._give_back(*step)
            return None
        ask = self._ask(*step)
        reply = self._nodes.ask(ask.slot, self._pack((ask,), False), lambda: self._pack((ask,), True))
        outcome, sure, _ = outcome_at(numbers_of(reply), 1, ask.shape.takes)
        return outcome, sure

    def _give_back(self, part: Plan, group: str, at: int) -> None:
        slot, packed, by_text = self._refund(part, group, at)
        self._nodes.ask(slot, packed, by_text)
