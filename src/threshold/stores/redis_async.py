"""AsyncRedisStore: state on a Redis or Valkey server, for asyncio. The same as RedisStore, awaited.

What is here is the order of things; the words are in wire.py, connection and batching in redis_line.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from redis.exceptions import ResponseError

from ..plan import Outcome, Plan, State
from .base import Clock
from .circuit import OnTrouble
from .redis_client import connection_kwargs
from .redis_front import LOOK_AROUND, RedisFront
from .redis_keys import DEFAULT_PREFIX
from .redis_line import RedisLine
from .resp import command
from .wire import refund_blob, state_of


class AsyncRedisStore(RedisFront):
    asynchronous: bool = True

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
            asynchronous=True,
            budget=budget,
            prefix=prefix,
            secret=secret,
            remember=remember,
            probe_interval=probe_interval,
            on_trouble=on_trouble,
            clock=clock,
        )
        kwargs = connection_kwargs(self.target, None, self.budget)
        cls = self.target.connection_class
        self._connect = lambda: cls(**kwargs)
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, RedisLine] = WeakKeyDictionary()
        self._last: tuple[asyncio.AbstractEventLoop, RedisLine] | None = None
        self._shared_circuit = self._circuit()

    def _line(self) -> RedisLine:
        loop = asyncio.get_running_loop()
        if self._last is not None and self._last[0] is loop:
            return self._last[1]
        line = self._lines.get(loop)
        if line is None:
            line = self._lines[loop] = RedisLine(
                self._connect, self._pack, None, self.budget, self._shared_circuit, self._look_around
            )
        self._last = (loop, line)
        return line

    async def _look_around(self, line: RedisLine, connection: Any) -> None:
        """See what kind of server this is, over the first connection to it."""
        await connection.send_packed_command((LOOK_AROUND,), False)
        try:
            info = await connection.read_response(True)
        except ResponseError:  # not allowed to ask: nothing to say
            return
        self._learn_of_server(line.circuit, info)

    async def decide(self, plan: Plan) -> Outcome:
        """Decide the plan in one atomic step on the server (see `engine.decide`)."""
        known = self._refusals.find(plan, self._local_us())
        if known is not None:
            return known
        answer: tuple[Outcome, int] = await self._line().ask(self._ask(plan))
        outcome, sure = answer
        if sure:
            self._learn(plan, outcome, sure)
        return outcome

    async def refund(self, plan: Plan, at: int) -> None:
        self._refusals.forget()
        names = self._names.names(plan.keys, plan.group)
        blob = refund_blob(plan.rules, plan.cost, at, self._now())
        packer = self._refund_packer
        await self._line().call(packer.evalsha(names, blob), lambda: packer.eval(names, blob))

    async def reset(self, keys: Sequence[str]) -> None:
        self._refusals.forget()
        if keys:
            await self._line().call(command(b"DEL", *self._names.names(tuple(keys), "")))

    async def state(self, keys: Sequence[str]) -> list[State]:
        if not keys:
            return []
        raw = await self._line().call(command(b"MGET", *self._names.names(tuple(keys), "")))
        return [state_of(value) for value in raw]

    async def aclose(self) -> None:
        line = self._lines.get(asyncio.get_running_loop())
        if line is not None:
            await line.close()
