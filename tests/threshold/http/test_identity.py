"""Ids from the app's own functions, and remembering them for a time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from threshold import ConfigurationError, Policy
from threshold.asgi import ThresholdMiddleware
from threshold.http.identity import Cached


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def key(request: Any) -> str | None:
    return None if request is None else str(request)


def test_an_answer_holds_for_its_time_and_is_asked_for_again_after_it() -> None:
    asked: list[Any] = []
    clock = Clock()

    def tier(request: Any) -> str:
        asked.append(request)
        return f"tier {len(asked)}"

    cached = Cached(tier, key=key, ttl=30, clock=clock)
    assert [cached("a"), cached("a"), cached("b")] == ["tier 1", "tier 1", "tier 2"]
    clock.now = 29.9
    assert cached("a") == "tier 1"
    clock.now = 30
    assert cached("a") == "tier 3"


def test_nobody_is_an_answer_and_no_key_is_no_memory() -> None:
    asked: list[Any] = []
    cached = Cached(asked.append, key=key, ttl=30)
    assert [cached("a"), cached("a")] == [None, None] and len(asked) == 1
    assert [cached(None), cached(None)] == [None, None] and len(asked) == 3


def test_a_failure_is_raised_and_not_remembered() -> None:
    answers: list[Any] = [LookupError("down"), "oak"]

    def tier(request: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    cached = Cached(tier, key=key, ttl=30)
    with pytest.raises(LookupError, match="down"):
        cached("a")
    assert cached("a") == cached("a") == "oak"


def test_memory_is_bounded_and_the_oldest_answer_goes_first() -> None:
    asked: list[Any] = []
    cached = Cached(asked.append, key=key, ttl=30, most=2)
    for request in ("a", "b", "c", "b", "c", "a"):
        cached(request)
    assert asked == ["a", "b", "c", "a"]


def test_async_functions_are_awaited_once_and_then_answered_from_memory(asgi: Any) -> None:
    asked: list[Any] = []

    async def user(scope: Any) -> int:
        asked.append(scope)
        await asyncio.sleep(0)
        return 7

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    cached = Cached(user, key=lambda scope: scope["client"][0], ttl=30)
    guarded = ThresholdMiddleware(app, policy=Policy(user="2/minute"), user=cached)
    assert [asgi(guarded).status for _ in range(3)] == [200, 200, 429]
    assert len(asked) == 1


def test_wsgi_refuses_a_memory_of_something_that_must_be_awaited() -> None:
    from threshold.wsgi import ThresholdMiddleware

    async def user(environ: Any) -> str:
        return "u"

    with pytest.raises(ConfigurationError, match=r"^user"):
        ThresholdMiddleware(
            lambda environ, start: [],
            policy=Policy(user="1/minute"),
            user=Cached(user, key=lambda environ: "k", ttl=1),
        )


def test_a_key_that_is_neither_text_nor_bytes_is_an_error() -> None:
    def number(request: Any) -> Any:
        return 7

    with pytest.raises(TypeError, match="key: 7"):
        Cached(str, key=number, ttl=30)("a")


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("ttl", {"ttl": 0}),
        ("ttl", {"ttl": float("inf")}),
        ("ttl", {"ttl": "30"}),
        ("most", {"most": 0}),
        ("key", {"key": "header"}),
        ("function", {"function": "tier"}),
    ],
)
def test_refuses_what_cannot_work(field: str, options: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"function": str, "key": key, "ttl": 30, **options}
    function = arguments.pop("function")
    with pytest.raises(ConfigurationError, match=f"^{field}"):
        Cached(function, **arguments)
