"""A limit on the messages of a WebSocket's client, counted per caller across all their connections.

A message over the limit never reaches the app: the connection is closed with 1013 (try again later) and the
app is told that its peer has gone.
"""

from __future__ import annotations

from collections.abc import Awaitable

from ..errors import StoreUnavailable
from ..plan import Outcome, Plan, Rule
from ..stores.base import AsyncStore, Store
from ..tiers import LimitLike, as_limit
from .protocols import Message, Receive, Send

TRY_AGAIN_LATER = 1013


class MessageLimit:
    """The limit, over the store that holds everything else.

    Args:
        limit: as anywhere in a policy, e.g. "100/minute".
        store: where the state lives.
        policy: name of the policy, so that two of them count apart.
    """

    __slots__ = ("_rules", "_store")

    def __init__(self, limit: LimitLike, store: Store | AsyncStore, policy: str) -> None:
        checked = as_limit("websocket_messages", limit)
        store.check(checked)
        rule = Rule.of("websocket-messages", "limiter", checked, prefix=f"{policy}:")
        self._rules = (rule,)
        self._store = store

    async def admits(self, caller: str) -> bool:
        """Charge one message; True as well while the store cannot answer."""
        plan = Plan(self._rules, (caller,), group=caller)
        try:
            answer: Outcome | Awaitable[Outcome] = self._store.decide(plan)
            outcome = answer if isinstance(answer, Outcome) else await answer
        except StoreUnavailable:
            return True
        return outcome.allowed


class LimitedSocket:
    """The two channels of one connection, between the server and the app."""

    __slots__ = ("_caller", "_closed", "_limit", "_receive", "_send")

    def __init__(self, limit: MessageLimit, caller: str, receive: Receive, send: Send) -> None:
        self._limit = limit
        self._caller = caller
        self._receive = receive
        self._send = send
        self._closed = False

    async def receive(self) -> Message:
        """The next event, or a disconnect in place of a message over the limit."""
        gone = {"type": "websocket.disconnect", "code": TRY_AGAIN_LATER, "reason": "too many messages"}
        if self._closed:
            return gone
        message = await self._receive()
        if message["type"] != "websocket.receive" or await self._limit.admits(self._caller):
            return message
        self._closed = True
        await self._send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": gone["reason"]})
        return gone

    async def send(self, message: Message) -> None:
        """Pass on what the app sends, as long as the connection is open.

        Raises:
            ConnectionError: after it was closed, as servers do (an OSError, says ASGI).
        """
        if not self._closed:
            await self._send(message)
        elif message["type"] != "websocket.close":
            raise ConnectionAbortedError("the WebSocket was closed: too many messages")
