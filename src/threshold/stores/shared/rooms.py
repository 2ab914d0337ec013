"""Rooms: give cells to new keys, and take them back from keys at rest. Runs under the lock.

A newcomer for whom neither of its rows has a cell that is free or at rest finds no place, whatever stands
elsewhere. Nothing that still matters is ever evicted. A hand goes round the rows, one row for each new key
once the table is half full, and forgets what is at rest.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Collection
from mmap import mmap
from typing import Final

from . import cells
from .cells import BUCKET_META, EXTENT_SHIFT, KIND, META
from .extents import Extents
from .journal import Journal, Writes
from .layout import CELL, COUNT, FRESH, HAND, SETTLED, WORD, Geometry
from .place import Place

BUCKET_WORDS: Final = struct.Struct("q8x5q").unpack_from
"""Read what matters of a token bucket's cell: half the digest, meta, check, low, high, drain."""

_KIND_BYTE: Final = META * WORD + (0 if sys.byteorder == "little" else WORD - 1)
"""The byte of a cell that holds the kind of its state; 0 only where it is free."""

Reader = Callable[[int], tuple[int, int, cells.Payload]]
"""Read the meta word, the check and the payload of a cell."""


class Rooms:
    """The cells of a table as places to live in."""

    def __init__(
        self,
        memory: mmap,
        words: memoryview[int],
        geometry: Geometry,
        extents: Extents,
        journal: Journal,
        read: Reader,
    ) -> None:
        self._memory = memory
        self._words = words
        self._geometry = geometry
        self._extents = extents
        self._journal = journal
        self._read = read

    def settle(self, writes: Writes, place: Place, cell: int) -> None:
        """Give a new key a cell that `room` found: whoever rests there leaves."""
        words = self._words
        if words[cell + META]:
            self.forget(writes, cell)
        writes[cell] = place.first
        writes[cell + 1] = place.second
        writes[SETTLED] = writes.get(SETTLED, words[SETTLED]) + 1
        if cell < self._geometry.overflow:
            writes[COUNT] = writes.get(COUNT, words[COUNT]) + 1
        place.cell = cell
        place.meta = 0
        place.payload = ()

    def forget(self, writes: Writes, cell: int) -> None:
        """Free a cell and its extents."""
        words = self._words
        meta = words[cell + META]
        if meta >> EXTENT_SHIFT:
            self._extents.give_back(self._extents.chain(meta, writes), writes)
        writes[cell] = writes[cell + 1] = writes[cell + META] = 0
        if cell < self._geometry.overflow:
            writes[COUNT] = writes.get(COUNT, words[COUNT]) - 1

    def room(self, place: Place, now: int, taken: Collection[int]) -> int:
        """A cell for a new key: a free one of the emptier row, else one at rest; 0 when there is none."""
        stride = self._geometry.stride
        best = most = 0
        for row in (place.row, place.other):
            # A slice of the mmap and one of its bytes take half as long as a slice of words.
            kinds = self._memory[row * WORD : (row + stride) * WORD][_KIND_BYTE :: CELL * WORD]
            number = kinds.count(0)
            if number > most:
                cell = row + kinds.find(0) * CELL
                if cell in taken:
                    free = (row + i * CELL for i, kind in enumerate(kinds) if not kind)
                    cell = next((other for other in free if other not in taken), 0)
                if cell:
                    most = number
                    best = cell
        if best:
            return best
        for row in (place.row, place.other):
            for cell in range(row, row + stride, CELL):
                if cell not in taken and self.at_rest(cell, now):
                    return cell
        return 0

    def at_rest(self, cell: int, now: int) -> bool:
        """Tell whether a used cell may be forgotten. Not if it is damaged: nobody knows what it held."""
        _, meta, _, low, high, drain = BUCKET_WORDS(self._memory, cell * WORD)
        if not meta:
            return False
        if meta == BUCKET_META:
            if (high << cells.LOW_BITS | low) > now * drain:
                return False
        elif low > now:
            return False
        meta, found_check, payload = self._read(cell)
        if found_check != cells.check(meta, payload, self._words[cell]):
            return False
        return cells.rests_at(meta & KIND, payload) <= now

    def crowded(self) -> bool:
        """Tell whether so much is in use that it is time to look for what is at rest."""
        words = self._words
        return words[COUNT] * 2 > self._geometry.max_keys or words[FRESH] * 2 > self._geometry.extents

    def sweep(self, now: int, rows: int, taken: Collection[int]) -> None:
        """Move the hand over a few rows and forget what is at rest there."""
        words = self._words
        geometry = self._geometry
        writes: Writes = {}
        for _ in range(min(rows, geometry.rows)):
            hand = writes.get(HAND, words[HAND]) % geometry.rows
            writes[HAND] = hand + 1
            row = geometry.table + hand * geometry.stride
            for cell in range(row, row + geometry.stride, CELL):
                if cell not in taken and self.at_rest(cell, now):
                    self.forget(writes, cell)
        self._journal.commit(writes)
