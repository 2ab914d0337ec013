"""Heads of answers that came before: a server says the same few over and over, so each is parsed only once.

Nothing here knows HTTP's grammar. What a head means is what httptools made of the very same bytes; a head is
remembered only when it alone decides where its answer ends.
"""

from __future__ import annotations

_END = b"\r\n\r\n"
_MOST = 1024  # heads kept
_CREDIT = 64  # what learning may cost before it has to pay: one per head learned, regained by one found
_MOST_CREDIT = 256
_REST = 1024  # answers without learning, when it did not pay: a counter in every head makes each one new


class Head:
    """Hold one head and what it means: `size` bytes long, `whole` with the body that follows it."""

    __slots__ = ("headers", "raw", "size", "status", "whole")

    def __init__(self, raw: bytes, status: int, headers: list[tuple[bytes, bytes]], length: int) -> None:
        self.raw = raw
        self.status = status
        self.headers = headers
        self.size = len(raw)
        self.whole = self.size + length


NO_HEAD = Head(b"", 0, [], -1)


class Heads:
    """Remember the heads of whole answers that leave their connection usable, as long as that pays."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self._credit = _CREDIT
        self._rest = 0

    def __len__(self) -> int:
        return len(self._known)

    def find(self, data: bytes) -> Head | None:
        """Give the head that these bytes begin with, if it is known and they are exactly its answer."""
        if not self._known:
            return None
        head = self._known.get(data[: data.find(_END) + 4])
        if head is None or head.whole != len(data):
            return None
        if self._credit < _MOST_CREDIT:
            self._credit += 1
        return head

    def learn(self, data: bytes, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Remember the head of an answer that is whole, came in one piece and was not one to HEAD."""
        if self._rest:
            self._rest -= 1
            return
        size = data.find(_END) + 4
        if size < 4 or size + len(body) != len(data):
            return  # chunks, a preface (1xx), or something stranger: not for the head alone to decide
        self._credit -= 1
        if not self._credit or len(self._known) >= _MOST:
            self._known.clear()
        if not self._credit:
            self._credit, self._rest = _CREDIT, _REST
            return
        raw = data[:size]
        self._known[raw] = Head(raw, status, headers, len(body))
