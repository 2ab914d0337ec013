"""What both shells share: checking the options, asking the policy, and failing without harm.

A shell asks the policy what a request is up against, has it decided, and does what comes of it. Trouble of
our own is logged and lets the request pass, unless the policy fails closed there; trouble in the app's own
functions (identity, cost) is the app's to see.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

from ..addresses import group
from ..errors import ConfigurationError
from ..events import Hook
from ..policy import Policy
from ..threshold import AsyncThreshold, Threshold
from ..workers import siblings
from .identity import check_function

logger = logging.getLogger("threshold")

R = TypeVar("R")

Guarded = Policy | Threshold | AsyncThreshold


def ready(
    front: Threshold | AsyncThreshold, has_store: bool, hooks: Iterable[Hook]
) -> Threshold | AsyncThreshold:
    """A front end that was given where a policy may stand, checked.

    Raises:
        ConfigurationError: when it is none, or a store or hooks stand next to its own.
    """
    if not isinstance(front, (Threshold, AsyncThreshold)):
        raise ConfigurationError("policy", front, "give a Policy, e.g. Policy.default()")
    if has_store:
        raise ConfigurationError("store", "another one", "drop it: the Threshold given as policy has its own")
    if tuple(hooks):
        raise ConfigurationError("hooks", hooks, "give them to the Threshold instead")
    return front


def check_cost(cost: object) -> None:
    """Refuse a cost that is neither a number of requests nor a function."""
    if type(cost) is int and cost >= 0:
        return
    if not callable(cost):
        raise ConfigurationError("cost", cost, "give whole requests, 0 or more, or a function of the request")
    check_function("cost", cost, asynchronous=False)


def charged(cost: object) -> int:
    """What a cost function returned, if it is a cost.

    Raises:
        TypeError, ValueError: if it is none.
    """
    if type(cost) is not int:
        raise TypeError(f"cost: the function returned {cost!r}, which is no whole number of requests")
    if cost < 0:
        raise ValueError(f"cost: the function returned {cost}; give 0 or more")
    return cost


def counted(user: str | None, tenant: str | None, address: str | None) -> str:
    """The name under which a caller's delays and messages are counted."""
    if user:
        tenant = tenant or ""
        return f"u{len(tenant)}:{tenant}:{user}"
    return f"a:{group(address) or 'unknown'}"


def must_not_pass(closed: Callable[[R], bool], request: R) -> bool:
    """Whether a request that we failed to decide must be refused, if that can be told; never raises."""
    try:
        return closed(request)
    except Exception:
        return False


class Trouble:
    """Failures of our own: counted, and logged with a traceback at 1, 2, 4, 8, ..."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        """Report the exception that is being handled."""
        self.count += 1
        if self.count & (self.count - 1) == 0:
            logger.exception("a request went through unlimited: threshold failed (%d so far)", self.count)


def warn_if_divided(store: object, policy: str) -> None:
    """Warn when each of several workers would count for itself: every limit would be that much higher."""
    reason = siblings(sys.argv, os.environ)
    if reason is not None and getattr(store, "per_process", False):
        logger.warning(
            "policy %r: %s, and %s counts in each process alone: with N of them, callers get up to N times "
            "their limits; use a store that the workers share, such as SharedMemoryStore",
            policy,
            reason,
            type(store).__name__,
        )
