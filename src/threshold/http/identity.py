"""Who the app says is calling: tenant, user and tier, from functions of the request.

An answer is a text, or None (or "") for "nobody". Whatever else comes back is put as text, so that 7 and "7"
are one user. A function that fails fails the request: a broken lookup must not become a free pass.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from threading import Lock
from typing import Generic, TypeVar, cast

from ..errors import ConfigurationError

R = TypeVar("R")

Identify = Callable[[R], object]
"""From a request (ASGI: the scope, WSGI: the environ) to an id, or None. In ASGI it may be async."""

_MOST_REMEMBERED = 10_000


def check_function(field: str, function: object, *, asynchronous: bool) -> None:
    """Refuse what cannot be called, and coroutine functions where nobody could await them.

    Raises:
        ConfigurationError: naming the field.
    """
    if function is None:
        return
    if not callable(function):
        raise ConfigurationError(field, function, "give a function of the request that returns an id")
    if not asynchronous and _is_async(function):
        raise ConfigurationError(field, function, "nothing awaits it here: give a plain function")


def named(value: object) -> str | None:
    """The id that an identity function's answer means.

    >>> named(7), named("seven"), named(""), named(None)
    ('7', 'seven', None, None)
    """
    if value is None:
        return None
    return str(value) or None


class Cached(Generic[R]):
    """Remember what an identity function answers, for a time.

    Args:
        function: the identity function; async ones are for ASGI only.
        key: function of the request to what the answer depends on, as str or bytes: all of it, or callers
            get each other's answers. None means: do not remember.
        ttl: seconds an answer holds, above 0.
        most: answers remembered at once; beyond it the oldest is asked for again.

    Raises:
        ConfigurationError: for a ttl or size out of range.

    >>> asked = []
    >>> tier = Cached(lambda request: asked.append(request) or "oak", key=lambda request: request, ttl=30)
    >>> tier("token"), tier("token"), asked
    ('oak', 'oak', ['token'])
    """

    __slots__ = ("_answers", "_clock", "_function", "_key", "_lock", "_most", "_ttl", "asynchronous")

    def __init__(
        self,
        function: Identify[R],
        *,
        key: Callable[[R], str | bytes | None],
        ttl: float,
        most: int = _MOST_REMEMBERED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_function("function", function, asynchronous=True)
        check_function("key", key, asynchronous=False)
        if not isinstance(ttl, (int, float)) or not 0 < ttl < float("inf"):
            raise ConfigurationError("ttl", ttl, "give seconds, above 0")
        if type(most) is not int or most < 1:
            raise ConfigurationError("most", most, "give a whole number of answers, 1 or more")
        self._function = function
        self._key = key
        self._ttl = ttl
        self._most = most
        self._clock = clock
        self._lock = Lock()
        self._answers: dict[str | bytes, tuple[float, str | None]] = {}
        self.asynchronous = _is_async(function)

    def __call__(self, request: R) -> str | Awaitable[str | None] | None:
        """The answer for a request: remembered, or asked for now."""
        key = self._key(request)
        if key is not None and not isinstance(key, (str, bytes)):
            raise TypeError(f"key: {key!r} is neither str nor bytes")
        known = self._answers.get(key) if key is not None else None
        if known is not None and known[0] > self._clock():
            return known[1]
        answer = self._function(request)
        if inspect.isawaitable(answer):
            return self._awaited(key, answer)
        return self._remember(key, named(answer))

    async def _awaited(self, key: str | bytes | None, answer: Awaitable[object]) -> str | None:
        return self._remember(key, named(await answer))

    def _remember(self, key: str | bytes | None, answer: str | None) -> str | None:
        if key is not None:
            with self._lock:
                self._answers.pop(key, None)
                if len(self._answers) >= self._most:
                    del self._answers[next(iter(self._answers))]
                self._answers[key] = (self._clock() + self._ttl, answer)
        return answer


def _is_async(function: object) -> bool:
    return (
        inspect.iscoroutinefunction(function)
        or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 (its code is asked for)
        or cast(bool, getattr(function, "asynchronous", False))
    )
