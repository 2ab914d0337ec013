"""How many worker processes serve this app, as far as its command line and environment say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

_SERVERS = frozenset({"uvicorn", "gunicorn", "hypercorn", "granian", "fastapi", "uwsgi", "daphne"})
_OPTION = re.compile(r"(?:-w|-p|--workers|--processes)(?:=?(\d+))?")


def asked_for(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[str, int]:
    """What asked for workers, and for how many: ("", 1) when nothing did.

    >>> asked_for(["/usr/bin/gunicorn", "-w", "4", "app:app"], {})
    ('gunicorn was started with 4 workers', 4)
    >>> asked_for(["pytest"], {"WEB_CONCURRENCY": "2"})
    ('WEB_CONCURRENCY is 2', 2)
    """
    server = next((part for path in argv[:1] for part in _names(path) if part in _SERVERS), "")
    told = [
        ("GUNICORN_CMD_ARGS asks for {} workers", environ.get("GUNICORN_CMD_ARGS", "").split()),
        (f"{server} was started with {{}} workers", list(argv[1:]) if server else []),
    ]
    for sentence, words in told:
        count = _option(words)
        if count is not None:
            return (sentence.format(count), count) if count > 1 else ("", 1)
    number = environ.get("WEB_CONCURRENCY", "")
    if number.isdecimal() and int(number) > 1:
        return f"WEB_CONCURRENCY is {int(number)}", int(number)
    return "", 1


def _names(path: str) -> tuple[str, str]:
    """A program's own name, and its folder's: `python -m uvicorn` is .../uvicorn/__main__.py."""
    return PurePath(path).name, PurePath(path).parent.name


def _option(words: Sequence[str]) -> int | None:
    """The number of workers in a server's options."""
    for word, following in zip(words, [*words, ""][1:], strict=True):
        found = _OPTION.fullmatch(word)
        if found is not None and (number := found[1] or following).isdecimal():
            return max(1, int(number))
    return None
