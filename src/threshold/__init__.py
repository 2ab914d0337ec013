"""threshold: exact rate limits in four layers, decided in one atomic step."""

from .decision import Decision
from .errors import ConfigurationError, RateLimited, StoreUnavailable, ThresholdError
from .escalation import Ladder, Rung
from .limiter import AsyncLimiter, Limiter
from .rate import Rate
from .sliding_window import SlidingWindow
from .stores.memory import MemoryStore
from .token_bucket import TokenBucket

__all__ = [
    "AsyncLimiter",
    "ConfigurationError",
    "Decision",
    "Ladder",
    "Limiter",
    "MemoryStore",
    "Rate",
    "RateLimited",
    "Rung",
    "SlidingWindow",
    "StoreUnavailable",
    "ThresholdError",
    "TokenBucket",
]
