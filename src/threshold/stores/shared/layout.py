"""Layout: where everything stands in the shared file, and what its header says. Pure numbers and bytes.

    header | journal | rows of keys | rows of overflow states | extents

The file is an array of 64-bit words in native order. A cell is 16 words (128 bytes); a key has one cell, a
long ring has extents (cells of their own) chained to it. Knows nothing of files, locks, rules or instants.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Final

VERSION: Final = 1
MAGIC: Final = b"threshld"

WORD: Final = 8
CELL: Final = 16
"""Words per cell."""
WAYS: Final = 8
"""Cells per row: a key may stand in any cell of its two rows."""

_HEADER: Final = struct.Struct("=8sII16s32s6q")
_CRC: Final = struct.Struct("=I")
HEADER_SIZE: Final = _HEADER.size + _CRC.size

# The words that change, in a part of the first page that the checksum does not cover.
COMMIT: Final = 64
"""Not 0: a journal is waiting to be applied. Number of its writes << 32 | CRC-32."""
COUNT: Final = 65
"""Keys remembered."""
HAND: Final = 66
"""The row the sweep looks at next."""
FREE: Final = 67
"""First extent on the free list, plus 1; 0 for none."""
FRESH: Final = 68
"""Extents from this number on were never used."""
OVERFLOWED: Final = 69
"""Decisions that used an overflow state, or lost a strike."""
RECOVERED: Final = 70
"""Journals applied on behalf of a process that died."""
DAMAGED: Final = 71
"""Cells or journals whose checksum did not hold."""
SETTLED: Final = 72
"""Cells given to new keys so far."""
SHARED_AT: Final = 73
"""Instant of the last charge to an overflow state."""

JOURNAL: Final = 512
"""First word of the journal."""
MOST_WRITES: Final = 16_384
"""Most words one decision may write."""
_TABLE: Final = JOURNAL + 2 * MOST_WRITES
_OVERFLOW_ROWS: Final = 32


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where rows and extents stand, for a given number of keys.

    >>> geometry = Geometry.of(100_000)
    >>> geometry.rows, geometry.extents, geometry.size // 1_000_000
    (18750, 25000, 22)
    """

    max_keys: int
    ways: int
    rows: int
    extents: int
    stride: int = field(init=False, repr=False, compare=False)
    """Words per row."""
    overflow: int = field(init=False, repr=False, compare=False)
    """First word of the rows of overflow states."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "stride", self.ways * CELL)
        object.__setattr__(self, "overflow", _TABLE + self.rows * self.stride)

    @classmethod
    def of(cls, max_keys: int) -> Geometry:
        """Leave half as many cells again as keys: then two full rows at once are too rare to matter."""
        if max_keys <= 64:
            return cls(max_keys, max_keys, 1, 512)
        return cls(max_keys, WAYS, -(-max_keys * 3 // (2 * WAYS)), max(512, max_keys // 4))

    @property
    def table(self) -> int:
        """First word of the rows of keys."""
        return _TABLE

    @property
    def overflow_rows(self) -> int:
        """Rows of overflow states."""
        return _OVERFLOW_ROWS

    @property
    def chain(self) -> int:
        """First word of the extents."""
        return self.overflow + _OVERFLOW_ROWS * self.stride

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return (self.chain + self.extents * CELL) * WORD


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself. `secret` keys the hash of this file's keys."""

    boot: bytes
    secret: bytes
    geometry: Geometry
    version: int = VERSION

    def pack(self) -> bytes:
        """The header as bytes, checksum included."""
        g = self.geometry
        body = _HEADER.pack(
            MAGIC,
            self.version,
            CELL,
            self.boot,
            self.secret,
            g.max_keys,
            g.ways,
            g.rows,
            g.extents,
            g.size,
            0,
        )
        return body + _CRC.pack(zlib.crc32(body))

    @classmethod
    def unpack(cls, data: bytes) -> Header | None:
        """Read a header; None when these bytes are not one, or one that was damaged."""
        if len(data) < HEADER_SIZE or data[:8] != MAGIC:
            return None
        body = data[: _HEADER.size]
        if _CRC.unpack_from(data, _HEADER.size)[0] != zlib.crc32(body):
            return None
        _, version, _, boot, secret, max_keys, ways, rows, extents, _, _ = _HEADER.unpack(body)
        return cls(boot, secret, Geometry(max_keys, ways, rows, extents), version)
