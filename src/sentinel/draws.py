"""Random numbers of which every session has a stream of its own, keyed by the run's seed and its number.

So a session does the same whichever process runs it and whatever the other sessions do. The generator is
SplitMix64 (Steele, Lea and Flood, 2014): any stream starts at once, in constant space. What every session
draws first, its opening, is worked out for many sessions at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_UNIT = 2.0**-32
HALF = (1 << 32) - 1
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_STRIDE = 0xD1342543DE82EF95  # odd, and no small multiple of the step: streams start far from each other
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

Opening: TypeAlias = tuple[int, int]  # a session's number and its first 64 random bits
Block: TypeAlias = tuple[range, npt.NDArray[np.uint64]]  # the numbers and first bits of many sessions


class Draws:
    """Give a stream of numbers that follows from 64 random bits, of which it uses the lower half itself.

    >>> a, b = Draws(opening(seed=1, number=7)), Draws(opening(seed=1, number=7))
    >>> [a.below(100) for _ in range(3)] == [b.below(100) for _ in range(3)]
    True
    """

    __slots__ = ("_left", "_state")

    def __init__(self, bits: int) -> None:
        self._state = bits
        self._left = bits & HALF  # what nobody has drawn yet of the last step

    def bits(self) -> int:
        """Draw 64 random bits."""
        self._state = self._state + _GOLDEN & _MASK
        return _mixed(self._state)

    def half(self) -> int:
        """Draw 32 random bits; two draws cost one step of the generator."""
        left = self._left
        if left >= 0:
            self._left = -1
            return left
        bits = self.bits()
        self._left = bits & HALF
        return bits >> 32

    def share(self) -> float:
        """Draw a number from 0 (included) to 1 (not)."""
        return self.half() * _UNIT

    def below(self, limit: int) -> int:
        """Draw an integer from 0 to limit - 1 (limit at most 2**32, so the bias is below one in 2**32)."""
        left = self._left
        if left < 0:
            return self.half() * limit >> 32
        self._left = -1
        return left * limit >> 32

    def about(self, middle: float, variance: float) -> float:
        """Draw a number from middle - variance to middle + variance, never below 0."""
        return max(0.0, middle + variance * (2 * self.share() - 1))


def opening(seed: int, number: int) -> int:
    """Give the first 64 random bits of a session."""
    return _mixed(_origin(seed) + number * _STRIDE & _MASK)


def openings(seed: int, first: int, step: int, at_once: int) -> Iterator[Opening]:
    """Give number and opening of session `first` and of every step-th after it, without end.

    at_once: how many to work out at a time.

    >>> next(openings(1, 7, 1, at_once=10)) == (7, opening(1, 7))
    True
    """
    for numbers, bits in opening_blocks(seed, first, step, at_once):
        yield from zip(numbers, bits.tolist(), strict=True)


def opening_blocks(seed: int, first: int, step: int, at_once: int) -> Iterator[Block]:
    """Give the same in blocks of `at_once` sessions, whose bits stay in an array."""
    origin = np.uint64(_origin(seed))
    while True:
        numbers = range(first, first + at_once * step, step)
        states = (
            np.arange(first, first + at_once * step, step).astype(np.uint64) * np.uint64(_STRIDE) + origin
        )
        yield numbers, _mixed_all(states)
        first += at_once * step


def _origin(seed: int) -> int:
    return _mixed((seed * _GOLDEN + 0x632BE59BD9B4E019) & _MASK)


def _mixed(bits: int) -> int:
    bits = (bits ^ (bits >> 30)) * _FIRST & _MASK
    bits = (bits ^ (bits >> 27)) * _SECOND & _MASK
    return bits ^ (bits >> 31)


def _mixed_all(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(_FIRST)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(_SECOND)
    return bits ^ (bits >> np.uint64(31))
