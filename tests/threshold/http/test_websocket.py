"""WebSockets: handshakes are limited as requests, messages by their own limit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from threshold import MemoryStore, Policy
from threshold.asgi import ThresholdMiddleware
from threshold.testing import ManualClock


async def parrot(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", "headers": [(b"x-parrot", b"1")]})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            scope["code"] = message["code"]
            return
        await send({"type": "websocket.send", "text": message["text"]})


def connect(app: Any, texts: tuple[str, ...] = (), **more: Any) -> tuple[dict[str, Any], list[Any]]:
    """Open a WebSocket, say some texts and leave; return the scope and what was sent back."""
    scope = {
        "type": "websocket",
        "path": "/ws",
        "root_path": "",
        "headers": [],
        "client": ("203.0.113.9", 1),
        "extensions": {"websocket.http.response": {}},
        **more,
    }
    said: list[Any] = [{"type": "websocket.connect"}]
    said += [{"type": "websocket.receive", "text": text} for text in texts]
    said += [{"type": "websocket.disconnect", "code": 1000}]
    sent: list[Any] = []

    async def receive() -> Any:
        return said.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return scope, sent


def guarded(app: Any = parrot, policy: Policy | None = None, **options: Any) -> ThresholdMiddleware:
    policy = policy or Policy(edge="1/minute")
    return ThresholdMiddleware(app, policy=policy, store=MemoryStore(clock=ManualClock()), **options)


def test_a_handshake_is_admitted_with_the_fields_and_refused_with_429() -> None:
    app = guarded()
    _, sent = connect(app)
    names = [name for name, _ in sent[0]["headers"]]
    assert sent[0]["type"] == "websocket.accept"
    assert names.count(b"ratelimit") == 1 and b"x-parrot" in names
    _, sent = connect(app)
    assert [message["type"] for message in sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert sent[0]["status"] == 429
    assert dict(sent[0]["headers"])[b"retry-after"] == b"60"


@pytest.mark.parametrize("extensions", [{}, None, {"tls": {}}])
def test_without_the_denial_extension_the_connection_is_closed(extensions: Any) -> None:
    app = guarded(policy=Policy(edge="0/minute"))
    _, sent = connect(app, extensions=extensions)
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1013)]


def test_handshakes_match_endpoints_as_get_requests() -> None:
    app = guarded(policy=Policy(endpoints={"GET /ws": "1/minute"}))
    assert connect(app)[1][0]["type"] == "websocket.accept"
    assert connect(app)[1][0]["type"] == "websocket.http.response.start"
    assert connect(app, path="/other")[1][0]["type"] == "websocket.accept"


def test_a_message_over_the_limit_closes_the_connection_and_never_reaches_the_app() -> None:
    app = guarded(policy=Policy(edge="100/minute"), websocket_messages="2/minute")
    scope, sent = connect(app, ("a", "b", "c", "d"))
    assert [message["text"] for message in sent if message["type"] == "websocket.send"] == ["a", "b"]
    assert (sent[-1]["type"], sent[-1]["code"]) == ("websocket.close", 1013)
    assert scope["code"] == 1013


def test_messages_are_counted_per_caller_over_all_connections() -> None:
    app = guarded(policy=Policy(edge="100/minute"), websocket_messages="2/minute")
    assert connect(app, ("a", "b"))[0]["code"] == 1000
    assert connect(app, ("c",))[0]["code"] == 1013
    assert connect(app, ("d",), client=("198.51.100.7", 1))[0]["code"] == 1000


def test_an_app_that_talks_on_is_told_that_nobody_listens() -> None:
    async def deaf(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"
        assert (await receive())["type"] == "websocket.disconnect"
        with pytest.raises(OSError, match="too many messages"):
            await send({"type": "websocket.send", "text": "hello?"})
        await send({"type": "websocket.close", "code": 1000})

    app = guarded(deaf, Policy(edge="100/minute"), websocket_messages="0/minute")
    _, sent = connect(app, ("a",))
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
