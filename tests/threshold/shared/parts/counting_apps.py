"""The smallest WSGI and ASGI apps with a limit: 200 or 429, and who answered. The store is named by STORE."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from threshold import AsyncLimiter, Limiter, MemoryStore, SlidingWindow
from threshold.stores.base import Store
from threshold.stores.shared import SharedMemoryStore

LIMIT = 60


def make_store() -> Store:
    """STORE=memory is the contrast: each process counts for itself."""
    name = os.environ.get("STORE", "memory")
    return MemoryStore() if name == "memory" else SharedMemoryStore(name, 1_000, timeout=20)


limit = SlidingWindow(f"{LIMIT}/hour")
store = make_store()
sync_limiter = Limiter(limit, store)
async_limiter = AsyncLimiter(limit, store)


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Charge the path."""
    allowed = sync_limiter.acquire(environ["PATH_INFO"]).allowed
    body = str(os.getpid()).encode()
    start_response("200 OK" if allowed else "429 Too Many", [("Content-Length", str(len(body)))])
    return [body]


async def asgi(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """Charge the path."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    allowed = (await async_limiter.acquire(scope["path"])).allowed
    body = str(os.getpid()).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200 if allowed else 429, "headers": headers})
    await send({"type": "http.response.body", "body": body})
