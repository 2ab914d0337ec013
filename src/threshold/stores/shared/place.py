"""Place: where one key belongs, worked out once for the busiest keys. Places: all of them.

A key is known in the file only by a keyed hash of 128 bits; the hash also picks its two rows. Knows nothing
of what stands in the cells.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from ...plan import Rule, split
from .layout import Geometry

_DIGEST: Final = struct.Struct("2q").unpack
_MOST_KNOWN = 16_384
_MOST_SCOPES = 1_024


class Place:
    """Where one key belongs, and where it stood last."""

    __slots__ = (
        "cell",
        "digest",
        "first",
        "meta",
        "missed",
        "other",
        "payload",
        "row",
        "second",
        "shape_and_sum",
        "state",
    )

    def __init__(self, digest: bytes, first: int, second: int, row: int, other: int) -> None:
        self.digest = digest
        self.first = first
        self.second = second
        self.row = row
        self.other = other
        """Word of the first and of the second row."""
        self.cell = 0
        """Word of the key's cell, 0 when it had none; to be checked against the digest."""
        self.missed = -1
        """How many keys had settled when this one was last looked for in vain."""
        self.meta = 0
        self.payload: tuple[int, ...] = ()
        self.shape_and_sum = 0
        self.state = 0
        """What the last `load` found, for `save` to compare with; the last two of a sound ring only."""


class Places:
    """The places of keys in a table of this geometry, under this secret. Needs no lock."""

    def __init__(self, geometry: Geometry, secret: bytes) -> None:
        self.known: defaultdict[str, dict[str, Place]] = defaultdict(dict)
        """The places of the busiest keys: by scope, and then by name."""
        self._stride = geometry.stride
        self._rows = geometry.table, geometry.rows
        self._overflow_rows = geometry.overflow, geometry.overflow_rows
        self._hash = blake2b(digest_size=16, key=secret)
        self._room = _MOST_KNOWN

    def of(self, key: str) -> Place:
        """The place of a whole key; remembered only if its scope is one that decisions are made under."""
        scope, name = split(key)
        return self.under(scope, name) if scope in self.known else self._place(key, *self._rows)

    def under(self, scope: str, name: str) -> Place:
        """The place of a name that is counted under a scope."""
        names = self.known[scope]
        place = names.get(name)
        if place is None:
            place = self._place(scope + name, *self._rows)
            self._room -= 1
            if self._room < 0:
                self._forget()
            names[name] = place
        return place

    def of_plan(self, rules: Sequence[Rule], names: Sequence[str]) -> list[Place]:
        """The places of the limits of a plan."""
        known = self.known
        return [
            known[rule.scope].get(name) or self.under(rule.scope, name)
            for rule, name in zip(rules, names)  # noqa: B905 (an abuse record is last)
        ]

    def of_overflow(self, scope: str) -> Place:
        """The place of the state that newcomers under one rule share when the table is full."""
        return self._place(f"\0{scope}", *self._overflow_rows)

    def _forget(self) -> None:
        for names in list(self.known.values()):
            names.clear()
        if len(self.known) > _MOST_SCOPES:  # a limit per caller: those who hold a dict go the slow way now
            self.known.clear()
        self._room = _MOST_KNOWN - 1

    def _place(self, key: str, start: int, rows: int) -> Place:
        hashed = self._hash.copy()
        hashed.update(key.encode("utf-8", "surrogatepass"))
        digest = hashed.digest()
        stride = self._stride
        first, second = _DIGEST(digest)
        return Place(digest, first, second, start + first % rows * stride, start + second % rows * stride)
