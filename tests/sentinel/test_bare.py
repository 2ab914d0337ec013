"""An app without its limiter shares everything else with the one that has it."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from werkzeug.middleware.proxy_fix import ProxyFix

from sentinel.bare import without_limiter
from sentinel.errors import ConfigurationError
from threshold import Policy, wsgi
from threshold.asgi import ThresholdMiddleware


async def home(request: Any) -> PlainTextResponse:
    return PlainTextResponse("home")


def guarded() -> Starlette:
    policy = Policy(edge="5/second")
    return Starlette(
        routes=[Route("/", home)],
        middleware=[Middleware(GZipMiddleware), Middleware(ThresholdMiddleware, policy=policy)],
    )


def test_the_middleware_of_a_framework_is_taken_from_a_copy() -> None:
    app = guarded()
    bare = without_limiter(app)
    assert bare is not app and bare.router is app.router
    assert [entry.cls for entry in bare.user_middleware] == [GZipMiddleware]
    assert len(app.user_middleware) == 2


def test_a_limiter_below_other_wrappers_is_found() -> None:
    inner = Starlette()
    wrapped = GZipMiddleware(ThresholdMiddleware(inner, policy=Policy(edge="5/second")))
    bare = without_limiter(wrapped)
    assert isinstance(bare, GZipMiddleware) and bare.app is inner
    assert isinstance(wrapped.app, ThresholdMiddleware)


def test_an_app_that_was_already_started_is_rebuilt_without_it() -> None:
    app = guarded()
    app.middleware_stack = app.build_middleware_stack()
    assert without_limiter(app).middleware_stack is None and app.middleware_stack is not None


def test_a_flask_app_is_stripped_below_whatever_wraps_its_inside() -> None:
    app = Flask("shop")
    inside = app.wsgi_app
    guarded = wsgi.ThresholdMiddleware(inside, policy=Policy(edge="5/second"))
    app.wsgi_app = ProxyFix(guarded)  # type: ignore[method-assign]
    bare = without_limiter(app)
    assert isinstance(bare, Flask) and bare is not app and bare.url_map is app.url_map
    assert isinstance(bare.wsgi_app, ProxyFix) and bare.wsgi_app.app == inside
    assert isinstance(app.wsgi_app, ProxyFix) and app.wsgi_app.app is guarded, "the target is left as it was"


def test_a_wsgi_app_that_is_wrapped_itself_is_taken_out() -> None:
    inner = Flask("shop")
    assert without_limiter(wsgi.ThresholdMiddleware(inner, policy=Policy(edge="5/second"))) is inner


@pytest.mark.parametrize("app", [Starlette(), GZipMiddleware(Starlette()), Flask("shop"), object()])
def test_an_app_without_one_is_refused(app: object) -> None:
    with pytest.raises(ConfigurationError, match="no ThresholdMiddleware to take away"):
        without_limiter(app)
