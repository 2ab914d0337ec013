"""threshold: exact rate limits in four layers, decided in one atomic step."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from .decision import Decision
from .errors import ConfigurationError, RateLimited, StoreUnavailable, ThresholdError
from .escalation import Ladder, Rung
from .limiter import AsyncLimiter, Limiter
from .policy import Policy
from .rate import Rate
from .sliding_window import SlidingWindow
from .stores.memory import MemoryStore
from .threshold import AsyncThreshold, Threshold
from .tiers import Tiers
from .token_bucket import TokenBucket
from .verdict import Caller, Verdict

if _TYPE_CHECKING:
    from .stores.shared import SharedMemoryStore as SharedMemoryStore

__all__ = [
    "AsyncLimiter",
    "AsyncThreshold",
    "Caller",
    "ConfigurationError",
    "Decision",
    "Ladder",
    "Limiter",
    "MemoryStore",
    "Policy",
    "Rate",
    "RateLimited",
    "Rung",
    "SharedMemoryStore",
    "SlidingWindow",
    "StoreUnavailable",
    "Threshold",
    "ThresholdError",
    "Tiers",
    "TokenBucket",
    "Verdict",
]


def __getattr__(name: str) -> object:
    """Load what most programs do not use when it is asked for: it would double the time of the import."""
    if name == "SharedMemoryStore":
        from .stores.shared import SharedMemoryStore

        globals()[name] = SharedMemoryStore
        return SharedMemoryStore
    raise AttributeError(f"module 'threshold' has no attribute {name!r}")
