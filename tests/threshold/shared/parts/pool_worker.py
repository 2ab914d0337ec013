"""What the processes of multiprocessing run: importable by those that were spawned."""

from __future__ import annotations

from typing import Any

from threshold import Limiter, SlidingWindow
from threshold.stores.shared import SharedMemoryStore

LIMIT = SlidingWindow("500/hour")


def take(store: SharedMemoryStore, attempts: int, results: Any) -> None:
    """Attempt so many times; say how often it was admitted."""
    limiter = Limiter(LIMIT, store)
    results.put(sum(limiter.acquire("everybody").allowed for _ in range(attempts)))
