"""State in memory that the processes of one host share: `SharedMemoryStore`."""

from .store import DEFAULT_MAX_KEYS, SharedMemoryStore

__all__ = ["DEFAULT_MAX_KEYS", "SharedMemoryStore"]
