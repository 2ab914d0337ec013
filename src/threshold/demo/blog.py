"""A small multi-tenant blog API, the app that the demo protects and that load tests run against.

State is in memory and bounded; tokens are signed, so that any worker process accepts them. `bare` builds the
app alone, `protected` the same app behind the shipped policy; both are uvicorn factories that read their
settings from the environment, because worker processes inherit nothing else.
"""

from __future__ import annotations

import hmac
import os
from collections import deque
from hashlib import blake2b
from html import escape
from itertools import count

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from ..asgi import ThresholdMiddleware
from ..presets import default_policy
from .settings import Settings

TENANTS = {
    "willow-daily": "oak",
    "fern-notes": "sapling",
    "moss-press": "seedling",
    "clover-corner": "free",
    "sequoia-times": "evergreen",
}
"""Tenant to tier."""

POSTS = 200
_KEPT = 1000
_SECRET = os.environ.get("THRESHOLD_DEMO_SECRET", "demo").encode()
_MEDIA = bytes(range(256)) * 64


def sign(user: str) -> str:
    """An access token for a user.

    >>> user_of(f"Bearer {sign('ada')}")
    'ada'
    """
    return f"{user}.{blake2b(user.encode(), key=_SECRET, digest_size=12).hexdigest()}"


def user_of(authorization: str) -> str | None:
    """The user an Authorization field names, None unless its token is one of ours."""
    scheme, _, token = authorization.partition(" ")
    user, _, _ = token.rpartition(".")
    if scheme != "Bearer" or not user or not hmac.compare_digest(token.encode(), sign(user).encode()):
        return None
    return user


def tenant(scope: Scope) -> str | None:
    """The tenant a request is for: here by a header, in real life by host name."""
    name = _header(scope, b"x-tenant")
    return name if name in TENANTS else None


def tier(scope: Scope) -> str | None:
    """The tier of the request's tenant."""
    return TENANTS.get(_header(scope, b"x-tenant"))


def user(scope: Scope) -> str | None:
    """The authenticated user."""
    return user_of(_header(scope, b"authorization"))


def _header(scope: Scope, name: bytes) -> str:
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return ""


class Blog:
    """Posts, comments and uploads of all tenants, the newest thousand of each."""

    def __init__(self) -> None:
        self.numbers = count(POSTS + 1)
        self.posts: deque[tuple[int, str]] = deque(maxlen=_KEPT)
        self.comments: deque[tuple[str, str]] = deque(maxlen=_KEPT)
        self.uploads: deque[tuple[int, int]] = deque(maxlen=_KEPT)

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def authorize(self, request: Request) -> Response:
        who = request.query_params.get("user", "guest")
        return RedirectResponse(f"/auth/callback?code={who}", status_code=302)

    async def token(self, request: Request) -> Response:
        body = await _json(request)
        who = str(body.get("user") or body.get("username") or body.get("code") or "guest")[:64]
        return JSONResponse({"access_token": sign(who), "token_type": "Bearer"})

    async def me(self, request: Request) -> Response:
        who = user(request.scope)
        if who is None:
            return JSONResponse({"error": "not signed in"}, status_code=401)
        return JSONResponse({"user": who, "tenant": tenant(request.scope)})

    async def validate(self, request: Request) -> Response:
        return JSONResponse({"valid": user(request.scope) is not None})

    async def index(self, request: Request) -> Response:
        listed = [{"id": i, "title": f"Post {i}"} for i in range(1, 21)]
        return JSONResponse({"tenant": tenant(request.scope), "posts": listed})

    async def page(self, request: Request) -> Response:
        number = request.path_params["post"]
        return HTMLResponse(f"<!doctype html><title>Post {number}</title><h1>Post {number}</h1>")

    async def reactions(self, request: Request) -> Response:
        return JSONResponse({"post": request.path_params["post"], "hearts": 7})

    async def comments_of(self, request: Request) -> Response:
        post = str(request.path_params["post"])
        return JSONResponse({"comments": [text for where, text in self.comments if where == post][-20:]})

    async def comment(self, request: Request) -> Response:
        body = await _json(request)
        text = escape(str(body.get("text", "")))[:500]
        self.comments.append((str(request.path_params["post"]), text))
        return JSONResponse({"id": next(self.numbers), "text": text}, status_code=201)

    async def create(self, request: Request) -> Response:
        body = await _json(request)
        number = next(self.numbers)
        self.posts.append((number, str(body.get("title", ""))[:200]))
        return JSONResponse({"id": number}, status_code=201, headers={"location": f"/posts/{number}"})

    async def delete(self, request: Request) -> Response:
        return Response(status_code=204)

    async def draft(self, request: Request) -> Response:
        await _json(request)
        return JSONResponse({"saved": request.path_params["draft"]})

    async def upload(self, request: Request) -> Response:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        number = next(self.numbers)
        self.uploads.append((number, size))
        return JSONResponse({"id": number, "size": size}, status_code=201)

    async def media(self, request: Request) -> Response:
        return Response(_MEDIA, media_type="application/octet-stream")

    async def ping(self, request: Request) -> Response:
        return Response(status_code=204)

    def routes(self) -> list[Route]:
        return [
            Route("/health", self.health),
            Route("/auth/authorize", self.authorize),
            Route("/auth/token", self.token, methods=["POST"]),
            Route("/auth/me", self.me),
            Route("/session/validate", self.validate),
            Route("/blog", self.index),
            Route("/posts/{post:int}", self.page),
            Route("/api/posts", self.create, methods=["POST"]),
            Route("/api/posts/{post:int}", self.delete, methods=["DELETE"]),
            Route("/api/posts/{post:int}/reactions", self.reactions),
            Route("/api/posts/{post:int}/comments", self.comments_of),
            Route("/api/posts/{post:int}/comments", self.comment, methods=["POST"]),
            Route("/api/posts/{post:int}/comments/{comment:int}", self.delete, methods=["DELETE"]),
            Route("/api/drafts/{draft}", self.draft, methods=["PUT"]),
            Route("/api/uploads", self.upload, methods=["POST"]),
            Route("/api/uploads/{upload:int}", self.delete, methods=["DELETE"]),
            Route("/media/{name}", self.media),
            Route("/media/{name}", self.delete, methods=["DELETE"]),
            Route("/api/analytics/ping", self.ping, methods=["POST"]),
        ]


async def _json(request: Request) -> dict[str, object]:
    try:
        body = await request.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def bare() -> ASGIApp:
    """The blog without any limits."""
    return Starlette(routes=Blog().routes())


def protected() -> ASGIApp:
    """The blog behind the shipped policy; trusts the loopback address to say who the client is."""
    settings = Settings.from_environment()
    guard = Middleware(
        ThresholdMiddleware,
        policy=default_policy(settings.pace),
        store=settings.open_store(),
        tenant=tenant,
        tier=tier,
        user=user,
        trusted_proxies=["127.0.0.1/32"],
    )
    return Starlette(routes=Blog().routes(), middleware=[guard])
