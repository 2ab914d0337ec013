"""Faults: what a server or a connection said instead of a reply, in words for the operator. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

_MOVED = re.compile(r"(?:MOVED |ASK )?(\d+) (\S*):(\d+)")
_CODES = {
    "NoScriptError": "NOSCRIPT",
    "ReadOnlyError": "READONLY",
    "NoPermissionError": "NOPERM",
    "AuthenticationError": "NOAUTH",
    "OutOfMemoryError": "OOM",
    "BusyLoadingError": "LOADING",
    "MovedError": "MOVED",
    "AskError": "ASK",
    "TryAgainError": "TRYAGAIN",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "ClusterCrossSlotError": "CROSSSLOT",
}
_WORDS = {
    "READONLY": "the server is a replica and cannot count",
    "MASTERDOWN": "the server is a replica without its master and cannot count",
    "NOPERM": "the user lacks a permission (see the reference for the commands to allow)",
    "NOAUTH": "the server wants other credentials",
    "OOM": "the server is out of memory and does not evict",
    "LOADING": "the server is still loading its data",
    "BUSY": "the server is busy with somebody's long script",
    "CLUSTERDOWN": "the cluster does not serve every slot",
    "TRYAGAIN": "the slot is on its way to another node",
    "MISCONF": "the server refuses writes, because it cannot save",
    "NOREPLICAS": "the server refuses writes, because it has too few replicas",
}


class Moved(NamedTuple):
    """A redirection of a cluster: who serves the slot, for good (MOVED) or for one command (ASK)."""

    slot: int
    host: str
    port: int
    asking: bool


def code_of(error: BaseException) -> str:
    """The server's code for an error: "OOM", "NOSCRIPT", ...; "ERR" where there is none.

    >>> code_of(Exception("OOM command not allowed when used memory > 'maxmemory'."))
    'OOM'
    """
    for cls in type(error).__mro__:
        if cls.__name__ in _CODES:
            return _CODES[cls.__name__]
    text = str(error)
    first = text.partition(" ")[0].rstrip(".:")
    if first in _WORDS or first in _CODES.values():
        return first
    # Servers before 7.0 wrap what a script ran into: "ERR Error running script ...: -OOM command ...".
    wrapped = re.search(r"-([A-Z]{3,}) ", text)
    return wrapped.group(1) if wrapped else "ERR"


def moved(error: BaseException) -> Moved | None:
    """The redirection an error announces, if it does.

    >>> moved(Exception("MOVED 3999 127.0.0.1:6381"))
    Moved(slot=3999, host='127.0.0.1', port=6381, asking=False)
    """
    code = code_of(error)
    if code not in ("MOVED", "ASK"):
        return None
    found = _MOVED.match(str(error))
    if found is None:
        return None
    return Moved(int(found.group(1)), found.group(2), int(found.group(3)), code == "ASK")


def explained(error: BaseException) -> str:
    """One line that says what is wrong, for `StoreUnavailable`."""
    code = code_of(error)
    text = str(error).partition("\n")[0][:200]
    if "unknown command" in text.lower() and "eval" in text.lower():
        return f"the server has no Lua scripting, which this store needs ({text})"
    if "scripting engine" in text.lower():
        return f"the server has no Lua engine, which this store needs ({text})"
    words = _WORDS.get(code)
    return f"{words} ({text})" if words else f"the server said: {text}"
