"""Repeated refusals: the same answer without a decision, and never a moment longer than it is true."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from threshold import Ladder, MemoryStore, Policy, Rung, SlidingWindow, StoreUnavailable, TokenBucket
from threshold.asgi import ThresholdMiddleware
from threshold.plan import Limit, OnStoreError, Outcome, Plan
from threshold.testing import ManualClock


class CountingStore(MemoryStore):
    """A memory store that counts how often it is asked, and remembers what for."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.asked = 0
        self.away = False
        self.keys: list[str] = []
        """Those of the last plan, the abuse record's included."""

    def decide(self, plan: Plan) -> Outcome:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("nobody there")
        self.keys = [*plan.keys, *([plan.abuse] if plan.abuse else [])]
        return super().decide(plan)


class Scene:
    """One app, one clock, one caller."""

    def __init__(self, ask: Callable[..., Any], policy: Policy, **options: Any) -> None:
        self.clock = ManualClock()
        self.store = CountingStore(self.clock)
        self._ask = ask

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})

        self.user = "u1"
        self.app = ThresholdMiddleware(
            app, policy=policy, store=self.store, user=lambda scope: self.user, **options
        )

    def get(self, **more: Any) -> Any:
        return asyncio.run(self._ask(self.app, **more))


@pytest.fixture
def scene(asgi_async: Any) -> Callable[..., Scene]:
    return lambda policy, **options: Scene(asgi_async, policy, **options)


LIMITS = [TokenBucket("2/minute"), SlidingWindow("2/minute")]


@pytest.mark.parametrize("limit", LIMITS, ids=["bucket", "window"])
def test_a_refusal_is_repeated_without_asking_the_store(scene: Callable[..., Scene], limit: Limit) -> None:
    stage = scene(Policy(user=limit))
    answers = [stage.get() for _ in range(6)]
    assert [answer.status for answer in answers] == [200, 200, 429, 429, 429, 429]
    assert stage.store.asked == 3
    assert answers[5].headers == answers[2].headers
    assert answers[5].body == answers[2].body


@pytest.mark.parametrize("limit", LIMITS, ids=["bucket", "window"])
def test_a_repeated_refusal_never_shows_an_older_figure_than_a_decision_would(
    scene: Callable[..., Scene], limit: Limit
) -> None:
    stage, always = scene(Policy(user=limit)), scene(Policy(user=limit))
    always.app._repeats = None
    for step in range(300):
        for each in (stage, always):
            each.clock.now_us = step * 217_003
        told, decided = stage.get(), always.get()
        assert told.status == decided.status
        for name in ("retry-after", "ratelimit", "x-ratelimit-remaining"):
            assert told.all(name) == decided.all(name), (step, name)
    assert stage.store.asked < always.store.asked


@pytest.mark.parametrize("limit", LIMITS, ids=["bucket", "window"])
def test_a_caller_is_admitted_in_the_very_microsecond_that_was_promised(
    scene: Callable[..., Scene], limit: Limit
) -> None:
    stage = scene(Policy(user=limit))
    for _ in range(2):
        stage.get()
    plan = stage.app.threshold.policy.plan(_caller())
    assert plan is not None
    retry = stage.store.decide(plan).found[0][0]
    stage.get()
    stage.clock.advance_us(retry - 1)
    assert stage.get().status == 429
    assert stage.get().status == 429
    stage.clock.advance_us(1)
    assert stage.get().status == 200


def test_a_new_episode_is_a_strike_although_refusals_are_repeated(scene: Callable[..., Scene]) -> None:
    ladder = Ladder([Rung(forgive=True), Rung(forgive=True), Rung(ban=60)])
    stage = scene(Policy(user=TokenBucket("1 per 10 seconds"), ladder=ladder))
    told = []
    for _ in range(3):
        told.append([stage.get() for _ in range(20)])
        stage.clock.advance(10)
    assert [sum(answer.status == 429 for answer in burst) for burst in told] == [18, 18, 19]
    assert [len(burst[1].all("x-ratelimit-warning")) for burst in told] == [1, 1, 0]
    assert told[2][19].one("x-ratelimit-banned") == "true"


