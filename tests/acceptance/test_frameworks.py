"""Starlette, FastAPI with included routers, and Flask: every route is limited, and nothing else changes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, BackgroundTasks, FastAPI
from flask import Blueprint, Flask
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from threshold import Policy
from threshold.asgi import ThresholdMiddleware as ASGI
from threshold.wsgi import ThresholdMiddleware as WSGI


def ask(app: Any, *targets: str, method: str = "GET", **options: Any) -> list[httpx.Response]:
    """Send requests to an ASGI app, one after the other."""

    async def asked() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, client=("203.0.113.9", 1), **options)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [await client.request(method, target) for target in targets]

    return asyncio.run(asked())


def statuses(answers: list[httpx.Response]) -> list[int]:
    return [answer.status_code for answer in answers]


async def home(request: Any) -> PlainTextResponse:
    return PlainTextResponse("home")


def test_starlette_counts_every_spelling_and_every_parameter_as_one_endpoint() -> None:
    app = Starlette(routes=[Route("/items/{id}", home), Route("/", home)])
    app.add_middleware(ASGI, policy=Policy(endpoints={"GET /items/{id}": "3/hour"}))
    answers = ask(app, "/items/1", "/items/2", "/%69tems/3", "/items/4", "/items/1")
    assert statuses(answers) == [200, 200, 200, 429, 429]
    assert statuses(ask(app, "/items/5", method="HEAD")) == [429]
    assert statuses(ask(app, "/")) == [200]


def test_starlette_limits_scans_of_unknown_paths() -> None:
    app = Starlette(routes=[Route("/", home)])
    app.add_middleware(ASGI, policy=Policy(user="5/hour"))
    answers = ask(app, *(f"/secret/{i}" for i in range(8)))
    assert statuses(answers) == [404] * 5 + [429] * 3


def test_a_mounted_app_is_limited_by_its_own_paths_and_by_those_of_the_whole() -> None:
    inner = Starlette(
        routes=[Route("/posts", home)],
        middleware=[Middleware(ASGI, policy=Policy(endpoints={"/posts": "1/hour"}))],
    )
    app = Starlette(routes=[Mount("/blog", app=inner), Route("/posts", home)])
    assert statuses(ask(app, "/blog/posts", "/blog/posts", "/posts")) == [200, 429, 200]
    outer = Starlette(routes=[Mount("/blog", app=Starlette(routes=[Route("/posts", home)]))])
    outer.add_middleware(ASGI, policy=Policy(endpoints={"/blog/posts": "1/hour"}))
    assert statuses(ask(outer, "/blog/posts", "/blog/posts")) == [200, 429]


def test_an_app_served_under_a_root_path_is_limited_by_its_own_paths() -> None:
    app = Starlette(routes=[Route("/posts", home)])
    app.add_middleware(ASGI, policy=Policy(endpoints={"/posts": "1/hour"}))
    assert statuses(ask(app, "/v1/posts", "/v1/posts", root_path="/v1")) == [200, 429]


def test_streaming_through_other_middlewares_sets_the_fields_once() -> None:
    async def stream(request: Any) -> StreamingResponse:
        return StreamingResponse((f"{i}," for i in range(50)), media_type="text/plain")

    async def passing(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    for middlewares in (
        [Middleware(ASGI, policy=Policy(user="9/hour")), Middleware(BaseHTTPMiddleware, dispatch=passing)],
        [Middleware(BaseHTTPMiddleware, dispatch=passing), Middleware(ASGI, policy=Policy(user="9/hour"))],
    ):
        (answer,) = ask(Starlette(routes=[Route("/", stream)], middleware=middlewares), "/")
        assert answer.text.count(",") == 50
        assert len(answer.headers.get_list("ratelimit")) == 1


def test_errors_of_the_app_stay_its_own_whether_handled_or_not() -> None:
    async def broken(request: Any) -> Any:
        raise LookupError("the app's own")

    async def handled(request: Any, error: Exception) -> JSONResponse:
        return JSONResponse({"sorry": str(error)}, 418)

    app = Starlette(routes=[Route("/", broken)], exception_handlers={LookupError: handled})
    app.add_middleware(ASGI, policy=Policy(user="9/hour"))
    (answer,) = ask(app, "/")
    assert answer.status_code == 418 and answer.headers["x-ratelimit-limit"] == "9"
    raw = Starlette(routes=[Route("/", broken)])
    raw.add_middleware(ASGI, policy=Policy(user="9/hour"))
    with pytest.raises(LookupError, match="the app's own"):
        ask(raw, "/")
    assert statuses(ask(raw, "/", raise_app_exceptions=False)) == [500]


def fastapi_site(done: list[str], **options: Any) -> FastAPI:
    inner = APIRouter(prefix="/posts")

    @inner.get("/{post}")
    async def read(post: int) -> dict[str, int]:
        return {"post": post}

    @inner.post("")
    def write(tasks: BackgroundTasks) -> str:
        tasks.add_task(done.append, "told everybody")
        return "written"

    outer = APIRouter(prefix="/api")
    outer.include_router(inner)
    app = FastAPI()
    app.include_router(outer)
    app.add_middleware(ASGI, **options)
    return app


def test_fastapi_limits_routes_of_included_routers() -> None:
    app = fastapi_site([], policy=Policy(endpoints={"GET /api/posts/{post}": "2/hour"}))
    assert statuses(ask(app, "/api/posts/1", "/api/posts/2", "/api/posts/3")) == [200, 200, 429]
    assert statuses(ask(app, "/openapi.json", "/api/posts/x/y")) == [200, 404]


def test_background_tasks_run_for_admitted_requests_only() -> None:
    done: list[str] = []
    app = fastapi_site(done, policy=Policy(endpoints={"POST /api/posts": "2/hour"}))
    answers = ask(app, "/api/posts", "/api/posts", "/api/posts", method="POST")
    assert statuses(answers) == [200, 200, 429]
    assert done == ["told everybody"] * 2


def test_a_starlette_response_can_stand_for_the_refusal() -> None:
    async def on_refused(scope: Any, verdict: Any) -> JSONResponse:
        return JSONResponse({"slow": "down"}, verdict.status, {"Retry-After": "7"})

    app = fastapi_site([], policy=Policy(user="0/hour"), on_refused=on_refused)
    (answer,) = ask(app, "/api/posts/1")
    assert answer.json() == {"slow": "down"}
    assert answer.headers.get_list("retry-after") == ["7"] and answer.headers["x-ratelimit-limit"] == "0"

    broken = fastapi_site([], policy=Policy(user="0/hour"), on_refused=lambda scope, verdict: 1 / 0)
    (answer,) = ask(broken, "/api/posts/1")
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_test_client_has_no_address_and_the_policy_says_what_that_means() -> None:
    shared, skipped = Policy(edge="1/hour"), Policy(edge="1/hour", missing_address="skip")
    for policy, second in ((shared, 429), (skipped, 200)):
        app = Starlette(routes=[Route("/", home)])
        app.add_middleware(ASGI, policy=policy)
        client = TestClient(app)
        assert [client.get("/").status_code for _ in range(2)] == [200, second]


def test_lifespan_runs_through_the_middleware() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Any) -> Any:
        seen.append("up")
        yield
        seen.append("down")

    app = Starlette(routes=[Route("/", home)], lifespan=lifespan)
    app.add_middleware(ASGI, policy=Policy(user="0/hour"))
    with TestClient(app) as client:
        assert client.get("/").status_code == 429
    assert seen == ["up", "down"]


@pytest.fixture
def flask_site() -> Any:
    app = Flask(__name__)
    blueprint = Blueprint("api", __name__, url_prefix="/api")

    @blueprint.post("/login")
    def login() -> str:
        return "welcome"

    @blueprint.get("/posts/<int:post>")
    def read(post: int) -> str:
        return str(post)

    @app.get("/broken")
    def broken() -> str:
        raise LookupError("the app's own")

    app.register_blueprint(blueprint)
    return app


def test_flask_counts_every_spelling_its_router_accepts(flask_site: Any) -> None:
    flask_site.wsgi_app = WSGI(flask_site.wsgi_app, policy=Policy(endpoints={"POST /api/login": "2/hour"}))
    client = flask_site.test_client()
    assert [client.post("/api/login").status_code for _ in range(3)] == [200, 200, 429]
    for spelling in ("/api//login", "/api/%6cogin", "/api/login/"):
        assert client.post(spelling).status_code == 429
    assert client.post("/", environ_overrides={"PATH_INFO": "//api/login"}).status_code == 429
    assert client.open("/api/login", method="post").status_code == 429
    assert client.get("/api/posts/1").status_code == 200


def test_flask_limits_unknown_paths_head_and_errors_alike(flask_site: Any) -> None:
    flask_site.wsgi_app = WSGI(flask_site.wsgi_app, policy=Policy(user="4/hour"))
    client = flask_site.test_client()
    flask_site.config["PROPAGATE_EXCEPTIONS"] = False
    answers = [client.get("/nowhere"), client.head("/api/posts/1"), client.get("/broken"), client.get("/x")]
    assert [answer.status_code for answer in answers] == [404, 200, 500, 404]
    assert all(len(answer.headers.getlist("RateLimit")) == 1 for answer in answers)
    refused = client.head("/api/posts/1")
    assert refused.status_code == 429 and refused.data == b""


def test_a_werkzeug_response_can_stand_for_the_refusal(flask_site: Any) -> None:
    from werkzeug.wrappers import Response

    flask_site.wsgi_app = WSGI(
        flask_site.wsgi_app,
        policy=Policy(user="0/hour"),
        on_refused=lambda environ, verdict: Response("slow down", verdict.status),
    )
    answer = flask_site.test_client().get("/api/posts/1")
    assert (answer.status_code, answer.text) == (429, "slow down")
    assert answer.headers["X-RateLimit-Limit"] == "0"
