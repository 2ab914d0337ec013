"""Whether this process is one of several that serve an app, as far as a process can tell.

Reads the command line, the environment, who started it and how; nothing of the app.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath

_SERVERS = frozenset({"uvicorn", "gunicorn", "hypercorn", "granian", "fastapi", "uwsgi", "daphne"})
_OPTION = re.compile(r"(?:-w|--workers|--processes)(?:=?(\d+))?")
_UWSGI_OPTION = re.compile(r"(?:-p|--workers|--processes)(?:=?(\d+))?")

_forked = False


def siblings(argv: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """What says that this process is one of several, None when nothing does.

    >>> siblings(["/usr/bin/uvicorn", "app:app", "--workers", "4"], {})
    'uvicorn was started with 4 workers'
    >>> siblings(["app.py"], {"WEB_CONCURRENCY": "2"})
    'WEB_CONCURRENCY is 2'
    """
    if "gunicorn.arbiter" in sys.modules:
        return "gunicorn runs this app"
    for module, server in (("uwsgi", "uWSGI"), ("mod_wsgi", "mod_wsgi")):
        if module in sys.modules:
            return f"{server} runs this app"
    reason, _ = asked_for(argv, environ)
    if reason:
        return reason
    if "--reload" in argv:  # one child, and one only, which is started again when the code changes
        return None
    started = sys.modules.get("multiprocessing.process")  # it is loaded in every child it started
    if started is not None and started.parent_process() is not None:
        return "another process of this app started this one"
    if _forked:
        return "this process was forked from another one of this app"
    return None


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
        count = _option(words, _UWSGI_OPTION if server == "uwsgi" else _OPTION)
        if count is not None:
            return (sentence.format(count), count) if count > 1 else ("", 1)
    number = environ.get("WEB_CONCURRENCY", "")
    if number.isdecimal() and int(number) > 1:
        return f"WEB_CONCURRENCY is {int(number)}", int(number)
    return "", 1


def _names(path: str) -> tuple[str, str]:
    """A program's own name, and its folder's: `python -m uvicorn` is .../uvicorn/__main__.py."""
    return PurePath(path).name, PurePath(path).parent.name


def _option(words: Sequence[str], option: re.Pattern[str]) -> int | None:
    """The number of workers in a server's options."""
    for word, following in zip(words, [*words, ""][1:], strict=True):
        found = option.fullmatch(word)
        if found is not None and (number := found[1] or following).isdecimal():
            return max(1, int(number))
    return None


def _notice_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_notice_fork)