def test_an_unbanned_caller_is_let_in_at_once(scene: Callable[..., Scene]) -> None:
    stage = scene(Policy(user="1/hour", ladder=Ladder([Rung(ban=3600)])))
    assert [stage.get().status for _ in range(4)] == [200, 429, 429, 429]
    assert stage.get().one("x-ratelimit-banned") == "true"
    asyncio.run(_unban(stage))
    assert stage.get().all("x-ratelimit-banned") == ["true"]  # a new strike: the limit is still used up
    stage.store.reset(stage.store.keys)
    assert stage.get().status == 200


def test_what_a_banned_user_was_told_is_told_to_nobody_else_at_the_same_address(
    scene: Callable[..., Scene],
) -> None:
    policy = Policy(edge="100/minute", endpoints={"GET /only": "1/hour"}, ladder=Ladder([Rung(ban=60)]))
    stage = scene(policy)
    assert [stage.get(path="/only").status for _ in range(2)] == [200, 429]
    assert [stage.get(path="/other").status for _ in range(2)] == [429, 429]
    stage.user = "u2"
    assert stage.get(path="/other").status == 200


def test_a_clock_that_steps_back_ends_all_repeating(scene: Callable[..., Scene]) -> None:
    stage = scene(Policy(user="1/minute"))
    stage.clock.advance(100)
    for _ in range(3):
        stage.get()
    asked = stage.store.asked
    stage.clock.advance(-50)
    assert stage.get().status == 429
    assert stage.store.asked == asked + 1


def test_a_later_middleware_may_add_to_a_repeated_answer(scene: Callable[..., Scene]) -> None:
    stage = scene(Policy(user="1/minute"))
    for _ in range(3):
        stage.get()
    guarded = stage.app

    async def adding(scope: Any, receive: Any, send: Any) -> None:
        async def add(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-added", b"1"))
            await send(message)

        await guarded(scope, receive, add)

    stage.app = adding  # type: ignore[assignment]
    assert [len(stage.get().all("x-added")) for _ in range(3)] == [1, 1, 1]


def test_what_is_kept_is_bounded(scene: Callable[..., Scene]) -> None:
    stage = scene(Policy(edge="1/hour"))
    for number in range(1500):
        for _ in range(2):
            stage.get(client=(f"10.0.{number // 250}.{number % 250}", 1))
    assert stage.app._repeats is not None
    assert 0 < len(stage.app._repeats.kept) <= 1024


def test_other_costs_and_other_formats_are_decided_on_their_own(scene: Callable[..., Scene]) -> None:
    stage = scene(
        Policy(user="3/minute"), cost=lambda scope: int(dict(scope["headers"]).get(b"cost", b"2").decode())
    )
    assert [stage.get().status for _ in range(3)] == [200, 429, 429]
    assert stage.get(headers=[(b"accept", b"text/plain")]).one("content-type").startswith("text/plain")
    assert stage.get(method="HEAD").body == b""
    assert stage.get(headers=[(b"cost", b"1")]).status == 200


def _caller() -> Any:
    from threshold import Caller

    return Caller(address="203.0.113.9", user="u1", path="/")


async def _unban(stage: Scene) -> None:
    done = stage.app.threshold.unban("u1")
    if done is not None:
        await done


@pytest.mark.parametrize(("mode", "statuses"), [("local", [200, 429, 429]), ("deny", [503, 503, 503])])
def test_what_is_answered_in_place_of_a_store_that_is_away_is_not_kept(
    scene: Callable[..., Scene], mode: OnStoreError, statuses: list[int]
) -> None:
    policy = Policy(
        user="1/hour", endpoints={"GET /": "9/s"}, ladder=Ladder([Rung()]), on_store_error={"user": mode}
    )
    stage = scene(policy)
    stage.store.away = True
    assert [stage.get().status for _ in range(3)] == statuses
    assert stage.store.asked == 3
    stage.store.away = False
    assert stage.get().status == 200
