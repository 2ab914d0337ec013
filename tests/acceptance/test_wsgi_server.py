"""The WSGI middleware on a real gunicorn, over a real socket."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

FLASK = """
from flask import Flask, Response, stream_with_context
from threshold import Ladder, Policy, Rung
from threshold.wsgi import ThresholdMiddleware

site = Flask(__name__)

@site.get("/token")
def token():
    return TOKEN

@site.get("/")
def home():
    return "home"

@site.post("/upload")
def upload():
    from flask import request
    return str(len(request.get_data()))

@site.get("/stream")
def stream():
    return Response((f"{i}," for i in range(100)), mimetype="text/plain")

@site.get("/api/login")
def login():
    return "welcome"

@site.get("/error")
def error():
    raise RuntimeError("the app's own")

policy = Policy(
    edge="1000/second",
    user={"/token": "1000/second", "/nowhere/*": "2/hour", "default": "1000/second"},
    endpoints={"GET /api/login": "2/hour", "POST /upload": "2/hour", "/slow": "1/hour"},
    ladder=Ladder([Rung(forgive=True, shadow=3600)], delay=(3.0, 3.0)),
)
guarded = ThresholdMiddleware(
    site.wsgi_app, policy=policy, threads=8, trusted_proxies=["unix"],
    user=lambda environ: environ.get("HTTP_X_USER"),
)
site.wsgi_app = guarded

@site.get("/held")
def held():
    return str(guarded.delayed_active)

app = site
"""


def test_flask_behind_gunicorn_is_limited_by_the_forwarded_address(
    gunicorn_server: Any, unix_connection: Any, wait_until: Any
) -> None:
    path = gunicorn_server(FLASK, "--worker-class", "gthread", "--threads", "8")

    def ask(target: str, method: str = "GET", client: str = "203.0.113.1", **more: Any) -> Any:
        connection = unix_connection(path)
        headers = {"X-Forwarded-For": client, **more.pop("headers", {})}
        connection.request(method, target, headers=headers, **more)
        response = connection.getresponse()
        response.body = response.read()
        connection.close()
        return response

    # The same endpoint, however it is written.
    spellings = ["/api/login", "//api/login", "/api/%6cogin", "/api//login"]
    assert [ask(target).status for target in spellings][:1] == [200]
    assert [ask(target).status for target in spellings] == [429] * 4
    assert ask("/api/login", client="203.0.113.2").status == 200
    assert ask("/api/login", client="6.6.6.6, 203.0.113.1").status == 429
    assert ask("/api/login", "HEAD").status == 429

    # Unknown paths are counted too.
    assert [ask(f"/nowhere/{i}").status for i in range(3)] == [404, 404, 429]

    # Bodies and streams pass whole; an error of the app stays one, with the fields of every response.
    assert ask("/stream").body.count(b",") == 100
    uploads = [ask("/upload", "POST", body=b"x" * 300_000) for _ in range(3)]
    assert [upload.status for upload in uploads] == [200, 200, 429]
    assert uploads[0].body == b"300000"
    assert json.loads(uploads[2].body)["violated-policies"] == ["POST /upload"]
    broken = ask("/error")
    assert broken.status == 500 and broken.getheader("X-RateLimit-Limit")
    assert len(broken.headers.get_all("RateLimit")) == 1

    # One shadow-banned request is held at a time: the other threads serve everybody else.
    bad = {"X-User": "bad"}
    assert ask("/slow", headers=bad).status == 404
    begin = time.monotonic()
    held = threading.Thread(target=ask, args=("/slow",), kwargs={"headers": bad})
    held.start()
    wait_until(lambda: ask("/held").body == b"1")
    undelayed = [ask("/", headers=bad).status for _ in range(10)] + [ask("/").status for _ in range(10)]
    assert undelayed == [200] * 20
    assert ask("/held").body == b"1" and time.monotonic() - begin < 3
    held.join(20)
    assert ask("/held").body == b"0"
