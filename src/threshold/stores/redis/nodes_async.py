"""AsyncRedisNodes: the servers behind one store, for one event loop: the twin of nodes.py, awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Any

from redis.asyncio.sentinel import Sentinel
from redis.exceptions import ResponseError

from ...errors import StoreUnavailable
from .batch import Pack
from .circuit import Circuit
from .client import Target, connection_kwargs, sentinel_kwargs
from .cluster_slots import Address, KeysApart, Slots
from .faults import Moved, moved
from .line import RedisLine
from .nodes import CLUSTER_SLOTS, MOST_REDIRECTIONS
from .parts import Answer
from .wire import Ask, numbers_of, outcome_at

Greet = Callable[[RedisLine, Any], Awaitable[None]]
_BY_SLOT: Callable[[Ask], object] = attrgetter("slot")


class AsyncRedisNodes:
    """Find the server for a slot and ask it, from one event loop. Arguments as for `RedisNodes`."""

    def __init__(
        self,
        target: Target,
        budget: float,
        circuit: Callable[[], Circuit],
        patience: float,
        greet: Greet,
        pack: Pack,
    ) -> None:
        self._target = target
        self._budget = budget
        self._circuit = circuit
        self._patience = patience
        self._greet = greet
        self._pack = pack
        self._kwargs = connection_kwargs(target, None, budget)
        self._lines: dict[Address, RedisLine] = {}
        self._slots = Slots(target.nodes)
        self._read_at = 0.0
        self._stale = True
        self._reading: asyncio.Task[None] | None = None
        self._sentinel: Any = None
        self.only: RedisLine | None = None
        """The one server of a target that is no cluster."""
        if target.kind != "cluster":
            find = self._find_master if target.kind == "sentinel" else self._connect
            self.only = RedisLine(find, pack, None, budget, circuit(), greet)

    async def ask(self, ask: Ask) -> Answer:
        """Decide one plan, or a part of one, where its keys live.

        Raises:
            StoreUnavailable: when there is no answer in time.
            KeysApart: while the keys are on two nodes.
        """
        address = await self._address(ask.slot)
        try:
            answer: Answer = await self._line(address).ask(ask)
            return answer
        except ResponseError as error:
            hint = moved(error)
            if hint is None:
                raise KeysApart from error
        except StoreUnavailable:
            self._stale = True
            raise
        reply = await self._call(
            self._follow(hint, address),
            hint.asking,
            self._pack((ask,), False),
            lambda: self._pack((ask,), True),
        )
        outcome, sure, _ = outcome_at(numbers_of(reply), 1, ask.shape.takes)
        return outcome, sure

    async def call(self, slot: int, packed: bytes, by_text: Callable[[], bytes] | None = None) -> Any:
        """Send any other command to whoever serves the slot."""
        if self.only is not None:
            return await self.only.call(packed, by_text)
        return await self._call(await self._address(slot), False, packed, by_text)

    async def close(self) -> None:
        """Close every connection for good."""
        for line in [*self._lines.values(), *([self.only] if self.only is not None else [])]:
            await line.close()
        if self._sentinel is not None:
            for sentinel in self._sentinel.sentinels:
                await sentinel.aclose()

    async def _call(
        self, address: Address, asking: bool, packed: bytes, by_text: Callable[[], bytes] | None
    ) -> Any:
        for _ in range(MOST_REDIRECTIONS):
            try:
                return await self._line(address).call(packed, by_text, asking=asking)
            except ResponseError as error:
                hint = moved(error)
                if hint is None:
                    raise KeysApart from error
                address, asking = self._follow(hint, address), hint.asking
            except StoreUnavailable:
                self._stale = True
                raise
        raise StoreUnavailable("the cluster's nodes keep pointing at each other; nothing was charged")

    def _follow(self, hint: Moved, asked: Address) -> Address:
        address = (hint.host or asked[0], hint.port)
        if not hint.asking:
            self._slots.move(hint.slot, address)
            self._stale = True
        return address

    async def _address(self, slot: int) -> Address:
        if self._stale and time.monotonic() - self._read_at >= self._patience:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read_map())
            await asyncio.shield(self._reading)
        address = self._slots.address(slot)
        if address is None:
            raise StoreUnavailable(f"no node is known to serve slot {slot}; nothing was charged")
        return address

    async def _read_map(self) -> None:
        """Ask the nodes, those whose circuit is closed first, until one knows the map."""
        nodes = sorted(self._slots.addresses(), key=lambda node: not self._line(node).circuit.closed)
        for address in nodes:
            try:
                reply = await self._line(address).call(CLUSTER_SLOTS)
            except (StoreUnavailable, ResponseError):
                continue
            self._slots.read(reply, address)
            self._stale = False
            break
        self._read_at = time.monotonic()

    def _line(self, address: Address) -> RedisLine:
        line = self._lines.get(address)
        if line is None:
            line = self._lines[address] = RedisLine(
                lambda: self._connect(address),
                self._pack,
                _BY_SLOT,
                self._budget,
                self._circuit(),
                self._greet,
            )
        return line

    async def _connect(self, address: Address | None = None) -> Any:
        kwargs = self._kwargs if address is None else {**self._kwargs, "host": address[0], "port": address[1]}
        return self._target.connection_class(**kwargs)

    async def _find_master(self) -> Any:
        """A connection to the master, as the Sentinels see it now."""
        if self._sentinel is None:
            self._sentinel = Sentinel(  # type: ignore[no-untyped-call]
                self._target.nodes, sentinel_kwargs=sentinel_kwargs(self._target, self._budget / 2)
            )
        return await self._connect(await self._sentinel.discover_master(self._target.service))
