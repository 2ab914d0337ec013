"""A small blog for the shipped scenarios, under real uvicorn: run as a script, it prints its port and serves.

It keeps what is created, so that a test can see what a run left behind (GET /left), and refuses what is
wrong.
"""

from __future__ import annotations

import itertools
import socket
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

numbers = itertools.count(1)
created: dict[str, str] = {}
seen: dict[str, set[str]] = {"addresses": set(), "tenants": set(), "tokens": set()}


def note(request: Request) -> None:
    seen["addresses"].add(request.headers.get("x-forwarded-for", ""))
    seen["tenants"].add(request.headers.get("x-tenant", ""))


def has_token(request: Request) -> bool:
    return request.headers.get("authorization", "").removeprefix("Bearer ") in seen["tokens"]


async def authorize(request: Request) -> Response:
    note(request)
    return RedirectResponse("/auth/callback?code=1", 302)


async def token(request: Request) -> Response:
    body = await request.json()
    made = f"token-of-{body['username']}"
    seen["tokens"].add(made)
    return JSONResponse({"access_token": made})


async def guarded(request: Request) -> Response:
    if not has_token(request):
        return PlainTextResponse("log in first", 401)
    return JSONResponse({"ok": True})


async def plain(request: Request) -> Response:
    note(request)
    return PlainTextResponse("a page")


async def ping(request: Request) -> Response:
    await request.body()
    return Response(status_code=204)


async def create(request: Request) -> Response:
    if not has_token(request):
        return PlainTextResponse("log in first", 401)
    await request.body()
    number = str(next(numbers))
    created[number] = request.url.path
    return JSONResponse({"id": number}, 201)


async def remove(request: Request) -> Response:
    number = request.path_params["made"]
    return Response(status_code=204 if created.pop(number, None) else 404)


async def left(request: Request) -> Response:
    return JSONResponse(
        {"left": list(created.values()), "seen": {key: len(part) for key, part in seen.items()}}
    )


app = Starlette(
    routes=[
        Route("/auth/authorize", authorize),
        Route("/auth/token", token, methods=["POST"]),
        Route("/auth/me", guarded),
        Route("/session/validate", guarded),
        Route("/blog", plain),
        Route("/posts/{post}", plain),
        Route("/api/posts/{post}/reactions", plain),
        Route("/api/posts/{post}/comments", plain),
        Route("/api/posts/{post}/comments", create, methods=["POST"]),
        Route("/api/posts/{post}/comments/{made}", remove, methods=["DELETE"]),
        Route("/api/analytics/ping", ping, methods=["POST"]),
        Route("/api/drafts/{draft}", guarded, methods=["PUT"]),
        Route("/api/posts", create, methods=["POST"]),
        Route("/api/posts/{made}", remove, methods=["DELETE"]),
        Route("/api/uploads", create, methods=["POST"]),
        Route("/media/{made}", remove, methods=["DELETE"]),
        Route("/media/{made}", plain),
        Route("/left", left),
    ]
)


class Announcing(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets is not None
        print(sockets[0].getsockname()[1], flush=True)


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0))
    options = {"log_level": "error", "timeout_keep_alive": int(sys.argv[1]) if sys.argv[1:] else 5}
    Announcing(uvicorn.Config(app, **options)).run([listening])  # type: ignore[arg-type]
