"""The WSGI shell in front of bare apps: what passes, what is refused, what is left alone."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from threshold import (
    AsyncThreshold,
    ConfigurationError,
    Ladder,
    MemoryStore,
    Policy,
    Rung,
    StoreUnavailable,
    Threshold,
)
from threshold.plan import Outcome, Plan
from threshold.testing import ManualClock
from threshold.wsgi import ThresholdMiddleware

HEADERS = [("Content-Type", "text/plain")]


def hello(environ: Any, start_response: Any) -> list[bytes]:
    """Answer with the very same list of headers every time, as a frugal app may."""
    start_response("200 OK", HEADERS)
    return [b"hello"]


def guarded(app: Any = hello, policy: Policy | None = None, **options: Any) -> ThresholdMiddleware:
    options.setdefault("store", MemoryStore(clock=ManualClock()))
    return ThresholdMiddleware(app, policy=policy or Policy(user="2/minute"), **options)


def test_admits_up_to_the_limit_and_then_refuses_with_problem_details(wsgi: Any) -> None:
    app = guarded()
    assert [wsgi(app).status for _ in range(2)] == [200, 200]
    refused = wsgi(app)
    assert refused.status == 429
    assert refused.one("content-type") == "application/problem+json"
    assert refused.one("cache-control") == "no-store"
    assert refused.one("retry-after") == "30"
    assert int(refused.one("content-length")) == len(refused.body)
    assert json.loads(refused.body)["violated-policies"] == ["user"]
    assert HEADERS == [("Content-Type", "text/plain")]


def test_a_streaming_response_starts_once_and_keeps_its_iterator(wsgi: Any) -> None:
    class Stream:
        closed = False

        def __iter__(self) -> Iterator[bytes]:
            return iter([b"0", b"1"])

        def close(self) -> None:
            self.closed = True

    stream = Stream()

    def app(environ: Any, start_response: Any) -> Stream:
        start_response("200 OK", [])
        return stream

    answer = wsgi(guarded(app))
    assert answer.body == b"01" and len(answer.sent) == 1 and len(answer.all("ratelimit")) == 1
    assert stream.closed


def test_an_app_that_starts_over_after_an_error_announces_once_in_each_start(wsgi: Any) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("X-One", "1")])
        try:
            raise ValueError("too late")
        except ValueError:
            start_response("500 Oops", [("X-Two", "2")], exc_info=sys.exc_info())
        return [b"sorry"]

    answer = wsgi(guarded(app))
    assert answer.status == 500 and answer.all("x-one") == []
    assert answer.one("x-ratelimit-limit") == "2"


def test_never_overwrites_a_field_the_app_set_whatever_its_case(wsgi: Any) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("503 Busy", (("retry-AFTER", "9"), ("x-ratelimit-limit", "77")))
        return [b""]

    answer = wsgi(guarded(app))
    assert answer.one("retry-after") == "9" and answer.one("x-ratelimit-limit") == "77"
    assert answer.one("X-RateLimit-Remaining") == "1"


def test_an_error_of_the_app_is_raised_as_it_was(wsgi: Any) -> None:
    def broken(environ: Any, start_response: Any) -> list[bytes]:
        raise LookupError("the app's own")

    with pytest.raises(LookupError, match="the app's own"):
        wsgi(guarded(broken))


def test_head_is_refused_without_a_body(wsgi: Any) -> None:
    answer = wsgi(guarded(policy=Policy(user="0/minute")), method="HEAD")
    assert answer.status == 429 and answer.body == b""


def test_the_path_is_matched_as_text_of_utf_8(wsgi: Any) -> None:
    app = guarded(policy=Policy(endpoints={"/caf\u00e9": "1/minute"}))
    path = "/caf\u00e9".encode().decode("latin-1")
    assert [wsgi(app, path).status for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("path", ["/caf\xff", "/\u2603", "", "no-slash", "//", "/\x00"])
def test_paths_that_are_no_utf_8_pass_and_count(wsgi: Any, path: str) -> None:
    app = guarded(policy=Policy(user="1/minute"))
    assert [wsgi(app, path).status for _ in range(2)] == [200, 429]


def test_a_request_without_an_address_is_counted_as_the_policy_says(wsgi: Any) -> None:
    for client in (None, "", "testclient", "fe80::1%eth0"):
        shared = guarded(policy=Policy(edge="1/minute"))
        assert [wsgi(shared, client=client).status for _ in range(2)] == [200, 429]
        skipped = guarded(policy=Policy(edge="1/minute", missing_address="skip"))
        assert [wsgi(skipped, client=client).status for _ in range(2)] == [200, 200]


def test_a_failure_of_ours_lets_the_request_pass_and_is_logged_sparingly(wsgi: Any, caplog: Any) -> None:
    class Cracked(MemoryStore):
        def decide(self, plan: Plan) -> Outcome:
            raise RuntimeError("cracked")

    app = guarded(store=Cracked())
    with caplog.at_level(logging.ERROR, logger="threshold"):
        assert [wsgi(app).status for _ in range(5)] == [200] * 5
    assert len(caplog.records) == 3


def test_a_dead_store_is_reduced_capacity_where_the_policy_fails_closed(wsgi: Any) -> None:
    class Dead(MemoryStore):
        def decide(self, plan: Plan) -> Outcome:
            raise StoreUnavailable("no route")

    app = guarded(policy=Policy(user="5/minute", fail_closed=["/pay"]), store=Dead())
    assert wsgi(app, "/").status == 200
    assert wsgi(app, "/pay").status == 503


def test_identity_functions_get_the_environ_and_their_failure_is_the_apps(wsgi: Any) -> None:
    app = guarded(user=lambda environ: int(environ["HTTP_X_USER"]))
    assert [wsgi(app, HTTP_X_USER="7").status for _ in range(3)] == [200, 200, 429]
    assert wsgi(app, HTTP_X_USER="8").status == 200
    with pytest.raises(ValueError, match="nobody"):
        wsgi(app, HTTP_X_USER="nobody")


def test_the_hook_answers_refusals_with_any_wsgi_app(wsgi: Any) -> None:
    def on_refused(environ: Any, verdict: Any) -> Any:
        def answer(environ: Any, start_response: Any) -> list[bytes]:
            start_response("420 Calm", [("Retry-After", "1")])
            return [",".join(verdict.violated).encode()]

        return answer

    answer = wsgi(guarded(policy=Policy(user="0/minute"), on_refused=on_refused))
    assert (answer.status, answer.body) == (420, b"user")
    assert answer.one("retry-after") == "1" and answer.one("x-ratelimit-limit") == "0"


def test_a_hook_that_fails_leaves_the_standard_refusal(wsgi: Any, caplog: Any) -> None:
    app = guarded(policy=Policy(user="0/minute"), on_refused=lambda environ, verdict: 1 / 0)
    assert wsgi(app).status == 429
    assert "on_refused failed" in caplog.text


SHADOW = Ladder([Rung(forgive=True, shadow=3600)], delay=(2.0, 2.0))


def shadowed(wsgi: Any, **options: Any) -> ThresholdMiddleware:
    """An app whose user is shadow-banned by now."""
    clock = ManualClock()
    app = guarded(
        policy=Policy(user="1/minute", ladder=SHADOW),
        store=MemoryStore(clock=clock),
        user=lambda environ: environ.get("HTTP_X_USER", "u1"),
        **options,
    )
    for _ in range(2):
        wsgi(app)
    clock.advance(120)
    return app


def test_a_shadow_banned_request_waits_in_its_thread_and_gives_nothing_away(wsgi: Any) -> None:
    waits: list[float] = []
    app = shadowed(wsgi, sleep=waits.append)
    waits.clear()
    answer = wsgi(app)
    assert answer.status == 200 and waits == [2.0]
    normal = wsgi(app, HTTP_X_USER="normal")
    assert [name for name, _ in answer.headers] == [name for name, _ in normal.headers]
    assert app.delayed_active == 0


def test_beyond_the_bound_a_request_goes_on_undelayed(wsgi: Any) -> None:
    waiting, go = threading.Event(), threading.Event()
    go.set()

    def sleep(seconds: float) -> None:
        waiting.set()
        assert go.wait(10)

    app = shadowed(wsgi, sleep=sleep)
    waiting.clear()
    go.clear()
    thread = threading.Thread(target=wsgi, args=(app,))
    thread.start()
    assert waiting.wait(10)
    assert app.delayed_active == 1
    assert wsgi(app).status in (200, 429)  # whatever it is told, it did not wait: this thread is back
    assert app.delayed_active == 1
    go.set()
    thread.join()
    assert app.delayed_active == 0


def test_a_server_with_one_thread_is_never_held(wsgi: Any) -> None:
    waits: list[float] = []
    app = shadowed(wsgi, sleep=waits.append)
    waits.clear()
    assert wsgi(app, **{"wsgi.multithread": False}).status == 200
    few = shadowed(wsgi, sleep=waits.append, threads=3)
    assert wsgi(few).status == 200
    assert waits == []


@pytest.mark.parametrize(
    ("threads", "most"), [(8, 3), (None, 2), (3, 1), (0, None), (8, -1), (8, 1.5), ("8", None)]
)
def test_more_than_a_quarter_of_the_threads_is_refused(threads: Any, most: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"max_delayed|threads"):
        guarded(threads=threads, max_delayed=most)


def test_takes_any_front_end_that_needs_no_awaiting(wsgi: Any) -> None:
    for kind in (Threshold, AsyncThreshold):
        app = ThresholdMiddleware(hello, policy=kind(Policy(user="1/minute"), MemoryStore()))
        assert [wsgi(app).status for _ in range(2)] == [200, 429]

    class Awaited(MemoryStore):
        asynchronous = True

    with pytest.raises(ConfigurationError, match="cannot await"):
        ThresholdMiddleware(hello, policy=AsyncThreshold(Policy(user="1/minute"), Awaited()))
    with pytest.raises(ConfigurationError, match="AsyncThreshold"):
        ThresholdMiddleware(hello, policy=Policy(user="1/minute"), store=Awaited())


async def _nobody(environ: Any) -> None:
    return None


@pytest.mark.parametrize("field", ["user", "tenant", "tier", "cost", "on_refused"])
def test_refuses_functions_that_would_have_to_be_awaited(field: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{field}"):
        options: dict[str, Any] = {field: _nobody}
        guarded(**options)
