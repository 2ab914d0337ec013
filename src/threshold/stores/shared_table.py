"""Table: find, read, write and forget the cells of keys in shared memory. Runs under the lock.

A key has two rows of cells, picked by its keyed hash, and stands in any cell of either. That bounds
everything: a look at two rows finds a key or proves that it is not there, and a newcomer for whom neither
row has a cell that is free or at rest finds no place, whatever stands elsewhere. Nothing that still matters
is ever evicted. A hand goes round the rows, one row for each new key, and forgets what is at rest.

Changes are collected in `writes` and committed by the journal: all of a plan, or nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from hashlib import blake2b
from mmap import mmap
from typing import Final

from ..escalation import Ladder
from ..plan import Found, Limit, State
from ..sliding_window import COUNT as COUNT_MASK
from ..sliding_window import Ring
from . import shared_cells as cells
from .shared_cells import (
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
from .shared_extents import Extents
from .shared_journal import Journal, Writes
from .shared_layout import CELL, COUNT, DAMAGED, FRESH, HAND, SETTLED, WORD, Geometry

CELL_WORDS: Final = struct.Struct("16q").unpack_from
"""Read a whole cell, or a whole extent."""
BUCKET_WORDS: Final = struct.Struct("7q").unpack_from
"""Read what matters of a token bucket's cell: digest, digest, meta, check, low, high, drain."""
_DIGEST: Final = struct.Struct("2q").unpack
_MOST_KNOWN = 16_384

Limiting = Limit | Ladder


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
        self.payload: cells.Payload = ()
        self.shape_and_sum = 0
        """What the last `load` found, for `save` to compare with."""


