"""The smallest WSGI and ASGI apps with a limit: 200 or 429, and who answered. STORE says where it counts."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from threshold import AsyncLimiter, Limiter, MemoryStore, SlidingWindow
from threshold.stores.base import Store
from threshold.stores.choice import choose_store
from threshold.stores.shared import SharedMemoryStore

LIMIT = 60


def make_store() -> Store:
    """STORE=memory is the contrast, each process for itself; STORE=auto-NAME leaves the choice open."""
    name = os.environ.get("STORE", "memory")
    if name.startswith("auto-"):
        choice = choose_store(name.removeprefix("auto-"), max_keys=1_000)
        print(f"chose {choice.reason}", file=sys.stderr)
        return choice.store
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
