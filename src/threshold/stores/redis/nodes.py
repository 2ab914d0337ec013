"""RedisNodes: the servers behind one store, for blocking code: a single one, a Sentinel's master, a cluster.

Knows addresses and redirections; knows nothing of plans. A command goes to whoever serves its slot; a node
that knows better says so, and is believed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Any

from redis.exceptions import ResponseError
from redis.sentinel import Sentinel

from ...errors import StoreUnavailable
from .circuit import Circuit
from .client import Target, connection_kwargs, sentinel_kwargs
from .cluster_slots import Address, KeysApart, Slots
from .faults import Moved, moved
from .resp import command
from .server import Link, RedisServer

CLUSTER_SLOTS = command(b"CLUSTER", b"SLOTS")
MOST_REDIRECTIONS = 5

Greet = Callable[[RedisServer, Link], None]


class RedisNodes:
    """Find the server for a slot and ask it.

    Args:
        target: where the servers are.
        budget: seconds for one command.
        circuit: makes one circuit per server.
        patience: seconds between two looks at the map of a cluster in trouble.
        greet: called with each server's first connection.
    """

    def __init__(
        self, target: Target, budget: float, circuit: Callable[[], Circuit], patience: float, greet: Greet
    ) -> None:
        self._target = target
        self._budget = budget
        self._circuit = circuit
        self._patience = patience
        self._greet = greet
        self._kwargs = connection_kwargs(target, budget / 2, budget / 2)
        self._lock = Lock()
        self._servers: dict[Address, RedisServer] = {}
        self._slots = Slots(target.nodes)
        self._read_at = 0.0
        self._stale = True
        self.only: RedisServer | None = None
        """The one server of a target that is no cluster."""
        if target.kind != "cluster":
            find = self._find_master if target.kind == "sentinel" else self._connect
            self.only = RedisServer(find, budget, circuit(), greet)
        self._sentinel: Any = None

    def ask(self, slot: int, packed: bytes, by_text: Callable[[], bytes] | None = None) -> Any:
        """Send a command to whoever serves the slot.

        Raises:
            StoreUnavailable: when there is no reply in time.
            KeysApart: while the keys of the command are on two nodes.
        """
        if self.only is not None:
            return self.only.ask(packed, by_text)
        address = self._address(slot)
        asking = False
        for _ in range(MOST_REDIRECTIONS):
            try:
                return self._server(address).ask(packed, by_text, asking=asking)
            except ResponseError as error:
                hint = moved(error)
                if hint is None:
                    raise KeysApart from error
                address, asking = self._follow(hint, address), hint.asking
            except StoreUnavailable:
                self._stale = True
                raise
        raise StoreUnavailable("the cluster's nodes keep pointing at each other; nothing was charged")

    def close(self) -> None:
        """Close every connection for good."""
        for server in [*self._servers.values(), *([self.only] if self.only is not None else [])]:
            server.close()
        for sentinel in [] if self._sentinel is None else self._sentinel.sentinels:
            sentinel.close()

    def _follow(self, hint: Moved, asked: Address) -> Address:
        address = (hint.host or asked[0], hint.port)
        if not hint.asking:
            self._slots.move(hint.slot, address)
            self._stale = True
        return address

    def _address(self, slot: int) -> Address:
        if self._stale and time.monotonic() - self._read_at >= self._patience:
            self._read_map()
        address = self._slots.address(slot)
        if address is None:
            raise StoreUnavailable(f"no node is known to serve slot {slot}; nothing was charged")
        return address

    def _read_map(self) -> None:
        """Ask the nodes, those whose circuit is closed first, until one knows the map."""
        self._read_at = time.monotonic()
        nodes = sorted(self._slots.addresses(), key=lambda node: not self._server(node).circuit.closed)
        for address in nodes:
            try:
                reply = self._server(address).ask(CLUSTER_SLOTS)
            except (StoreUnavailable, ResponseError):
                continue
            self._slots.read(reply, address)
            self._stale = False
            return

    def _server(self, address: Address) -> RedisServer:
        server = self._servers.get(address)
        if server is None:
            with self._lock:
                server = self._servers.get(address)
                if server is None:
                    server = self._servers[address] = RedisServer(
                        lambda: self._connect(address), self._budget, self._circuit(), self._greet
                    )
        return server

    def _connect(self, address: Address | None = None) -> Any:
        kwargs = self._kwargs if address is None else {**self._kwargs, "host": address[0], "port": address[1]}
        return self._target.connection_class(**kwargs)

    def _find_master(self) -> Any:
        """A connection to the master, as the Sentinels see it now."""
        if self._sentinel is None:
            self._sentinel = Sentinel(  # type: ignore[no-untyped-call]
                self._target.nodes, sentinel_kwargs=sentinel_kwargs(self._target, self._budget / 2)
            )
        return self._connect(self._sentinel.discover_master(self._target.service))
