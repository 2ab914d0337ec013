"""A WSGI application in this process gets a whole environ, and its answer comes back whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any
from wsgiref.validate import validator

import pytest
from flask import Flask
from starlette.applications import Starlette

from sentinel.drivers.asgi import AsgiDriver
from sentinel.drivers.driver import Headers, Request
from sentinel.drivers.in_process import app_driver, is_wsgi
from sentinel.drivers.wsgi import WsgiDriver
from sentinel.errors import ConfigurationError

from .asking import asked

StartResponse = Callable[..., Any]


class App:
    """Answer in parts, and remember what was asked and whether the answer was closed."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.closed = 0

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        self.seen.append({**environ, "body": environ["wsgi.input"].read()})
        if environ["PATH_INFO"] == "/boom":
            raise RuntimeError("it broke")
        if environ["PATH_INFO"] == "/silent":
            return []
        start_response("201 Created", [("X-Count", str(len(self.seen))), ("Retry-After", "3")])
        return Parts(self)


class Parts:
    def __init__(self, app: App) -> None:
        self.app = app

    def __iter__(self) -> Iterator[bytes]:
        yield from (b"one ", b"two")

    def close(self) -> None:
        self.app.closed += 1


@pytest.mark.parametrize("threads", [0, 3])
def test_an_application_gets_a_whole_environ_and_its_answer_comes_back_whole(threads: int) -> None:
    app = App()
    common = Headers([("X-Tenant", "a"), ("Content-Type", "text/plain")])
    request = Request("POST", "/p%C3%A9%20q?x=1", common, Headers([("X-B", "2")]), b"body", key="10.0.0.7")
    (response,) = asked(WsgiDriver(app, threads=threads), request)
    assert (response.status, response.body, response.header("x-count")) == (201, b"one two", "1")
    (seen,) = app.seen
    assert (seen["REQUEST_METHOD"], seen["QUERY_STRING"], seen["body"]) == ("POST", "x=1", b"body")
    assert seen["PATH_INFO"].encode("latin-1").decode() == "/pé q"
    assert (seen["HTTP_X_TENANT"], seen["HTTP_X_B"], seen["REMOTE_ADDR"]) == ("a", "2", "10.0.0.7")
    assert (seen["CONTENT_TYPE"], seen["CONTENT_LENGTH"]) == ("text/plain", "4")
    assert seen["wsgi.multithread"] is (threads > 1)
    assert app.closed == 1


def test_the_environ_is_what_the_standard_asks_for() -> None:
    def plain(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"fine"]

    (response,) = asked(WsgiDriver(validator(plain)), Request("GET", "/a?b=c", Headers([("X-A", "1")])))
    assert (response.status, response.error) == (200, "")


def test_errors_and_silence_are_answers_without_a_status() -> None:
    driver = WsgiDriver(App())
    boom, silent, head = asked(
        driver, Request("GET", "/boom"), Request("GET", "/silent"), Request("HEAD", "/")
    )
    assert (boom.status, boom.error) == (0, "the application raised RuntimeError: it broke")
    assert (silent.status, silent.error) == (0, "the application returned without an answer")
    assert (head.status, head.body) == (201, b"")
    assert driver.counters == {"app_errors": 1}


def test_a_head_is_replaced_only_with_an_error_in_hand() -> None:
    def twice(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        error = ValueError("late")
        said = (ValueError, error, None) if environ["PATH_INFO"] == "/error" else None
        start_response("500 Oops", [], said)(b"written ")
        return [b"returned"]

    honest, wrong = asked(WsgiDriver(twice), Request("GET", "/error"), Request("GET", "/"))
    assert (honest.status, honest.body) == (500, b"written returned")
    assert wrong.status == 0 and "start_response was called twice" in wrong.error


def test_threads_meet_each_other_and_every_call_is_answered_before_the_end() -> None:
    together = threading.Barrier(4)

    def meeting(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        together.wait(10)
        start_response("204 No Content", [])
        return []

    answers = asked(WsgiDriver(meeting, threads=4), *[Request("GET", "/")] * 4)
    assert [answer.status for answer in answers] == [204] * 4
    with pytest.raises(ConfigurationError, match="threads is 65"):
        WsgiDriver(meeting, threads=65)


def test_applications_are_told_apart_by_how_they_are_called() -> None:
    async def asgi(scope: Any, receive: Any, send: Any) -> None: ...
    def wrapped(scope: Any, receive: Any, send: Any) -> Any: ...
    def named(name: str, environ: Any, start_response: Any) -> Any: ...

    assert all(map(is_wsgi, (App(), Flask("shop"), Flask("shop").wsgi_app, partial(named, "x"))))
    assert not any(map(is_wsgi, (asgi, wrapped, Starlette(), dict)))
    assert isinstance(app_driver(App()), WsgiDriver) and isinstance(app_driver(asgi), AsgiDriver)
