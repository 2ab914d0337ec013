"""State on a Redis or Valkey server, for a fleet: `RedisStore`, and `AsyncRedisStore` for asyncio.

Needs `pip install "threshold[redis]"`.
"""

from ..fallback import AsyncFallbackStore, FallbackStore
from .async_store import AsyncRedisStore
from .store import RedisStore

__all__ = ["AsyncFallbackStore", "AsyncRedisStore", "FallbackStore", "RedisStore"]
