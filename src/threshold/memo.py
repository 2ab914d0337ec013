"""Memo: the answers of a pure function, by its argument, in a dict that asks the function itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Memo(dict[K, V]):
    """Remember what `function` said of up to `most` arguments; with one more it starts afresh.

    What is known costs a subscript, a third of what calling a function behind `lru_cache` does. Threads may
    share it: two that miss at once both ask.

    Args:
        function: what to ask about an argument that is not known.
        most: arguments remembered at once, 1 or more.
        worth: says of an argument whether it is worth remembering; default: all are.

    >>> lengths = Memo(len, most=1000, worth=lambda text: len(text) < 4)
    >>> lengths["abc"], lengths["abcd"], len(lengths)
    (3, 4, 1)
    """

    __slots__ = ("_function", "_most", "_worth")

    def __init__(
        self, function: Callable[[K], V], most: int, worth: Callable[[K], bool] | None = None
    ) -> None:
        self._function = function
        self._most = most
        self._worth = worth

    def __missing__(self, key: K) -> V:
        value = self._function(key)
        if self._worth is None or self._worth(key):
            if len(self) >= self._most:
                self.clear()
            self[key] = value
        return value
