"""Journal: several words of shared memory change together, or not at all, whenever the writer dies.

A process killed between two instructions leaves a prefix of its stores behind, and a store of one aligned
64-bit word is never halved. So: write down what is to be written, set one word that says so, write it,
clear that word. Whoever takes the lock next and finds the word set does the writing again. (A redo log; Gray
and Reuter, Transaction Processing, 1992, chapter 9.)

Everything here runs under the lock.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from mmap import mmap

from ..errors import StoreUnavailable
from .shared_layout import COMMIT, DAMAGED, JOURNAL, MOST_WRITES, RECOVERED, WORD

Writes = dict[int, int]
"""What one decision is about to write: word number to value, a signed 64-bit integer."""

_START = JOURNAL * WORD
_PACKERS: list[Callable[..., None]] = []


def _pack_into(count: int) -> Callable[..., None]:
    """A function that packs so many word numbers and so many values."""
    if not _PACKERS:
        _PACKERS.extend(struct.Struct(f"{2 * size}q").pack_into for size in range(64))
    return _PACKERS[count] if count < 64 else struct.Struct(f"{2 * count}q").pack_into


class Journal:
    """Apply writes to the words of `memory`, all or none."""

    def __init__(self, memory: mmap, words: memoryview[int]) -> None:
        self._memory = memory
        self._words = words

    def commit(self, writes: Writes) -> None:
        """Write all of it, or, should this process die on the way, none or all of it."""
        words = self._words
        count = len(writes)
        if count < 2:
            for word, value in writes.items():
                words[word] = value
            return
        if count > MOST_WRITES:
            raise StoreUnavailable(f"one plan would change {count:,} words; give it fewer limits")
        _pack_into(count)(self._memory, _START, *writes, *writes.values())
        words[COMMIT] = count << 32 | zlib.crc32(self._memory[_START : _START + 2 * count * WORD])
        for word, value in writes.items():
            words[word] = value
        words[COMMIT] = 0

    def recover(self) -> None:
        """Finish what a dead process had committed. A journal that does not add up is dropped and counted.

        Dropping is safe: nobody was told of that decision yet, and what it wrote already only adds charges.
        """
        words = self._words
        mark = words[COMMIT]
        count = mark >> 32
        if 0 < count <= MOST_WRITES:
            data = self._memory[_START : _START + 2 * count * WORD]
            numbers = struct.unpack(f"{2 * count}q", data)
            targets = numbers[:count]
            if zlib.crc32(data) == mark & 0xFFFF_FFFF and min(targets) > COMMIT and max(targets) < len(words):
                for word, value in zip(targets, numbers[count:], strict=True):
                    words[word] = value
                words[RECOVERED] += 1
                words[COMMIT] = 0
                return
        words[DAMAGED] += 1
        words[COMMIT] = 0
