"""RedisStore: state on a Redis or Valkey server, shared by every process of a fleet. For blocking code.

A decision is one call of decide.lua: the server reads all states, decides by its own clock, and writes what
changed, in one atomic step and one round trip. What is here is the order of things; the words are in wire.py,
the connections in redis_server.py.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from ..plan import Outcome, Plan, State
from .base import Clock
from .circuit import OnTrouble
from .fallback import AsyncFallbackStore, FallbackStore
from .redis_async import AsyncRedisStore
from .redis_client import connection_kwargs
from .redis_front import LOOK_AROUND, RedisFront
from .redis_keys import DEFAULT_PREFIX
from .redis_server import Link, RedisServer
from .resp import command
from .wire import blob_of_one, numbers_of, outcome_at, refund_blob, state_of

__all__ = ["AsyncFallbackStore", "AsyncRedisStore", "FallbackStore", "RedisStore"]


class RedisStore(RedisFront):
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
        kwargs = connection_kwargs(self.target, self.budget / 2, self.budget / 2)
        cls = self.target.connection_class
        self._server = RedisServer(lambda: cls(**kwargs), self.budget, self._circuit(), self._look_around)

    def _look_around(self, server: RedisServer, link: Link) -> None:
        """See what kind of server this is, over the first connection to it."""
        info = link.exchange(LOOK_AROUND, time.monotonic() + self.budget / 2)
        self._learn_of_server(server.circuit, info)

    def decide(self, plan: Plan) -> Outcome:
        """Decide the plan in one atomic step on the server (see `engine.decide`)."""
        known = self._refusals.find(plan, self._local_us())
        if known is not None:
            return known
        ask = self._ask(plan)
        blob = blob_of_one(ask, self._now())
        reply = self._server.ask(
            self._packer.evalsha(ask.names, blob), lambda: self._packer.eval(ask.names, blob)
        )
        outcome, sure, _ = outcome_at(numbers_of(reply), 1, ask.shape.takes)
        return self._learn(plan, outcome, sure) if sure else outcome

    def refund(self, plan: Plan, at: int) -> None:
        """Give back what the plan charged at the instant `at`, as far as that is safe."""
        self._refusals.forget()
        names = self._names.names(plan.keys, plan.group)
        blob = refund_blob(plan.rules, plan.cost, at, self._now())
        packer = self._refund_packer
        self._server.ask(packer.evalsha(names, blob), lambda: packer.eval(names, blob))

    def reset(self, keys: Sequence[str]) -> None:
        self._refusals.forget()
        if keys:
            self._server.ask(command(b"DEL", *self._names.names(tuple(keys), "")))

    def state(self, keys: Sequence[str]) -> list[State]:
        if not keys:
            return []
        raw = self._server.ask(command(b"MGET", *self._names.names(tuple(keys), "")))
        return [state_of(value) for value in raw]

    def close(self) -> None:
        self._server.close()
