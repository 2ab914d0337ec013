"""How many processes serve this app, as far as their command line and environment say."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath

logger = logging.getLogger("threshold")

_SERVERS = frozenset({"uvicorn", "gunicorn", "hypercorn", "granian", "fastapi", "uwsgi", "daphne"})
_OPTION = re.compile(r"(?:-w|-p|--workers|--processes)(?:=?(\d+))?")


def workers(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """The number of worker processes; 1 when nothing says otherwise.

    >>> workers(["/usr/bin/gunicorn", "-w", "4", "app:app"], {})
    4
    >>> workers(["pytest"], {"WEB_CONCURRENCY": "2"})
    2
    """
    words = environ.get("GUNICORN_CMD_ARGS", "").split()
    program = [PurePath(part).name for part in argv[:1]] + [PurePath(part).parent.name for part in argv[:1]]
    if _SERVERS.intersection(program):
        words += argv[1:]
    for i, word in enumerate(words):
        found = _OPTION.fullmatch(word)
        if found is not None:
            number = found[1] or (words[i + 1] if i + 1 < len(words) else "")
            if number.isdecimal():
                return max(1, int(number))
    number = environ.get("WEB_CONCURRENCY", "")
    return max(1, int(number)) if number.isdecimal() else 1


def warn_if_divided(store: object, policy: str) -> None:
    """Warn when each of several workers would count for itself: every limit would be that much higher."""
    if not getattr(store, "per_process", False):
        return
    count = workers(sys.argv, os.environ)
    if count > 1:
        logger.warning(
            "policy %r: %d workers, and %s counts in each of them alone: callers get up to %d times their "
            "limits; use a store that the workers share",
            policy,
            count,
            type(store).__name__,
            count,
        )