class Table:
    """The rows of cells in `memory`; `words` is the same memory as signed 64-bit integers."""

    def __init__(self, memory: mmap, words: memoryview[int], geometry: Geometry, secret: bytes) -> None:
        self.geometry = geometry
        self.journal = Journal(memory, words)
        self.known: dict[str, Place] = {}
        self._memory = memory
        self._words = words
        self._extents = Extents(words, geometry)
        self._hash = blake2b(digest_size=16, key=secret)
        self._row_bytes = geometry.stride * WORD

    def place(self, key: str) -> Place:
        """The place of a key. Needs no lock, and remembers what it worked out for the busiest keys."""
        known = self.known.get(key)
        if known is None:
            known = self._place(key, self.geometry.table, self.geometry.rows)
            if len(self.known) >= _MOST_KNOWN:
                self.known.clear()
            self.known[key] = known
        return known

    def overflow_place(self, scope: str) -> Place:
        """The place of the state that newcomers under one rule share when the table is full."""
        return self._place(f"\0{scope}", self.geometry.overflow, self.geometry.overflow_rows)

    def _place(self, key: str, start: int, rows: int) -> Place:
        hashed = self._hash.copy()
        hashed.update(key.encode("utf-8", "surrogatepass"))
        digest = hashed.digest()
        stride = self.geometry.stride
        first, second = _DIGEST(digest)
        return Place(digest, start + first % rows * stride, start + second % rows * stride)

    def find(self, place: Place) -> int:
        """The word of the key's cell, 0 when it has none."""
        words = self._words
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
        content = self._memory[start : start + self._row_bytes]  # mmap's own find is a loop over bytes
        found = content.find(digest)
        while found >= 0:
            if found % (CELL * WORD) == 0:
                return row + found // WORD
            found = content.find(digest, found + 1)
        return 0

    def load(self, place: Place, limit: Limiting, now: int) -> State:
        """The state of a key, None when it has none. What was damaged comes back in its strictest reading."""
        if not place.cell and not self.find(place):
            return None
        content = CELL_WORDS(self._memory, place.cell * WORD)
        if content[0] != place.first or content[1] != place.second:
            if not self.find(place):
                return None
            content = CELL_WORDS(self._memory, place.cell * WORD)
        place.meta = meta = content[META]
        if meta == BUCKET_META:
            low, high, drain = place.payload = content[PAYLOAD : PAYLOAD + 3]
            if not high and content[CHECK] == low ^ drain ^ place.first:
                return low
        length = meta >> KIND_BITS & LENGTH
        payload: cells.Payload
        if length <= INLINE:
            place.payload = payload = content[PAYLOAD : PAYLOAD + length]
        else:
            place.payload = payload = self._whole(meta, content)
        kind = meta & KIND
        if kind == RING:
            total = sum(payload)
            place.shape_and_sum = shaped = (meta & SHAPE) + total
            if content[CHECK] == (shaped & MASK) ^ place.first:
                return (total - payload[0] & COUNT_MASK, *payload[1:])
        elif content[CHECK] == cells.check(meta, payload, place.first):
            return cells.decode(kind, payload)
        state = cells.mend(limit, meta, content[CHECK], payload, place.first, now)
        return self._mend(place, limit, state)

    def _mend(self, place: Place, limit: Limiting, state: State) -> State:
        """Write what is believed of a damaged cell, once, so that its penalty ends."""
        self._words[DAMAGED] += 1
        writes: Writes = {}
        cell = place.cell
        place.meta = 0  # its extents, if it had any, are not to be trusted: they are left alone
        place.payload = ()
        if state is None:
            self._words[cell + META] = 0
            self.forget(writes, cell)
        else:
            self.save(writes, place, limit, state)
        self.journal.commit(writes)
        return self.load(place, limit, 0)

    def peek(self, place: Place) -> State:
        """The raw state of a key, for inspection."""
        if not self.find(place):
            return None
        meta, found_check, payload = self.read(place.cell)
        whole = found_check == cells.check(meta, payload, place.first)
        return cells.decode(meta & KIND, payload) if whole else None

    def read(self, cell: int) -> tuple[int, int, cells.Payload]:
        """The meta word, the check and the payload of a cell."""
        content = CELL_WORDS(self._memory, cell * WORD)
        meta = content[META]
        return meta, content[CHECK], self._whole(meta, content)

    def _whole(self, meta: int, content: tuple[int, ...]) -> cells.Payload:
        length = meta >> KIND_BITS & LENGTH
        if length <= INLINE:
            return content[PAYLOAD : PAYLOAD + length]
        parts = content[PAYLOAD:]
        for extent in self._extents.chain(meta, {}):
            parts += CELL_WORDS(self._memory, self._extents.word(extent) * WORD)[1:]
        return parts[:length]

    def bump(self, place: Place, state: Ring) -> bool:
        """Write a ring at once if only the count of its youngest sub-window grew since `load`; say whether.

        Two words need no journal: a death between them leaves a count that is above its check, and
        `mend` believes it.
        """
        youngest = state[-1]
        word = self._bumped(place, state, youngest)
        if not word:
            return False
        words = self._words
        words[word] = youngest
        words[place.cell + CHECK] = (place.shape_and_sum + youngest - place.payload[-1] & MASK) ^ place.first
        return True

    def _bumped(self, place: Place, state: Ring, youngest: int) -> int:
        """The word of a ring's youngest sub-window, if that is all the state differs in; else 0."""
        old = place.payload
        size = len(old)
        if len(state) != size or size < 2:
            return 0
        before = old[-1]
        if youngest <= before or youngest ^ before > COUNT_MASK or (size > 2 and state[1] != old[1]):
            return 0
        if size <= INLINE:
            return place.cell + (PAYLOAD - 1) + size
        extent, offset = divmod(size - 1 - INLINE, PER_EXTENT)
        return self._extents.word(self._extents.chain(place.meta, {})[extent]) + 1 + offset

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
            youngest = state[-1]
            bumped = self._bumped(place, state, youngest)
            if bumped:
                writes[bumped] = youngest
                grown = place.shape_and_sum + youngest - place.payload[-1]
                writes[cell + CHECK] = (grown & MASK) ^ place.first
                return
        kind, payload = cells.encode(limit, state)
        chain = self._extents.chain(place.meta, writes) if place.meta >> EXTENT_SHIFT else []
        wanted = -(-(len(payload) - INLINE) // PER_EXTENT)
        before = len(chain)
        while len(chain) < wanted:
            extent = self._extents.take(writes)
            if not extent:  # none left: the ring gets by with fewer, coarser sub-windows
                kind, payload = self._coarser(limit, state, INLINE + PER_EXTENT * len(chain))
                break
            chain.append(extent)
        if len(chain) > wanted:
            self._extents.give_back(chain[max(0, wanted) :], writes)
            del chain[max(0, wanted) :]
        if len(chain) != before:
            for extent, link in zip(chain, [*chain[1:], 0], strict=True):
                writes[self._extents.word(extent)] = link
        meta = cells.shape(kind, len(payload)) | (chain[0] << EXTENT_SHIFT if chain else 0)
        if meta != place.meta:
            writes[cell + META] = meta
        writes[cell + CHECK] = cells.check(meta, payload, place.first)
        self._save_payload(writes, cell, chain, place.payload, payload)

    def _coarser(self, limit: Limiting, state: Ring, room: int) -> tuple[int, cells.Payload]:
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
                writes[self._extents.word(chain[extent]) + 1 + offset] = new[i]

    def settle(self, writes: Writes, place: Place, cell: int) -> None:
        """Give a new key a cell that `room` found: whoever rests there leaves."""
        words = self._words
        if words[cell + META]:
            self.forget(writes, cell)
        writes[cell] = place.first
        writes[cell + 1] = place.second
        writes[SETTLED] = writes.get(SETTLED, words[SETTLED]) + 1
        if cell < self.geometry.overflow:
            writes[COUNT] = writes.get(COUNT, words[COUNT]) + 1
        place.cell = cell
        place.meta = 0
        place.payload = ()

    def first(self, place: Place, cell: int, limit: Limit, found: Found) -> Found:
        """Write what the first take of a key left, if anything, into the cell that `room` found."""
        if found[3] is not None:
            writes: Writes = {}
            self.settle(writes, place, cell)
            self.save(writes, place, limit, found[3])
            self.journal.commit(writes)
        return found

    def forget(self, writes: Writes, cell: int) -> None:
        """Free a cell and its extents."""
        words = self._words
        meta = words[cell + META]
        if meta >> EXTENT_SHIFT:
            self._extents.give_back(self._extents.chain(meta, writes), writes)
        writes[cell] = writes[cell + 1] = writes[cell + META] = 0
        if cell < self.geometry.overflow:
            writes[COUNT] = writes.get(COUNT, words[COUNT]) - 1

    def room(self, place: Place, now: int, taken: Collection[int]) -> int:
        """A cell for a new key: a free one of the emptier row, else one at rest; 0 when there is none."""
        stride = self.geometry.stride
        words = self._words
        best = most = 0
        for row in (place.row, place.other):
            metas = words[row + META : row + stride : CELL].tolist()
            number = metas.count(0)
            if number > most:
                cell = row + metas.index(0) * CELL
                if cell in taken:
                    free = (row + i * CELL for i, meta in enumerate(metas) if not meta)
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
        _, _, meta, _, low, high, drain = BUCKET_WORDS(self._memory, cell * WORD)
        if not meta:
            return False
        if meta == BUCKET_META:
            if (high << cells.LOW_BITS | low) > now * drain:
                return False
        elif low > now:
            return False
        meta, found_check, payload = self.read(cell)
        if found_check != cells.check(meta, payload, self._words[cell]):
            return False
        return cells.rests_at(meta & KIND, payload) <= now

    def crowded(self) -> bool:
        """Tell whether so much is in use that it is time to look for what is at rest."""
        words = self._words
        return words[COUNT] * 2 > self.geometry.max_keys or words[FRESH] * 2 > self.geometry.extents

    def sweep(self, now: int, rows: int, taken: Collection[int]) -> None:
        """Move the hand over a few rows and forget what is at rest there."""
        words = self._words
        geometry = self.geometry
        writes: Writes = {}
        for _ in range(min(rows, geometry.rows)):
            hand = writes.get(HAND, words[HAND]) % geometry.rows
            writes[HAND] = hand + 1
            row = geometry.table + hand * geometry.stride
            for cell in range(row, row + geometry.stride, CELL):
                if cell not in taken and self.at_rest(cell, now):
                    self.forget(writes, cell)
        self.journal.commit(writes)
