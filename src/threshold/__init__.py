"""threshold: exact rate limits in four layers, decided in one atomic step."""

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
    "SlidingWindow",
    "StoreUnavailable",
    "Threshold",
    "ThresholdError",
    "Tiers",
    "TokenBucket",
    "Verdict",
]
