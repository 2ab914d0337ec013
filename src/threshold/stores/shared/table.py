"""Table: find, read and write the cells of keys in shared memory. Runs under the lock.

A key has two rows of cells, picked by its keyed hash, and stands in any cell of either. That bounds
everything: a look at two rows finds a key or proves that it is not there. Changes are collected in `writes`
and committed by the journal: all of a plan, or nothing.
"""

from __future__ import annotations

import struct
from mmap import mmap
from typing import Final

from ...escalation import Ladder
from ...plan import Found, Limit, State
from ...sliding_window import COUNT as COUNT_MASK
from . import cells
from .cells import (
    BUCKET_META,
    CHECK,
    EXTENT_SHIFT,
    INLINE,
    KIND,
    KIND_BITS,
    LENGTH,
    MASK,
    META,
    PAYLOAD,
    PER_EXTENT,
    RING,
    SHAPE,
    TOP,
)
from .extents import Extents
from .journal import Journal, Writes
from .layout import CELL, DAMAGED, RECOVERED, SETTLED, WORD, Geometry
from .place import Place, Places
from .rooms import BUCKET_WORDS, Rooms

CELL_WORDS: Final = struct.Struct("16q").unpack_from
"""Read a whole cell, or a whole extent."""

RING_WORDS: Final = {
    cells.shape(RING, length): struct.Struct(f"q8x{2 + length}q").unpack_from
    for length in range(2, INLINE + 1)
}
"""Read what matters of a ring without extents, by its meta word: half the digest, meta, check, payload.

Half the digest is enough to see that a key still stands where it was found by the whole of it.
"""

_ring_words = RING_WORDS.get

Limiting = Limit | Ladder


