"""Shadow bans in ASGI: held back, unnoticed, bounded, over at once when the client goes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from threshold import ConfigurationError, Ladder, MemoryStore, Policy, Rung
from threshold.asgi import ThresholdMiddleware
from threshold.http.delays import Delays
from threshold.http.waiting import Waiting
from threshold.testing import ManualClock

LADDER = Ladder([Rung(forgive=True, shadow=3600)], delay=(2.0, 2.0))


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def shadowed(ask: Any, app: Any = echo, **options: Any) -> ThresholdMiddleware:
    """An app under whose policy user "bad" is shadow-banned by now."""
    clock = ManualClock()
    guarded = ThresholdMiddleware(
        app,
        policy=Policy(user="1000/second", endpoints={"/once": "1/minute"}, ladder=LADDER),
        store=MemoryStore(clock=clock),
        user=lambda scope: dict(scope["headers"]).get(b"user", b"bad").decode(),
        **options,
    )
    for _ in range(2):
        await ask(guarded, "/once")
    clock.advance(120)
    return guarded


def test_a_shadow_banned_request_is_answered_late_and_looks_like_any_other(
    skipping: Any, asgi_async: Any
) -> None:
    async def scenario() -> None:
        app = await shadowed(asgi_async)
        loop = asyncio.get_running_loop()
        begin = loop.time()
        late = await asgi_async(app)
        assert loop.time() - begin == pytest.approx(2.0, abs=0.01)
        prompt = await asgi_async(app, headers=[(b"user", b"good")])
        assert loop.time() - begin == pytest.approx(2.0, abs=0.01)
        assert late.status == prompt.status == 200
        assert [name for name, _ in late.headers] == [name for name, _ in prompt.headers]
        assert app.delayed_active == 0

    skipping(scenario())


def test_a_body_that_arrives_during_the_delay_is_not_lost(skipping: Any, asgi_async: Any) -> None:
    async def scenario() -> None:
        app = await shadowed(asgi_async)
        for chunks in ([b"one"], [b"a", b"", b"b"], [b"x" * 40_000] * 5, [b""] * 500 + [b"end"]):
            answer = await asgi_async(app, method="POST", body=chunks)
            assert answer.body == b"".join(chunks)

    skipping(scenario())


def test_only_a_bounded_part_of_a_body_is_kept_during_the_delay(skipping: Any) -> None:
    taken = 0

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": b"x" * 10_000, "more_body": True}

    async def scenario() -> None:
        waiting = Waiting(receive)
        assert await waiting.elapses(2.0)
        waiting.end()

    skipping(scenario())
    assert taken == 7


def test_a_server_that_repeats_the_end_of_the_body_does_not_spin(skipping: Any) -> None:
    taken = 0

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": b""}

    async def scenario() -> None:
        waiting = Waiting(receive)
        assert await waiting.elapses(2.0)
        assert await waiting.receive() == {"type": "http.request", "body": b""}

    skipping(scenario())
    assert taken == 2


@pytest.mark.parametrize("kind", ["http.disconnect", "websocket.disconnect"])
def test_a_disconnect_ends_the_delay_at_once(skipping: Any, asgi_async: Any, kind: str) -> None:
    async def scenario() -> None:
        served = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["headers"]:
                served.append(scope)
            await echo(scope, receive, send)

        guarded = await shadowed(asgi_async, app)
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await gone.wait()
            return {"type": kind}

        async def send(message: Any) -> None:
            raise AssertionError("nobody is there")

        scope = {
            "type": kind.split(".")[0],
            "method": "GET",
            "path": "/",
            "headers": [(b"user", b"bad")],
            "client": None,
        }
        request = asyncio.ensure_future(guarded(scope, receive, send))
        begin = loop.time()
        await asyncio.sleep(0.5)
        assert guarded.delayed_active == 1
        gone.set()
        await request
        assert loop.time() - begin < 0.6
        assert guarded.delayed_active == 0 and served == []

    skipping(scenario())


def test_a_request_that_is_cancelled_gives_its_place_back(skipping: Any, asgi_async: Any) -> None:
    async def scenario() -> None:
        app = await shadowed(asgi_async)
        request = asyncio.ensure_future(asgi_async(app))
        await asyncio.sleep(0.5)
        assert app.delayed_active == 1
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert app.delayed_active == 0

    skipping(scenario())


def test_beyond_the_bounds_requests_go_on_at_once(skipping: Any, asgi_async: Any) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        app = await shadowed(asgi_async)
        begin = loop.time()
        ends = []

        async def one() -> None:
            assert (await asgi_async(app)).status == 200
            ends.append(loop.time() - begin)

        await asyncio.gather(*(one() for _ in range(10)))
        assert [round(end) for end in ends] == [0] * 8 + [2] * 2  # two of one caller are held

        none = await shadowed(asgi_async, max_delayed=0)
        begin = loop.time()
        await asgi_async(none)
        assert loop.time() - begin < 0.1

    skipping(scenario())


def test_all_callers_together_have_a_bound_too() -> None:
    delays = Delays(most=256, most_per_key=2)
    entered = [key for i in range(200) for key in [f"caller {i}"] * 3 if delays.enter(key)]
    assert len(entered) == delays.active == 256
    for key in entered:
        delays.leave(key)
    assert delays.active == 0
    assert delays.enter("caller 0")


def test_listening_that_fails_does_not_break_the_request(skipping: Any) -> None:
    async def receive() -> dict[str, Any]:
        raise OSError("no channel")

    async def scenario() -> None:
        waiting = Waiting(receive)
        assert await waiting.elapses(1.0)
        with pytest.raises(OSError, match="no channel"):
            await waiting.receive()
        waiting.end()

    skipping(scenario())


def test_on_another_event_loop_than_asyncio_requests_go_on_undelayed() -> None:
    async def receive() -> dict[str, Any]:
        raise AssertionError("nobody listens")

    elapsed = Waiting(receive).elapses(5.0)
    with pytest.raises(StopIteration) as finished:
        elapsed.send(None)
    assert finished.value.value is True


def test_a_call_that_is_pending_after_the_delay_becomes_the_apps(skipping: Any) -> None:
    async def scenario() -> None:
        arrived: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        waiting = Waiting(arrived.get)
        assert await waiting.elapses(1.0)
        await arrived.put({"type": "http.request", "body": b"late"})
        assert (await waiting.receive())["body"] == b"late"
        unused = Waiting(arrived.get)
        assert await unused.elapses(1.0)
        unused.end()
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    skipping(scenario())


@pytest.mark.parametrize(("most", "each"), [(-1, 2), (1, -1), (True, 2), (1, None), (10**7, 2)])
def test_bounds_that_are_no_numbers_of_requests_are_refused(most: Any, each: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_delayed"):
        Delays(most, each)


def test_a_refusal_under_a_shadow_ban_is_no_faster_than_an_answer(skipping: Any, asgi_async: Any) -> None:
    async def scenario() -> None:
        app = await shadowed(asgi_async)
        loop = asyncio.get_running_loop()
        assert (await asgi_async(app, "/once")).status == 200
        begin = loop.time()
        again = await asgi_async(app, "/once")  # a strike that the ladder forgives
        assert again.one("x-ratelimit-warning") == "true"
        refused = await asgi_async(app, "/once")
        assert refused.status == 429 and refused.one("ratelimit").startswith('"/once";r=0')
        assert loop.time() - begin == pytest.approx(4.0, abs=0.01)

    skipping(scenario())
