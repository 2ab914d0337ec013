"""Hold an ASGI request back without losing any of it: sleep, but end at once when the client goes.

Listening for the disconnect means calling `receive`, which may yield the body instead. What it yields is
kept, up to a bound, and handed to the app afterwards, a call that is still pending included.
"""

from __future__ import annotations

import asyncio
from collections import deque

from .protocols import Message, Receive

_MOST_KEPT = 65_536
"""Bytes of a body kept during a delay; after them nobody listens, and the server's flow control holds."""
_EACH = 256
"""Bytes a message counts for by itself, so that empty chunks find the bound as well."""


class Waiting:
    """One delay of one request; `receive` is what the app gets afterwards. Call `end` at the very end."""

    __slots__ = ("_kept", "_pending", "_receive", "_size")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: deque[Message] = deque()
        self._size = 0
        self._pending: asyncio.Future[Message] | None = None

    async def elapses(self, seconds: float) -> bool:
        """Wait; False at once when the client disconnects meanwhile."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a server on trio: an undelayed answer is better than none
            return True
        until = loop.time() + seconds
        listening = True
        while (left := until - loop.time()) > 0:
            if not listening:
                await asyncio.sleep(left)
                continue
            if self._pending is None:
                self._pending = asyncio.ensure_future(self._receive())
            await asyncio.wait((self._pending,), timeout=left)
            if self._pending.done():
                if self._pending.cancelled():
                    self._pending = None
                    listening = False
                    continue
                if self._pending.exception() is not None:
                    listening = False  # the app finds out for itself, if it ever asks
                    continue
                message = self._pending.result()
                self._pending = None
                if message["type"] in ("http.disconnect", "websocket.disconnect"):
                    return False
                listening = self._keep(message)
        return True

    async def receive(self) -> Message:
        """What came during the delay, then whatever comes."""
        if self._kept:
            return self._kept.popleft()
        if self._pending is not None:
            pending, self._pending = self._pending, None
            return await pending
        return await self._receive()

    def end(self) -> None:
        """Drop a call that is still pending: nobody will ask for its answer."""
        if self._pending is not None:
            self._pending.cancel()

    def _keep(self, message: Message) -> bool:
        """Keep a message for the app; say whether to listen on."""
        complete = bool(self._kept) and not self._kept[-1].get("more_body")
        self._kept.append(message)
        self._size += _EACH + len(message.get("body") or b"")
        return not complete and self._size < _MOST_KEPT