class Table:
    """The rows of cells in `memory`; `words` is the same memory as signed 64-bit integers."""

    def __init__(self, memory: mmap, words: memoryview[int], geometry: Geometry, secret: bytes) -> None:
        self.memory = memory
        self.words = words
        self.geometry = geometry
        self.places = Places(geometry, secret)
        self.journal = Journal(memory, words)
        self.extents = Extents(words, geometry)
        self.rooms = Rooms(memory, words, geometry, self.extents, self.journal, self.read)
        self._row_bytes = geometry.stride * WORD

    def find(self, place: Place) -> int:
        """The word of the key's cell, 0 when it has none."""
        words = self.words
        cell = place.cell
        if cell:
            if words[cell] == place.first and words[cell + 1] == place.second:
                return cell
        elif words[SETTLED] == place.missed:  # looked for before, and no key has settled anywhere since
            return 0
        place.cell = self._find_in(place.row, place.digest) or self._find_in(place.other, place.digest)
        if not place.cell:
            place.missed = words[SETTLED]
        return place.cell

    def _find_in(self, row: int, digest: bytes) -> int:
        start = row * WORD
        content = self.memory[start : start + self._row_bytes]  # mmap's own find is a loop over bytes
        if (
            digest[0] not in content[:: CELL * WORD]
        ):  # in 31 of 32 rows this says it all, in a third of the time
            return 0
        found = content.find(digest)
        while found >= 0:
            if found % (CELL * WORD) == 0:
                return row + found // WORD
            found = content.find(digest, found + 1)
        return 0

    def load(self, place: Place, limit: Limiting, now: int) -> State:
        """The state of a key, None when it has none. What was damaged comes back in its strictest reading."""
        cell = place.cell
        if cell:  # most often it stands where it stood, in the same shape
            shape = place.meta
            if shape == BUCKET_META:
                first, meta, check, low, high, drain = BUCKET_WORDS(self.memory, cell << 3)
                if first == place.first and meta == shape and check == low ^ drain ^ first and not high:
                    place.payload = (low, 0, drain)
                    return low
            elif (ring_words := _ring_words(shape)) is not None:
                content = ring_words(self.memory, cell << 3)
                if content[0] == place.first and content[1] == shape:
                    place.payload = payload = content[3:]
                    total = sum(payload)
                    place.shape_and_sum = shaped = shape + total
                    if content[2] == (shaped & MASK) ^ place.first:
                        place.state = state = cells.ring_of(payload, total)
                        return state
        if not self.find(place):
            return None
        return self._load(place, limit, now)

    def _load(self, place: Place, limit: Limiting, now: int) -> State:
        """The state in the key's cell, whatever it is."""
        content = CELL_WORDS(self.memory, place.cell * WORD)
        place.meta = meta = content[META]
        place.payload = payload = self._whole(meta, content)
        place.state = 0
        kind = meta & KIND
        if kind == RING:
            total = sum(payload)
            place.shape_and_sum = shaped = (meta & SHAPE) + total
            if content[CHECK] == (shaped & MASK) ^ place.first:
                place.state = state = cells.ring_of(payload, total)
                return state
        elif content[CHECK] == cells.check(meta, payload, place.first):
            return cells.decode(kind, payload)
        return self._mend(place, limit, content[CHECK], now)

    def _mend(self, place: Place, limit: Limiting, found_check: int, now: int) -> State:
        """Write what is believed of a cell whose check does not hold, so that its penalty ends."""
        writes: Writes = {}
        state = cells.mend(limit, place.meta, found_check, place.payload, place.first, now)
        if cells.charged_by_half(limit, place.meta, found_check, place.payload, place.first):
            self.words[RECOVERED] += 1
        else:
            self.words[DAMAGED] += 1
            place.meta = 0  # its extents, if it had any, are not to be trusted: they are left alone
            place.payload = ()
        if state is None:
            self.words[place.cell + META] = 0
            self.rooms.forget(writes, place.cell)
        else:
            self.save(writes, place, limit, state)
        self.journal.commit(writes)
        return self.load(place, limit, now)

    def peek(self, place: Place) -> State:
        """The raw state of a key, for inspection."""
        if not self.find(place):
            return None
        meta, found_check, payload = self.read(place.cell)
        whole = found_check == cells.check(meta, payload, place.first)
        return cells.decode(meta & KIND, payload) if whole else None

    def read(self, cell: int) -> tuple[int, int, cells.Payload]:
        """The meta word, the check and the payload of a cell."""
        content = CELL_WORDS(self.memory, cell * WORD)
        meta = content[META]
        return meta, content[CHECK], self._whole(meta, content)

    def _whole(self, meta: int, content: tuple[int, ...]) -> cells.Payload:
        length = meta >> KIND_BITS & LENGTH
        if length <= INLINE:
            return content[PAYLOAD : PAYLOAD + length]
        parts = content[PAYLOAD:]
        for extent in self.extents.chain(meta, {}):
            parts += CELL_WORDS(self.memory, self.extents.word(extent) * WORD)[1:]
        return parts[:length]

    def bump(self, place: Place, state: int) -> bool:
        """Write a ring at once if only the count of its youngest sub-window grew since `load`; say whether.

        Two words need no journal: a death between them leaves a count that is above its check, and
        `mend` believes it.
        """
        word = self._bumped(place, state)
        if not word:
            return False
        words = self.words
        grown = state - place.state
        words[word] = place.payload[-1] + grown
        words[place.cell + CHECK] = (place.shape_and_sum + grown & MASK) ^ place.first
        return True

    def _bumped(self, place: Place, state: int) -> int:
        """The word of a ring's youngest sub-window, if that is all the state differs in; else 0."""
        if state <= place.state or state ^ place.state > COUNT_MASK:
            return 0
        size = len(place.payload)
        if size <= INLINE:
            return place.cell + (PAYLOAD - 1) + size
        extent, offset = divmod(size - 1 - INLINE, PER_EXTENT)
        return self.extents.word(self.extents.chain(place.meta, {})[extent]) + 1 + offset

    def save(self, writes: Writes, place: Place, limit: Limiting, state: State) -> None:
        """Write the state of a key whose place has a cell that `load` or `settle` has just seen."""
        cell = place.cell
        meta = place.meta
        if meta == BUCKET_META:
            if place.payload and 0 <= state < TOP and not place.payload[1]:
                writes[cell + PAYLOAD] = state
                writes[cell + CHECK] = state ^ place.payload[2] ^ place.first
                return
        elif meta & KIND == RING:
            bumped = self._bumped(place, state)
            if bumped:
                grown = state - place.state
                writes[bumped] = place.payload[-1] + grown
                writes[cell + CHECK] = (place.shape_and_sum + grown & MASK) ^ place.first
                return
        kind, payload = cells.encode(limit, state)
        if not meta and len(payload) <= INLINE:  # a new key
            meta = cells.shape(kind, len(payload))
            content = meta, cells.check(meta, payload, place.first), *payload
            writes.update(zip(range(cell + META, cell + CELL), content))  # noqa: B905 (not all words)
            return
        chain = self.extents.chain(place.meta, writes) if place.meta >> EXTENT_SHIFT else []
        wanted = -(-(len(payload) - INLINE) // PER_EXTENT)
        before = len(chain)
        while len(chain) < wanted:
            extent = self.extents.take(writes)
            if not extent:  # none left: the ring gets by with fewer, coarser sub-windows
                kind, payload = self._coarser(limit, state, INLINE + PER_EXTENT * len(chain))
                break
            chain.append(extent)
        if len(chain) > wanted:
            self.extents.give_back(chain[max(0, wanted) :], writes)
            del chain[max(0, wanted) :]
        if len(chain) != before:
            for extent, link in zip(chain, [*chain, 0][1:], strict=True):
                writes[self.extents.word(extent)] = link
        meta = cells.shape(kind, len(payload)) | (chain[0] << EXTENT_SHIFT if chain else 0)
        if meta != place.meta:
            writes[cell + META] = meta
        writes[cell + CHECK] = cells.check(meta, payload, place.first)
        self._save_payload(writes, cell, chain, place.payload, payload)

    def _coarser(self, limit: Limiting, state: int, room: int) -> tuple[int, cells.Payload]:
        kind, _ = cells.encode(limit, state)
        most = (room - 1) // 2 if kind == cells.WIDE else room - 1
        return cells.encode(limit, cells.coarsen(state, most))

    def _save_payload(
        self, writes: Writes, cell: int, chain: list[int], old: cells.Payload, new: cells.Payload
    ) -> None:
        """Write the words of a payload that differ from what is there."""
        same = len(old) - 1
        start = same if 1 < same < len(new) and old[1:same] == new[1:same] else 1
        if not old or old[0] != new[0]:
            writes[cell + PAYLOAD] = new[0]
        for i in range(start, len(new)):
            if i < INLINE:
                writes[cell + PAYLOAD + i] = new[i]
            else:
                extent, offset = divmod(i - INLINE, PER_EXTENT)
                writes[self.extents.word(chain[extent]) + 1 + offset] = new[i]

    def first(self, place: Place, cell: int, limit: Limit, found: Found) -> Found:
        """Write what the first take of a key left, if anything, into the cell that `room` found."""
        if found[3] is not None:
            writes: Writes = {}
            self.rooms.settle(writes, place, cell)
            self.save(writes, place, limit, found[3])
            self.journal.commit(writes)
        return found
