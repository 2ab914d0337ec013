"""Batch and Single: what waits in the queue of a RedisLine. They pack and hand out answers; no I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from ...errors import StoreUnavailable
from .server import ASKING
from .wire import Ask, numbers_of, outcome_at

Pack = Callable[[Sequence[Ask], bool], bytes]
"""Pack decisions into one command, by the script's name or (True) by its text."""


class Batch:
    """Decisions that share one command and one reply."""

    __slots__ = ("asks", "by_text", "kind", "since", "waiters")

    def __init__(self, since: float, kind: object) -> None:
        self.kind = kind
        """What keeps these decisions apart from others; None when nothing does."""
        self.asks: list[Ask] = []
        self.waiters: list[asyncio.Future[Any]] = []
        self.since = since
        self.by_text = False

    def command(self, pack: Pack) -> bytes:
        """The command that asks for all of them."""
        return pack(self.asks, self.by_text)

    def answer(self, reply: bytes) -> None:
        """Hand each waiter its outcome."""
        numbers = numbers_of(reply)
        at = 1
        for ask, waiter in zip(self.asks, self.waiters, strict=True):
            outcome, sure, at = outcome_at(numbers, at, ask.shape.takes)
            if not waiter.done():
                waiter.set_result((outcome, sure))

    def fail(self, error: Exception) -> None:
        """Tell every waiter that there is no answer."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(_own(error))


class Single:
    """One command of any other kind."""

    __slots__ = ("asked", "asking", "by_text", "name", "since", "text", "waiter")

    def __init__(
        self,
        since: float,
        name: bytes,
        text: Callable[[], bytes] | None,
        waiter: asyncio.Future[Any],
        asking: bool,
    ) -> None:
        self.since = since
        self.name = name
        self.text = text
        self.waiter = waiter
        self.by_text = text is None
        self.asking = self.asked = asking

    def command(self, pack: Pack) -> bytes:
        """The packed command."""
        packed = self.text() if self.by_text and self.text is not None else self.name
        return ASKING + packed if self.asking else packed

    def answer(self, reply: Any) -> None:
        """Hand the reply over."""
        if not self.waiter.done():
            self.waiter.set_result(reply)

    def fail(self, error: Exception) -> None:
        """Tell the waiter that there is no reply."""
        if not self.waiter.done():
            self.waiter.set_exception(_own(error))


def _own(error: Exception) -> Exception:
    """An error for one waiter alone: raising one object in many tasks would tangle their tracebacks."""
    return StoreUnavailable(*error.args) if isinstance(error, StoreUnavailable) else error
