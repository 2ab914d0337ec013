"""The ASGI shell in front of bare apps: what passes, what is refused, what is left alone."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from threshold import (
    AsyncThreshold,
    ConfigurationError,
    Ladder,
    MemoryStore,
    Policy,
    Rung,
    SlidingWindow,
    StoreUnavailable,
    Threshold,
)
from threshold.asgi import ThresholdMiddleware
from threshold.headers import NAMES, Rules, told
from threshold.plan import Limit, Outcome, Plan, Rule, State
from threshold.testing import ManualClock

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the very same message object every time, as a frugal app may."""
    await send(START)
    await send({"type": "http.response.body", "body": b"hello"})


def guarded(app: Any = hello, policy: Policy | None = None, **options: Any) -> ThresholdMiddleware:
    options.setdefault("store", MemoryStore(clock=ManualClock()))
    return ThresholdMiddleware(app, policy=policy or Policy(user="2/minute"), **options)


def test_admits_up_to_the_limit_and_then_refuses_with_problem_details(asgi: Any) -> None:
    app = guarded()
    assert [asgi(app).status for _ in range(2)] == [200, 200]
    refused = asgi(app)
    assert refused.status == 429
    assert refused.one("content-type") == "application/problem+json"
    assert refused.one("cache-control") == "no-store"
    assert refused.one("retry-after") == "30"
    assert int(refused.one("content-length")) == len(refused.body)
    problem = json.loads(refused.body)
    assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert problem["violated-policies"] == ["user"]
    assert problem["retry_after"] == 30 and problem["status"] == 429
    assert problem["reset_at"].endswith("Z")


def test_announces_the_limit_on_every_response_exactly_once(asgi: Any) -> None:
    app = guarded()
    for status, remaining in ((200, "1"), (200, "0"), (429, "0")):
        answer = asgi(app)
        assert answer.status == status
        assert answer.one("x-ratelimit-remaining") == remaining
        assert answer.one("ratelimit-policy") == '"user";q=2;w=60;threshold-burst=2'
        assert answer.one("x-ratelimit-limit") == "2"
        assert answer.one("ratelimit").startswith(f'"user";r={remaining};t=')


def test_an_app_that_reuses_its_message_does_not_collect_fields(asgi: Any) -> None:
    app = guarded(policy=Policy(user="10/minute"))
    for _ in range(3):
        asgi(app)
    assert START["headers"] == [(b"content-type", b"text/plain")]


def test_a_streaming_response_starts_once_and_every_chunk_passes_untouched(asgi: Any) -> None:
    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for i in range(5):
            await send({"type": "http.response.body", "body": b"%d" % i, "more_body": i < 4})

    answer = asgi(guarded(stream))
    assert [message["type"] for message in answer.sent].count("http.response.start") == 1
    assert answer.body == b"01234"
    assert len(answer.all("ratelimit")) == 1


def test_never_overwrites_a_field_the_app_set_whatever_its_case(asgi: Any) -> None:
    async def own(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"X-RateLimit-LIMIT", b"77"), (b"Retry-After", b"9")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    answer = asgi(guarded(own))
    assert answer.one("x-ratelimit-limit") == "77"
    assert answer.one("retry-after") == "9"
    assert answer.one("x-ratelimit-remaining") == "1"


