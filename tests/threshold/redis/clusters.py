"""A real cluster of Valkey nodes on loopback, and slots on the move. Knows nothing of threshold."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

import redis

from .servers import Server, valkey_binary

SLOTS = 16_384


class Cluster:
    """Three masters, and a replica of the first when asked for."""

    def __init__(self, *, replica: bool = False) -> None:
        # Without full coverage, the others go on once they agree that a master is gone.
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "600")
        options += ("--cluster-require-full-coverage", "no")
        count = 4 if replica else 3
        self.nodes = [Server(valkey_binary(), *options, tcp=True) for _ in range(count)]
        self.masters = self.nodes[:3]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.masters)

    def __enter__(self) -> Cluster:
        for node in self.nodes:
            node.start()
        first = self.masters[0].client()
        for i, node in enumerate(self.masters):
            low, high = i * SLOTS // 3, (i + 1) * SLOTS // 3 - 1
            # Not ADDSLOTSRANGE: Redis 6.2 has none.
            node.client().execute_command("CLUSTER", "ADDSLOTS", *range(low, high + 1))
        for node in self.nodes[1:]:
            first.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port)
        self.wait(lambda: all(self._known(node) == len(self.nodes) for node in self.nodes))
        for node in self.nodes[3:]:
            node.client().execute_command("CLUSTER", "REPLICATE", self.id(self.masters[0]))
        self.wait(lambda: all(self._state(node) == "ok" for node in self.nodes))
        if self.nodes[3:]:
            replica = self.nodes[3].client()
            self.wait(lambda: replica.info("replication").get("master_link_status") == "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes:
            node.stop()

    def id(self, node: Server) -> str:
        name: bytes = node.client().execute_command("CLUSTER", "MYID")
        return name.decode()

    def owner(self, slot: int) -> Server:
        """The master that serves a slot when nothing has moved."""
        return self.masters[min(slot * 3 // SLOTS, 2)]

    def begin_to_move(self, slot: int, source: Server, target: Server) -> None:
        """From now on, keys that `source` does not hold are asked for at `target`."""
        target.client().execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id(source))
        source.client().execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id(target))

    def move_keys(self, slot: int, source: Server, target: Server, count: int) -> int:
        """Move some keys of the slot; returns how many."""
        client = source.client()
        keys = client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, count)
        for key in keys:
            client.execute_command("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
        return len(keys)

    def finish_to_move(self, slot: int, target: Server) -> None:
        for node in [target, *(node for node in self.masters if node is not target)]:
            node.client().execute_command("CLUSTER", "SETSLOT", slot, "NODE", self.id(target))

    @staticmethod
    def wait(until: Callable[[], bool], within: float = 20) -> None:
        deadline = time.monotonic() + within
        while True:
            try:
                if until():
                    return
            except redis.ConnectionError:
                pass
            assert time.monotonic() < deadline, "the cluster does not get there"
            time.sleep(0.02)

    @staticmethod
    def _known(node: Server) -> int:
        info = node.client().execute_command("CLUSTER", "INFO")
        text = info if isinstance(info, dict) else dict(line.split(":") for line in info.decode().split())
        return int(text["cluster_known_nodes"])

    @staticmethod
    def _state(node: Server) -> str:
        info = node.client().execute_command("CLUSTER", "INFO")
        text = info if isinstance(info, dict) else dict(line.split(":") for line in info.decode().split())
        return str(text["cluster_state"])
