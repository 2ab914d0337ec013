"""The same application without its limiter: the arm an overhead experiment compares with.

Looks at applications only through what frameworks share: a wrapper keeps what it wraps in `app`, Flask and
its like their inside in `wsgi_app`, Starlette and FastAPI their middleware in `user_middleware` until they
build their stack.
"""

from __future__ import annotations

import copy
from typing import Any

from sentinel.errors import ConfigurationError
from threshold.asgi import ThresholdMiddleware
from threshold.wsgi import ThresholdMiddleware as WsgiMiddleware

DEEPEST = 32
INSIDES = ("app", "wsgi_app", "application")


def without_limiter(app: Any) -> Any:
    """Give an application that shares everything with `app` but its ThresholdMiddleware.

    Raises ConfigurationError where there is none to take away.

    >>> from threshold import Policy
    >>> async def app(scope, receive, send): ...
    >>> without_limiter(ThresholdMiddleware(app, policy=Policy(user="100/minute"))) is app
    True
    >>> def app(environ, start_response): ...
    >>> without_limiter(WsgiMiddleware(app, policy=Policy(user="100/minute"))) is app
    True
    """
    found = _stripped(app, 0)
    if found is None:
        raise ConfigurationError(
            "target has no ThresholdMiddleware to take away; name the bare app: --without other:app"
        )
    return found


def _stripped(app: Any, depth: int) -> Any | None:
    if isinstance(app, ThresholdMiddleware | WsgiMiddleware):
        return app.app
    listed = getattr(app, "user_middleware", None)
    if isinstance(listed, list):
        kept = [entry for entry in listed if getattr(entry, "cls", None) is not ThresholdMiddleware]
        if len(kept) < len(listed):
            twin = copy.copy(app)
            twin.user_middleware, twin.middleware_stack = kept, None
            return twin
    if depth == DEEPEST:
        return None
    for name in INSIDES:
        inner = getattr(app, name, None)
        found = None if inner is None else _stripped(inner, depth + 1)
        if found is not None:
            twin = copy.copy(app)
            setattr(twin, name, found)
            return twin
    return None
