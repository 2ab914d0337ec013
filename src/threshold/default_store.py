"""The store of a middleware that was given none. The one place that chooses it, and says so."""

from __future__ import annotations

import logging
from typing import Final, Literal

from .stores.base import Store
from .stores.choice import choose_store

Auto = Literal["auto"]
AUTO: Final = "auto"

logger = logging.getLogger("threshold")


def default_store(policy: str) -> Store:
    """Open shared memory when this process is one of several, else its own memory; one log line says why.

    Args:
        policy: name of the policy; with the command line and the working directory it tells apps apart.
    """
    choice = choose_store(policy)
    level = logging.WARNING if choice.divided else logging.INFO
    logger.log(level, "policy %r: %s", policy, choice.reason)
    return choice.store
