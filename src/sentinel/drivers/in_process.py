"""The driver of an application in this process, ASGI or WSGI: told apart by how it wants to be called."""

from __future__ import annotations

import inspect
from typing import Any

from sentinel.drivers.asgi import AsgiDriver
from sentinel.drivers.driver import Driver
from sentinel.drivers.wsgi import WsgiDriver

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


def app_driver(app: Any, *, timeout_s: float = 30.0, threads: int = 0) -> Driver:
    """Make the driver of an application; `threads` are those of a WSGI one, `timeout_s` bounds a request to
    an ASGI one."""
    return WsgiDriver(app, threads=threads) if is_wsgi(app) else AsgiDriver(app, timeout_s=timeout_s)