def test_a_response_without_headers_gets_the_fields_too(asgi: Any) -> None:
    async def bare(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    assert asgi(guarded(bare)).one("x-ratelimit-limit") == "2"


def test_headers_given_as_an_iterator_are_kept(asgi: Any) -> None:
    async def lazy(scope: Any, receive: Any, send: Any) -> None:
        headers = iter([(b"retry-after", b"5"), (b"x-one", b"1")])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    answer = asgi(guarded(lazy))
    assert answer.one("x-one") == "1" and answer.one("retry-after") == "5"
    assert answer.one("x-ratelimit-limit") == "2"


def test_head_is_refused_without_a_body(asgi: Any) -> None:
    app = guarded(policy=Policy(user="0/minute"))
    answer = asgi(app, method="HEAD")
    assert answer.status == 429 and answer.body == b""
    assert int(answer.one("content-length")) > 0


def test_a_method_in_small_letters_is_the_same_method(asgi: Any) -> None:
    app = guarded(policy=Policy(endpoints={"POST /login": "1/minute"}))
    assert [asgi(app, "/login", method=method).status for method in ("POST", "post", "Post")] == [
        200,
        429,
        429,
    ]


def test_a_limit_of_zero_refuses_for_ever_and_names_no_time(asgi: Any) -> None:
    answer = asgi(guarded(policy=Policy(user="0/minute")))
    assert answer.all("retry-after") == []
    problem = json.loads(answer.body)
    assert problem["retry_after"] is None and problem["reset_at"] is None


def test_lifespan_and_unknown_scopes_pass_untouched() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    middleware = guarded(app, Policy(user="0/minute"))
    for kind in ("lifespan", "carrier-pigeon"):
        scope, receive, send = {"type": kind}, object(), object()
        asyncio.run(middleware(scope, receive, send))  # type: ignore[arg-type]
        assert seen.pop() == (scope, receive, send)


def test_an_error_of_the_app_is_raised_as_it_was(asgi: Any) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("the app's own")

    with pytest.raises(LookupError, match="the app's own"):
        asgi(guarded(broken))


def test_a_warned_request_reaches_the_app_and_says_so(asgi: Any) -> None:
    ladder = Ladder([Rung(forgive=True), Rung(ban=60)])
    app = guarded(policy=Policy(user="1/minute", ladder=ladder), user=lambda scope: "u1")
    asgi(app)
    warned = asgi(app)
    assert warned.status == 200 and warned.one("x-ratelimit-warning") == "true"


def test_a_ban_is_abnormal_usage(asgi: Any) -> None:
    app = guarded(policy=Policy(user="1/minute", ladder=Ladder([Rung(ban=60)])), user=lambda scope: "u1")
    asgi(app)
    for _ in range(2):
        banned = asgi(app)
        assert banned.status == 429 and banned.one("x-ratelimit-banned") == "true"
        assert json.loads(banned.body)["type"].endswith("#abnormal-usage-detected")
        assert banned.one("retry-after") == "60"


def test_a_dry_run_lets_everything_through_and_announces_nothing(asgi: Any) -> None:
    app = guarded(policy=Policy(user="0/minute", dry_run=True))
    answer = asgi(app)
    assert answer.status == 200 and answer.headers == [("content-type", "text/plain")]


class Dead:
    """An asynchronous store that never answers."""

    asynchronous = True

    async def decide(self, plan: Plan) -> Outcome:
        raise StoreUnavailable("no route")

    async def refund(self, plan: Plan, at: int) -> None: ...
    async def reset(self, keys: Sequence[str], group: str | None = None) -> None: ...
    async def state(self, keys: Sequence[str]) -> list[State]:
        return []

    def check(self, limit: Limit) -> None: ...
    async def aclose(self) -> None: ...


def test_a_dead_store_is_reduced_capacity_where_the_policy_fails_closed(asgi: Any) -> None:
    app = guarded(policy=Policy(user="5/minute", fail_closed=["/pay"]), store=Dead())
    assert asgi(app, "/").status == 200
    answer = asgi(app, "/pay")
    assert answer.status == 503
    assert json.loads(answer.body)["type"].endswith("#temporary-reduced-capacity")


class Cracked(Dead):
    """A store that breaks its contract."""

    async def decide(self, plan: Plan) -> Outcome:
        raise RuntimeError("cracked")


def test_a_failure_of_ours_lets_the_request_pass_and_is_logged_sparingly(asgi: Any, caplog: Any) -> None:
    app = guarded(store=Cracked())
    with caplog.at_level(logging.ERROR, logger="threshold"):
        assert [asgi(app).status for _ in range(5)] == [200] * 5
    assert len(caplog.records) == 3  # at 1, 2 and 4


def test_identity_functions_may_be_plain_or_async_and_their_ids_any_object(asgi: Any) -> None:
    async def user(scope: Any) -> int:
        return 7

    app = guarded(user=user, tenant=lambda scope: dict(scope["headers"])[b"tenant"].decode())
    headers = [(b"tenant", b"t1")]
    assert [asgi(app, headers=headers).status for _ in range(3)] == [200, 200, 429]
    assert asgi(app, headers=[(b"tenant", b"t2")]).status == 200


def test_an_identity_function_that_fails_fails_the_request(asgi: Any) -> None:
    def user(scope: Any) -> str:
        raise PermissionError("session store down")

    with pytest.raises(PermissionError, match="session store down"):
        asgi(guarded(user=user))


@pytest.mark.parametrize("cost", [-1, 1.5, "2", None])
def test_a_cost_function_that_returns_no_cost_fails_the_request(asgi: Any, cost: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="cost: the function returned"):
        asgi(guarded(cost=lambda scope: cost))


def test_cost_is_charged_as_given_or_as_the_request_says(asgi: Any) -> None:
    assert asgi(guarded(policy=Policy(user="10/minute"), cost=4)).one("x-ratelimit-remaining") == "6"
    app = guarded(policy=Policy(user="10/minute"), cost=lambda scope: len(scope["path"]))
    assert asgi(app, "/12").one("x-ratelimit-remaining") == "7"


def test_the_tier_is_asked_only_for_a_tenant(asgi: Any) -> None:
    asked: list[Any] = []
    app = guarded(tier=asked.append, tenant=lambda scope: None)
    asgi(app)
    assert asked == []


def test_takes_a_ready_threshold_with_its_store_and_hooks(asgi: Any) -> None:
    events: list[Any] = []
    for kind in (Threshold, AsyncThreshold):
        guard = kind(Policy(user="1/minute"), MemoryStore(), hooks=[events.append])
        app = ThresholdMiddleware(hello, policy=guard)
        assert app.threshold is guard
        assert [asgi(app).status for _ in range(2)] == [200, 429]
    assert len(events) == 2
    with pytest.raises(ConfigurationError, match="store"):
        ThresholdMiddleware(hello, policy=guard, store=MemoryStore())
    with pytest.raises(ConfigurationError, match="hooks"):
        ThresholdMiddleware(hello, policy=guard, hooks=[events.append])


def test_needs_no_store_to_be_named(asgi: Any) -> None:
    app = ThresholdMiddleware(hello, policy=Policy(user="1/hour"))
    assert [asgi(app).status for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("policy", "100/minute"),
        ("store", object()),
        ("user", "u1"),
        ("on_refused", 429),
        ("cost", -1),
        ("cost", True),
        ("cost", None),
        ("max_delayed", -1),
        ("max_delayed_per_key", 1.5),
        ("websocket_messages", "many"),
        ("trusted_hops", -1),
    ],
)
def test_refuses_options_that_cannot_work_naming_the_field(field: str, value: Any) -> None:
    options: dict[str, Any] = {"policy": Policy(user="1/minute"), field: value}
    with pytest.raises(ConfigurationError, match=f"^{field}"):
        ThresholdMiddleware(hello, **options)


def test_refuses_a_store_that_would_block_the_event_loop() -> None:
    class Blocking(MemoryStore):
        blocking = True

    policy = Policy(user="1/minute")
    with pytest.raises(ConfigurationError, match="block the event loop"):
        ThresholdMiddleware(hello, policy=policy, store=Blocking())
    with pytest.raises(ConfigurationError, match="block the event loop"):
        ThresholdMiddleware(hello, policy=Threshold(policy, Blocking()))


def test_every_field_that_can_be_told_is_known_to_be_ours_and_names_may_hold_anything() -> None:
    rules = Rules([Rule.of("50%d of \u2603", "user", SlidingWindow("5/minute"))])
    fields = told(rules.wire, 0, [(1, 0, 1_000_000, None)], "both", 1, warned=True, banned=True)
    assert {name for name, _ in fields} == {name.lower().encode() for name in NAMES}
    assert dict(fields)[b"ratelimit"] == b'"50%d of ?";r=0;t=1'
