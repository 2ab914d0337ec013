"""What the processes of a multiprocessing pool run: importable by those that were spawned."""

from __future__ import annotations

import os

from threshold import Limiter, SlidingWindow
from threshold.stores.shared import SharedMemoryStore

LIMIT = SlidingWindow("500/hour")


def take(store: SharedMemoryStore, attempts: int) -> tuple[int, int]:
    """Attempt so many times; say who did it and how often it was admitted."""
    limiter = Limiter(LIMIT, store)
    return os.getpid(), sum(limiter.acquire("everybody").allowed for _ in range(attempts))
