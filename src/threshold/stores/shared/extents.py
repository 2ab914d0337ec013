"""Extents: the cells that long rings overflow into. A free list, and chains. Runs under the lock.

An extent is known by its number plus 1, so that 0 means none. Its first word is the link to the next.
"""

from __future__ import annotations

from .cells import EXTENT_SHIFT
from .journal import Writes
from .layout import CELL, FREE, FRESH, Geometry

_LONGEST_CHAIN = 64


class Extents:
    """Chain, take and give back extents; every change goes into `writes`, nothing is changed here."""

    def __init__(self, words: memoryview[int], geometry: Geometry) -> None:
        self._words = words
        self._first = geometry.chain
        self._number = geometry.extents

    def word(self, extent: int) -> int:
        """The word number of an extent's link."""
        return self._first + (extent - 1) * CELL

    def chain(self, meta: int, writes: Writes) -> list[int]:
        """The extents of a cell, in order. Ends early at a link that leads nowhere."""
        extent = meta >> EXTENT_SHIFT
        found: list[int] = []
        while 0 < extent <= self._number and len(found) < _LONGEST_CHAIN:
            found.append(extent)
            link = self.word(extent)
            extent = writes.get(link) if link in writes else self._words[link]  # type: ignore[assignment]
        return found

    def take(self, writes: Writes) -> int:
        """An extent nobody uses; 0 when there is none."""
        words = self._words
        head = writes.get(FREE, words[FREE])
        if 0 < head <= self._number:
            link = self.word(head)
            writes[FREE] = writes.get(link, words[link])
            return head
        fresh = writes.get(FRESH, words[FRESH])
        if 0 <= fresh < self._number:
            writes[FRESH] = fresh + 1
            return fresh + 1
        return 0

    def give_back(self, extents: list[int], writes: Writes) -> None:
        """Put these extents on the free list."""
        head = writes.get(FREE, self._words[FREE])
        for extent in extents:
            writes[self.word(extent)] = head
            head = extent
        if extents:
            writes[FREE] = head
