"""Which store an app gets that names none: shared memory when it has siblings, the process's own otherwise.

Looks at the process (who started it, how, was it forked) and at nothing of the app. Never raises for the
sake of a default: where shared memory cannot be had, it says so and falls back.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import ThresholdError
from ..workers import siblings
from .memory import MemoryStore
from .shared import DEFAULT_MAX_KEYS, SharedMemoryStore

logger = logging.getLogger("threshold")

_PLAIN = re.compile(r"[^A-Za-z0-9_-]+", re.ASCII)

_alone: weakref.WeakSet[MemoryStore] = weakref.WeakSet()


class Choice(NamedTuple):
    """A store, and why it was chosen."""

    store: MemoryStore | SharedMemoryStore
    reason: str
    """One sentence for the log."""
    divided: bool
    """The app has several processes and yet each counts for itself: worth a warning."""


def choose_store(
    name: str = "app",
    *,
    max_keys: int = DEFAULT_MAX_KEYS,
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Choice:
    """Choose the store for this process: shared memory when it is one of several, else its own memory.

    The processes find each other by `name`, the command line and the working directory, so that a restart
    finds its limits and bans again and another app on the same host does not.

    Args:
        name: tells the stores of one app apart, such as the name of a policy.
        max_keys: most keys remembered at once.
        argv: the command line; default: this process's.
        environ: the environment; default: this process's.

    >>> choice = choose_store(argv=["app.py"], environ={})
    >>> type(choice.store).__name__, choice.divided
    ('MemoryStore', False)
    """
    argv = sys.argv if argv is None else argv
    environ = os.environ if environ is None else environ
    evidence = siblings(argv, environ)
    if evidence is None:
        store = MemoryStore(max_keys)
        _alone.add(store)
        return Choice(store, "MemoryStore, because nothing says that this app has several processes", False)
    own = shared_name(name, argv)
    try:
        shared = SharedMemoryStore(own, max_keys)
    except (ThresholdError, OSError) as error:
        reason = f"MemoryStore although {evidence}, because shared memory cannot be had here ({error})"
        return Choice(MemoryStore(max_keys), f"{reason}: each process counts for itself", True)
    return Choice(shared, f"SharedMemoryStore {own!r}, because {evidence}", False)


def shared_name(name: str, argv: Sequence[str]) -> str:
    """The name that ties together the processes of one app: the same for all, and after a restart.

    >>> shared_name("api", ["a"]) == shared_name("api", ["a"]) != shared_name("api", ["b"])
    True
    """
    try:
        folder = str(Path.cwd())
    except OSError:  # it was deleted
        folder = ""
    app = "\0".join([folder, *argv, name])
    digest = hashlib.blake2b(app.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return f"auto-{_PLAIN.sub('-', name)[:40]}-{digest}"


def _notice_fork() -> None:
    if _alone:
        logger.warning(
            "forked after a MemoryStore was chosen: each process counts for itself, and callers get their "
            'limits once in each of them; build the app after the fork, or give SharedMemoryStore("name")'
        )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_notice_fork)
