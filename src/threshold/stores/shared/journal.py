"""Journal: several words of shared memory change together, or not at all, whenever the writer dies.

A process killed between two instructions leaves a prefix of its stores behind, and a store of one aligned
64-bit word is never halved. So: write down what is to be written, set one word that says so, write it,
clear that word. Whoever takes the lock next and finds the word set does the writing again. (A redo log; Gray
and Reuter, Transaction Processing, 1992, chapter 9.)

Everything here runs under the lock.
"""

from __future__ import annotations

import struct
from mmap import mmap
from zlib import crc32

from ...errors import StoreUnavailable
from .layout import COMMIT, DAMAGED, JOURNAL, MOST_WRITES, RECOVERED, WORD

Writes = dict[int, int]
"""What one decision is about to write: word number to value, a signed 64-bit integer."""

_START = JOURNAL * WORD
_PACK_INTO = [struct.Struct(f"{2 * count}q").pack_into for count in range(32)]
"""Pack so many word numbers, and so many values."""


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
        if count < 32:
            _PACK_INTO[count](self._memory, _START, *writes, *writes.values())
        else:
            struct.pack_into(f"{2 * count}q", self._memory, _START, *writes, *writes.values())
        words[COMMIT] = count << 32 | crc32(self._memory[_START : _START + 2 * count * WORD])
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
            if crc32(data) == mark & 0xFFFF_FFFF and min(targets) > COMMIT and max(targets) < len(words):
                for word, value in zip(targets, numbers[count:], strict=True):
                    words[word] = value
                words[RECOVERED] += 1
                words[COMMIT] = 0
                return
        words[DAMAGED] += 1
        words[COMMIT] = 0
