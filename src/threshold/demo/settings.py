"""Settings: what the demo's server processes are told, through their environment."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..stores.base import AsyncStore, Store
from ..stores.memory import MemoryStore

_PACE = "THRESHOLD_DEMO_PACE"
_STORE = "THRESHOLD_DEMO_STORE"


@dataclass(frozen=True, slots=True)
class Settings:
    """How the protected app runs.

    Args:
        pace: how many times faster than real time windows and penalties run.
        store: "memory", "shared:NAME", or the URL of a Redis or Valkey server.
    """

    pace: float = 30.0
    store: str = "memory"

    @classmethod
    def from_environment(cls) -> Settings:
        """Read what `environment` wrote."""
        return cls(float(os.environ.get(_PACE, "30")), os.environ.get(_STORE, "memory"))

    def environment(self) -> dict[str, str]:
        """Variables for a server process."""
        return {_PACE: repr(self.pace), _STORE: self.store}

    def open_store(self) -> Store | AsyncStore:
        """Open the store the app decides with."""
        kind, _, rest = self.store.partition(":")
        if kind == "memory":
            return MemoryStore()
        if kind == "shared":
            from ..stores.shared import SharedMemoryStore

            return SharedMemoryStore(rest)
        from ..stores.redis_async import AsyncRedisStore

        return AsyncRedisStore(self.store)
