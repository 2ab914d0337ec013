"""The driver of an application in this process, ASGI or WSGI: told apart by how it wants to be called."""

from __future__ import annotations

import inspect
from typing import Any

from sentinel.drivers.asgi import AsgiDriver
from sentinel.drivers.driver import Driver
from sentinel.drivers.wsgi import WsgiDriver
from sentinel.errors import TargetError

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def is_wsgi(app: Any) -> bool:
    """Tell whether an application is called as (environ, start_response), not as (scope, receive, send).

    >>> def wsgi(environ, start_response): ...
    >>> async def asgi(scope, receive, send): ...
    >>> is_wsgi(wsgi), is_wsgi(asgi)
    (True, False)
    """
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(app.__call__):
        return False
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):  # made in C, perhaps: it does not say
        return False
    required = [one for one in parameters if one.kind in _POSITIONAL and one.default is one.empty]
    return len(required) == 2


def _takes(signature: inspect.Signature, count: int) -> bool:
    """Tell whether something can be called with so many positional arguments."""
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def app_driver(app: Any, *, timeout_s: float = 30.0, threads: int = 0) -> Driver:
    """Make the driver of an application; `threads` are those of a WSGI one, `timeout_s` bounds a request to
    an ASGI one.

    Raises TargetError for what can be called in neither way.

    >>> app_driver(len)
    Traceback (most recent call last):
    sentinel.errors.TargetError: target takes (obj, /): it is no app; ASGI takes (scope, receive, send), \
WSGI (environ, start_response)
    """
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):  # made in C, perhaps: it does not say, so it is tried
        return AsgiDriver(app, timeout_s=timeout_s)
    if not _takes(signature, 2) and not _takes(signature, 3):
        raise TargetError(
            f"target takes {signature}: it is no app; ASGI takes (scope, receive, send), WSGI "
            "(environ, start_response)"
        )
    return WsgiDriver(app, threads=threads) if is_wsgi(app) else AsgiDriver(app, timeout_s=timeout_s)
