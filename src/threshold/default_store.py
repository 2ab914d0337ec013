"""The store of a middleware that was given none. The one place that chooses it, and says so."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final, Literal
from weakref import WeakKeyDictionary

from .stores.base import Store
from .stores.choice import choose_store

if TYPE_CHECKING:
    from .policy import Policy

Auto = Literal["auto"]
AUTO: Final = "auto"

logger = logging.getLogger("threshold")

_kept: WeakKeyDictionary[Policy, Store] = WeakKeyDictionary()
"""The stores in this process's own memory, each for as long as its policy lives."""


def default_store(policy: Policy) -> Store:
    """Open shared memory when this process is one of several, else its own memory; one log line says why.

    Middlewares that are given one `Policy` object count together either way: some frameworks build one for
    each route. In a process by itself, another object is another store, even where the names are the same.

    Args:
        policy: its name, the command line and the working directory tell apps apart in shared memory.
    """
    choice = choose_store(policy.name)
    store: Store = choice.store
    if getattr(store, "per_process", False):
        store = _kept.setdefault(policy, store)
    if store is choice.store:
        level = logging.WARNING if choice.divided else logging.INFO
        logger.log(level, "policy %r: %s", policy.name, choice.reason)
    return store


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_kept.clear)  # what the parent has counted is the parent's
