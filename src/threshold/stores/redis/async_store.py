"""AsyncRedisStore: state on a Redis or Valkey server, for asyncio. The same as RedisStore, awaited.

What is here is the order of things; the words are in wire.py, connection and batching in line.py.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from redis.exceptions import ResponseError

from ...errors import StoreUnavailable
from ...plan import Outcome, Plan, State
from ..base import Clock
from .circuit import OnTrouble
from .cluster_slots import KeysApart
from .front import LOOK_AROUND, RedisFront
from .keys import DEFAULT_PREFIX
from .line import RedisLine
from .nodes_async import AsyncRedisNodes
from .parts import Answer, AskPart, RefundPart, Talk, deciding, part_of, parts_of, whole
from .resp import command
from .wire import state_of


class AsyncRedisStore(RedisFront):
    """`RedisStore` for asyncio. Takes the same arguments, and clients of `redis.asyncio`.

    Decisions asked for in the same turn of the event loop share one command and one round trip; one that is
    alone is not delayed. Each event loop has connections of its own, closed by `aclose` on that loop.

    >>> import asyncio
    >>> from threshold import AsyncLimiter, StoreUnavailable, TokenBucket
    >>> async def main():
    ...     store = AsyncRedisStore("redis://127.0.0.1:9/0")  # nobody listens there
    ...     try:
    ...         await AsyncLimiter(TokenBucket("5/minute"), store).acquire("ann")
    ...     except StoreUnavailable as error:
    ...         return str(error).endswith("nothing was charged")
    ...     finally:
    ...         await store.aclose()
    >>> asyncio.run(main())
    True
    """

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
        self._per_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncRedisNodes] = WeakKeyDictionary()
        self._last: tuple[asyncio.AbstractEventLoop, AsyncRedisNodes] | None = None
        _stores.add(self)

    async def decide(self, plan: Plan) -> Outcome:
        """Decide the plan in one atomic step on the server (see `engine.decide`)."""
        asked = self._local_us()
        known = self._refusals.find(plan, asked)
        if known is not None:
            return known
        nodes = self._nodes()
        if nodes.only is not None:
            answer: Answer = await nodes.only.ask(self._ask(plan, ""))
        else:
            answer = await self._decide_on_cluster(nodes, plan)
        outcome, sure = answer
        if sure or outcome.strike:
            self._learn(plan, outcome, sure, asked)
        return outcome

    async def refund(self, plan: Plan, at: int) -> None:
        """Give back what the plan charged at the instant `at`, as far as that is safe.

        Raises:
            StoreUnavailable: when the server did not say that it did; it is not asked again.
        """
        self._refusals.forget()
        parts = parts_of(plan) if self._names.tagged else [whole(plan)]
        for part in parts:
            await self._give_back(self._nodes(), part_of(plan, part, peek=False), part.group, at)

    async def reset(self, keys: Sequence[str], group: str | None = None) -> None:
        """Forget the state of these keys, on the server at once, in other processes within a second.

        Args:
            keys: full text keys.
            group: on a cluster, the group they live with (`Plan.group`); default: the identity they count.
        """
        self._refusals.forget()
        for names, slot in self._gathered(keys, group):
            await self._nodes().call(slot, command(b"DEL", *names))

    async def state(self, keys: Sequence[str], group: str | None = None) -> list[State]:
        """Read the raw states of these keys, None where there is none; `group` as for `reset`."""
        found: list[State] = []
        for names, slot in self._gathered(keys, group):
            found += map(state_of, await self._nodes().call(slot, command(b"MGET", *names)))
        return found

    async def aclose(self) -> None:
        """Close the connections of this event loop; a client that was handed in stays open."""
        nodes = self._per_loop.get(asyncio.get_running_loop())
        if nodes is not None:
            await nodes.close()

    def forget(self) -> None:
        """Leave the connections to the process they came from (after a fork)."""
        self._per_loop, self._last = WeakKeyDictionary(), None
        self._refusals.forget()

    def _nodes(self) -> AsyncRedisNodes:
        """The servers, as this event loop sees them: connections belong to a loop."""
        loop = asyncio.get_running_loop()
        if self._last is not None and self._last[0] is loop:
            return self._last[1]
        nodes = self._per_loop.get(loop)
        if nodes is None:
            nodes = self._per_loop[loop] = AsyncRedisNodes(
                self.target,
                self.budget,
                self._circuit,
                self.probe_interval / 4,
                self._look_around,
                self._pack,
            )
        self._last = (loop, nodes)
        return nodes

    async def _look_around(self, line: RedisLine, connection: Any) -> None:
        """See what kind of server this is, over the first connection to it."""
        await connection.send_packed_command((LOOK_AROUND,), False)
        try:
            info = await connection.read_response(True)
        except ResponseError:  # not allowed to ask: nothing to say
            return
        self._learn_of_server(line.circuit, info)

    async def _decide_on_cluster(self, nodes: AsyncRedisNodes, plan: Plan) -> Answer:
        try:
            return await self._talk(nodes, deciding(plan, parts_of(plan)))
        except KeysApart:
            pass
        try:
            return await self._talk(nodes, deciding(plan, parts_of(plan, each_apart=True)))
        except KeysApart:
            raise StoreUnavailable("a key is between two nodes; nothing was charged") from None

    async def _talk(self, nodes: AsyncRedisNodes, talk: Talk) -> Answer:
        """Do what a talk asks for, until it knows the outcome."""
        try:
            step = next(talk)
            while True:
                try:
                    step = talk.send(await self._do(nodes, step))
                except (StoreUnavailable, KeysApart) as error:
                    step = talk.throw(error)
        except StopIteration as done:
            answer: Answer = done.value
            return answer

    async def _do(self, nodes: AsyncRedisNodes, step: AskPart | RefundPart) -> Answer | None:
        if isinstance(step, RefundPart):
            await self._give_back(nodes, *step)
            return None
        return await nodes.ask(self._ask(*step))

    async def _give_back(self, nodes: AsyncRedisNodes, part: Plan, group: str, at: int) -> None:
        slot, packed, by_text = self._refund(part, group, at)
        await nodes.call(slot, packed, by_text)


_stores: WeakSet[AsyncRedisStore] = WeakSet()


def _forget_all() -> None:
    for store in list(_stores):
        store.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
