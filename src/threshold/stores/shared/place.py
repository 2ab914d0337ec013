"""Place: where one key belongs, worked out once for the busiest keys. Places: all of them.

A key is known in the file only by a keyed hash of 128 bits; the hash also picks its two rows. Knows nothing
of what stands in the cells.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Final

from .layout import Geometry

_DIGEST: Final = struct.Struct("2q").unpack
_MOST_KNOWN = 16_384


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
    )

    def __init__(self, digest: bytes, row: int, other: int) -> None:
        self.digest = digest
        self.first, self.second = _DIGEST(digest)
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
        """What the last `load` found, for `save` to compare with."""


class Places:
    """The places of keys in a table of this geometry, under this secret. Needs no lock."""

    def __init__(self, geometry: Geometry, secret: bytes) -> None:
        self.known: dict[str, Place] = {}
        self._geometry = geometry
        self._hash = blake2b(digest_size=16, key=secret)

    def of(self, key: str) -> Place:
        """The place of a key."""
        known = self.known.get(key)
        if known is None:
            known = self._place(key, self._geometry.table, self._geometry.rows)
            if len(self.known) >= _MOST_KNOWN:
                self.known.clear()
            self.known[key] = known
        return known

    def of_overflow(self, scope: str) -> Place:
        """The place of the state that newcomers under one rule share when the table is full."""
        return self._place(f"\0{scope}", self._geometry.overflow, self._geometry.overflow_rows)

    def _place(self, key: str, start: int, rows: int) -> Place:
        hashed = self._hash.copy()
        hashed.update(key.encode("utf-8", "surrogatepass"))
        digest = hashed.digest()
        stride = self._geometry.stride
        first, second = _DIGEST(digest)
        return Place(digest, start + first % rows * stride, start + second % rows * stride)
