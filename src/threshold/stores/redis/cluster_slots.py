"""Slots: which node of a cluster serves which slot, as far as is known. Pure; asks nobody."""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Sequence
from typing import Any

SLOTS = 16_384
Address = tuple[str, int]


class KeysApart(Exception):
    """The keys of one command are on two nodes, because their slot is on its way (TRYAGAIN)."""


def slot_of(tag: bytes) -> int:
    """The slot of a hash tag (without its braces).

    >>> slot_of(b"123456789")
    12739
    """
    return crc_hqx(tag, 0) % SLOTS


class Slots:
    """A map from slots to addresses, corrected by what the nodes say.

    Args:
        nodes: addresses to ask first.
    """

    def __init__(self, nodes: Sequence[Address]) -> None:
        self._nodes = tuple(nodes)
        self._served: list[Address | None] = [None] * SLOTS

    def address(self, slot: int) -> Address | None:
        """Who serves the slot, if that is known."""
        return self._served[slot]

    def addresses(self) -> list[Address]:
        """Everyone who could be asked for the map: those who serve, then those we were given."""
        return list(dict.fromkeys([*(node for node in self._served if node is not None), *self._nodes]))

    def move(self, slot: int, address: Address) -> None:
        """Note that a slot is served elsewhere now."""
        self._served[slot] = address

    def read(self, reply: Sequence[Any], asked: Address) -> None:
        """Take over the reply to CLUSTER SLOTS; a node that does not know its own name is the one asked.

        >>> slots = Slots([("10.0.0.1", 6379)])
        >>> slots.read([[0, 16383, [b"10.0.0.2", 6379, b"id"]]], ("10.0.0.1", 6379))
        >>> slots.address(7)
        ('10.0.0.2', 6379)
        """
        served: list[Address | None] = [None] * SLOTS
        for first, last, master, *_ in reply:
            host = (master[0] or b"").decode()
            address = (host if host not in ("", "?") else asked[0], int(master[1]))
            served[first : last + 1] = [address] * (last + 1 - first)
        self._served = served
