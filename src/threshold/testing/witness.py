"""Witness: when each request was decided, told in a signed header field, so that an audit need not guess.

From outside, a decision fell somewhere between sending and answer. A witness stands beside the store and
notes the instants just before and just after it was asked; the answer carries them. It is put around an app
for a test and is nowhere else: without one, nothing of this runs.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from ..plan import Limit, Outcome, Plan, State
from ..stores.base import AsyncStore, Store

_Message = MutableMapping[str, Any]
_Send = Callable[[_Message], Awaitable[None]]
_ASGIApp = Callable[[MutableMapping[str, Any], Callable[[], Awaitable[_Message]], _Send], Awaitable[None]]
_WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

FIELD = "Threshold-Decided"
SHORTEST_SECRET = 16
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_asked: ContextVar[list[tuple[int, int]] | None] = ContextVar("threshold_witness", default=None)


class Witness:
    """Report when the store decided each request, signed, for `sentinel audit --witness-secret`.

    Wrap the store, and the app with its middleware. The field is `Threshold-Decided: BEGIN;END;SIGNATURE`:
    nanoseconds of this machine's CLOCK_MONOTONIC, and the HMAC-SHA256 over both and the id of the machine's
    boot, by the secret. An answer that the store was not asked for, such as a refusal that the middleware
    repeats, has none.

    For tests: it tells every caller how long a decision took, and wrapping the store costs some microseconds.

    Args:
        secret: shared with the audit, at least 16 characters.

    Raises:
        ConfigurationError: for a short secret, or a system that does not tell its boot id (Linux does).

    >>> from threshold import MemoryStore, Policy
    >>> from threshold.wsgi import ThresholdMiddleware
    >>> def app(environ, start_response): ...
    >>> witness = Witness("for this test only")
    >>> guarded = ThresholdMiddleware(app, policy=Policy(edge="5/second"), store=witness.store(MemoryStore()))
    >>> audited = witness.wsgi(guarded)
    """

    def __init__(self, secret: str) -> None:
        if len(secret) < SHORTEST_SECRET:
            remedy = f"give at least {SHORTEST_SECRET} characters that nobody else knows"
            raise ConfigurationError("secret", "*" * len(secret), remedy)
        try:
            self._boot = _BOOT_ID.read_text().strip()
        except OSError as error:
            raise ConfigurationError("secret", "***", f"a witness needs Linux: {error}") from None
        self._key = secret.encode()

    def store(self, store: Store) -> Store:
        """Wrap a store: every decision it makes is noted."""
        return _WitnessedStore(store)

    def async_store(self, store: AsyncStore) -> AsyncStore:
        """Wrap a store that is awaited."""
        return _WitnessedAsyncStore(store)

    def asgi(self, app: _ASGIApp) -> _ASGIApp:
        """Wrap an ASGI app that holds the middleware."""

        async def witnessed(scope: MutableMapping[str, Any], receive: Any, send: _Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            noted: list[tuple[int, int]] = []

            async def telling(message: _Message) -> None:
                if noted and message["type"] == "http.response.start":
                    field = FIELD.lower().encode(), self._field(noted).encode()
                    message = {**message, "headers": [*message.get("headers", ()), field]}
                await send(message)

            token = _asked.set(noted)
            try:
                await app(scope, receive, telling)
            finally:
                _asked.reset(token)

        return witnessed

    def wsgi(self, app: _WSGIApp) -> _WSGIApp:
        """Wrap a WSGI app that holds the middleware."""

        def witnessed(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            noted: list[tuple[int, int]] = []

            def telling(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
                told = [(FIELD, self._field(noted))] if noted else []
                return start_response(status, [*headers, *told], *error)

            token = _asked.set(noted)
            try:
                return app(environ, telling)
            finally:
                _asked.reset(token)

        return witnessed

    def _field(self, noted: list[tuple[int, int]]) -> str:
        begin, end = min(first for first, _ in noted), max(last for _, last in noted)
        signed = hmac.digest(self._key, f"{begin};{end};{self._boot}".encode(), "sha256").hex()
        return f"{begin};{end};{signed}"


def _note(begin: int) -> None:
    noted = _asked.get()
    if noted is not None:
        noted.append((begin, time.monotonic_ns()))


class _WitnessedStore:
    """A store whose decisions are noted; it has the contract's methods and no shortcut around them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.blocking = getattr(store, "blocking", False)

    def decide(self, plan: Plan) -> Outcome:
        begin = time.monotonic_ns()
        outcome = self._store.decide(plan)
        _note(begin)
        return outcome

    def refund(self, plan: Plan, at: int) -> None:
        self._store.refund(plan, at)

    def reset(self, keys: Sequence[str], group: str | None = None) -> None:
        self._store.reset(keys, group)

    def state(self, keys: Sequence[str]) -> list[State]:
        return self._store.state(keys)

    def check(self, limit: Limit) -> None:
        self._store.check(limit)

    def close(self) -> None:
        self._store.close()


class _WitnessedAsyncStore:
    """The same for a store that is awaited."""

    asynchronous = True

    def __init__(self, store: AsyncStore) -> None:
        self._store = store

    async def decide(self, plan: Plan) -> Outcome:
        begin = time.monotonic_ns()
        outcome = await self._store.decide(plan)
        _note(begin)
        return outcome

    async def refund(self, plan: Plan, at: int) -> None:
        await self._store.refund(plan, at)

    async def reset(self, keys: Sequence[str], group: str | None = None) -> None:
        await self._store.reset(keys, group)

    async def state(self, keys: Sequence[str]) -> list[State]:
        return await self._store.state(keys)

    def check(self, limit: Limit) -> None:
        self._store.check(limit)

    async def aclose(self) -> None:
        await self._store.aclose()
