"""The ASGI middleware on a real uvicorn, over real sockets."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

import http_sf
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from threshold import Ladder, Policy, Rung
from threshold.asgi import ThresholdMiddleware


async def home(request: Request) -> PlainTextResponse:
    return PlainTextResponse("home")


def counting(app: Any, seen: list[Any]) -> Any:
    """The app, noting the visits to its home page."""

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/":
            seen.append(scope)
        await app(scope, receive, send)

    return counted


async def upload(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def stream(request: Request) -> StreamingResponse:
    return StreamingResponse((b"%d," % i for i in range(100)), media_type="text/plain")


async def parrot(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


def site() -> Starlette:
    return Starlette(
        routes=[
            Route("/", home),
            Route("/upload", upload, methods=["POST"]),
            Route("/stream", stream),
            WebSocketRoute("/ws", parrot),
        ]
    )


def guarded(policy: Policy, **options: Any) -> ThresholdMiddleware:
    return ThresholdMiddleware(site(), policy=policy, **options)


def user(scope: Any) -> str | None:
    return bytes(dict(scope["headers"]).get(b"x-user", b"")).decode()


def members(field: str) -> Any:
    """The members of a structured field, by an independent parser."""
    return http_sf.parse(field.encode(), tltype="list")


def test_a_client_is_limited_told_and_admitted_again(uvicorn_server: Any, wait_until: Any) -> None:
    port = uvicorn_server(guarded(Policy(edge="1000/minute", user="5/second")))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        answers = [client.get("/") for _ in range(12)]
        assert {answer.status_code for answer in answers} == {200, 429}
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["violated-policies"] == ["user"]
        assert refused.headers["retry-after"] == "1"
        wait_until(lambda: client.get("/").status_code == 200)


def test_the_fields_are_structured_fields_on_admitted_and_refused_responses(uvicorn_server: Any) -> None:
    port = uvicorn_server(guarded(Policy(edge="100/minute", user="1/minute", endpoints={"GET /": "2/hour"})))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for status in (200, 429):
            answer = client.get("/")
            assert answer.status_code == status
            limits = dict(members(answer.headers["ratelimit-policy"]))
            assert limits["user"] == {"q": 1, "w": 60, "threshold-burst": 1}
            assert set(limits) == {"edge", "user", "GET /"}
            ((name, state),) = members(answer.headers["ratelimit"])
            assert name == "user" and state == {"r": 0, "t": 60}


def test_a_body_and_a_stream_pass_whole_and_a_refused_upload_reads_its_refusal(uvicorn_server: Any) -> None:
    port = uvicorn_server(guarded(Policy(endpoints={"POST /upload": "2/hour"})))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        streamed = client.get("/stream")
        assert streamed.text.count(",") == 100
        answers = [client.post("/upload", content=b"x" * 300_000) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[0].text == "300000"
        assert client.head("/").status_code == 200


def test_a_spoofed_header_changes_nothing_unless_the_peer_is_vouched_for(uvicorn_server: Any) -> None:
    policy = Policy(edge="1/minute")
    for options, second in (({}, 429), ({"trusted_proxies": ["127.0.0.0/8"]}, 200)):
        port = uvicorn_server(guarded(policy, **options))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert client.get("/", headers={"x-forwarded-for": "6.6.6.6, 203.0.113.1"}).status_code == 200
            assert client.get("/", headers={"x-forwarded-for": "203.0.113.2"}).status_code == second
            lines = [("x-forwarded-for", "203.0.113.2"), ("x-forwarded-for", "203.0.113.1")]
            assert client.get("/", headers=lines).status_code == 429


def test_a_websocket_handshake_is_refused_with_429_and_a_flood_of_messages_is_closed(
    uvicorn_server: Any,
) -> None:
    app = guarded(Policy(endpoints={"GET /ws": "2/hour"}), websocket_messages="3/hour")
    port = uvicorn_server(app, ws="websockets-sansio")
    with connect(f"ws://127.0.0.1:{port}/ws") as socket:
        socket.send("a")
        assert socket.recv() == "a"
    with connect(f"ws://127.0.0.1:{port}/ws") as socket:
        for text in ("b", "c", "d"):
            socket.send(text)
        assert [socket.recv(), socket.recv()] == ["b", "c"]
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{port}/ws")
    assert refused.value.response.status_code == 429
    assert refused.value.response.headers["Retry-After"]


def test_malformed_requests_get_what_the_server_gives(uvicorn_server: Any) -> None:
    port = uvicorn_server(guarded(Policy(edge="1000/minute", user="1000/minute")))
    requests = [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /%ff%00%0d%0a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET //%2e%2e/// HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-For: \xff\xfe,,\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: ;;q=,\r\n\r\n",
    ]

    async def ask(request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer

    for request in requests:
        answer = asyncio.run(ask(request))
        assert answer.startswith(b"HTTP/1.1 ") and not answer.startswith(b"HTTP/1.1 5"), answer


def test_two_hundred_shadow_banned_connections_do_not_slow_a_normal_caller(
    uvicorn_server: Any,
) -> None:
    ladder = Ladder([Rung(forgive=True, shadow=3600)], delay=(5.0, 5.0))
    policy = Policy(user="100000/second", endpoints={"/": "1/hour"}, ladder=ladder)
    visits: list[Any] = []
    app = ThresholdMiddleware(counting(site(), visits), policy=policy, user=user)
    port = uvicorn_server(app)

    async def ask(who: str, path: str = "/") -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nX-User: {who}\r\n\r\n".encode())
        if path != "/":
            await reader.readuntil(b"\r\n\r\n")
        return writer

    async def median(times: int = 40) -> float:
        taken = []
        for _ in range(times):
            begin = time.perf_counter()
            writer = await ask("normal", "/stream")
            taken.append(time.perf_counter() - begin)
            writer.close()
        return statistics.median(taken)

    async def held(count: int) -> None:
        deadline = time.monotonic() + 20
        while app.delayed_active != count:
            assert time.monotonic() < deadline, app.delayed_active
            await asyncio.sleep(0.005)

    async def scenario() -> None:
        everybody = [f"bad {i}" for i in range(200)]
        openers = [await ask(who) for who in everybody]  # the one request that is allowed
        alone = await median()
        writers = [await ask(who) for who in everybody]  # one too many: forgiven, and held back
        await held(200)
        crowded = await median()
        assert app.delayed_active == 200
        assert crowded < 5 * alone + 0.01
        for writer in writers + openers:
            writer.close()
        await held(0)
        assert len(visits) == 200, "a disconnect ends a delay, and its request never reaches the app"

    asyncio.run(scenario())
