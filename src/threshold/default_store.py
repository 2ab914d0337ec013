"""The store of a middleware that was given none. The one place that chooses it."""

from __future__ import annotations

from .stores.base import Store
from .stores.memory import MemoryStore


def default_store() -> Store:
    """Open the store to use when nobody named one: the memory of this process."""
    return MemoryStore()
