"""Audits in virtual time: what keeps its promise passes, what does not is caught by the act made for it."""

from __future__ import annotations

import asyncio
import heapq
import random
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

from sentinel.audit import AuditResult, evaluate
from sentinel.audit_plan import SHARES, AuditPlan, plan_audit, seconds_needed
from sentinel.audit_run import run_audit
from sentinel.errors import ConfigurationError
from sentinel.exit_codes import ExitCode
from sentinel.observations import Observation
from sentinel.promise import Bucket, Promise, Window
from threshold import AsyncLimiter, Ladder, MemoryStore, Policy, Rung, SlidingWindow, TokenBucket
from threshold.asgi import ThresholdMiddleware

BUCKET, WINDOW = Bucket(500, 1_000_000, burst=50), Window(20, 2_000_000, precision=10)
Take = Callable[[str], Awaitable[tuple[bool, float | None]]]


class WarpLoop(asyncio.SelectorEventLoop):
    """Jump to the next timer instead of waiting for it."""

    _scheduled: list[Any]
    _ready: Any
    warped = 1_000.0

    def time(self) -> float:
        return self.warped

    def _run_once(self) -> None:
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
        if not self._ready and self._scheduled:
            self.warped = max(self.warped, self._scheduled[0]._when)
        super()._run_once()  # type: ignore[misc]


def audit(
    promise: Promise,
    make: Callable[[Callable[[], int]], Take],
    *,
    latency: tuple[float, float] = (0.0002, 0.004),
    judge_refusals: bool = True,
    judge_penalties: bool = False,
    **plan_options: Any,
) -> AuditResult:
    """Audit a limiter that is handed a clock in microseconds, through a network of random latency."""
    loop = WarpLoop()

    def clock_ns() -> int:
        return round(loop.time() * 1e9)

    async def wake(instant_ns: int) -> None:
        await asyncio.sleep(max(0.0, (instant_ns - clock_ns()) / 1e9))

    async def all_of_it(plan: AuditPlan) -> AuditResult:
        take, rng = make(lambda: clock_ns() // 1_000), random.Random(9)

        async def send(key: str) -> Observation:
            sent = clock_ns()
            await asyncio.sleep(rng.uniform(*latency))
            admitted, wait = await take(key)
            await asyncio.sleep(rng.uniform(*latency))
            return Observation(sent, clock_ns(), admitted, wait, 200 if admitted else 429)

        rows = await run_audit(plan, send, key_prefix="run-1/", clock=clock_ns, wake=wake)
        return evaluate(plan, rows, judge_refusals=judge_refusals, judge_penalties=judge_penalties)

    try:
        plan = plan_audit(promise, wall_s=loop.time() + 0.05, **{"budget_s": 40.0, **plan_options})
        return loop.run_until_complete(all_of_it(plan))
    finally:
        loop.close()


def product(limit: TokenBucket | SlidingWindow) -> Callable[[Callable[[], int]], Take]:
    """Put threshold's own limiter behind the network."""

    def make(clock: Callable[[], int]) -> Take:
        limiter = AsyncLimiter(limit, MemoryStore(clock=clock))

        async def take(key: str) -> tuple[bool, float | None]:
            decision = await limiter.acquire(key)
            return decision.allowed, None if decision.allowed else decision.retry_after

        return take

    return make


def fixed_window(limit: int, period_us: int, *, from_first: bool) -> Callable[[Callable[[], int]], Take]:
    def make(clock: Callable[[], int]) -> Take:
        opened: dict[str, int] = {}
        counts: dict[tuple[str, int], int] = defaultdict(int)

        async def take(key: str) -> tuple[bool, float | None]:
            now = clock()
            start = opened.get(key, now) if from_first else now // period_us * period_us
            if now >= start + period_us:
                start = now
            opened[key] = start
            counts[key, start] += 1
            return counts[key, start] <= limit, (start + period_us - now) / 1e6

        return take

    return make


@pytest.mark.parametrize(
    "limit", [TokenBucket("500/second", burst=50), SlidingWindow("20 per 2 seconds", precision=10)]
)
def test_the_products_own_limiter_keeps_its_promise_under_the_whole_traffic_set(
    limit: TokenBucket | SlidingWindow,
) -> None:
    promise = BUCKET if isinstance(limit, TokenBucket) else WINDOW
    result = audit(promise, product(limit))
    assert result.state == "kept", result.sentence
    assert result.exit_code is ExitCode.PASS and result.excess == 0 and result.control_refused
    assert not result.left_out
    assert result.retry_after.examined >= 3, "Retry-After was obeyed"
    assert {act.name for act in result.acts} >= {
        "control",
        "barrier",
        "many-keys",
        "boundary-clock",
        "boundary-first",
    }
    assert len([act for act in result.acts if act.name.startswith("steady-")]) == 2 * len(SHARES)
    by_name = {act.name: act for act in result.acts}
    assert by_name["many-keys"].refused > 0, "the hot key was far above its limit"
    assert by_name["steady-50-even"].refused == 0 and by_name["steady-400-even"].refused > 0
    assert any("would have been proven" in line for line in result.strength)
    assert any("waited for" in line for line in result.strength)


@pytest.mark.parametrize("per_second", [510, 490])
def test_a_rate_two_percent_off_is_caught(per_second: int) -> None:
    result = audit(BUCKET, product(TokenBucket(f"{per_second}/second", burst=50)))
    assert result.state == "broken" and result.exit_code is ExitCode.CHECK_FAILED
    assert (result.excess > 0) == (per_second > 500)
    assert result.wrong_refusal is not None and (result.wrong_refusal.proven > 0) == (per_second < 500)


@pytest.mark.parametrize(("from_first", "act"), [(False, "boundary-clock"), (True, "boundary-first")])
def test_a_fixed_window_is_caught_astride_its_boundary(from_first: bool, act: str) -> None:
    result = audit(WINDOW, fixed_window(20, 2_000_000, from_first=from_first))
    assert result.state == "broken"
    assert next(found for found in result.acts if found.name == act).excess >= 15


def test_a_race_between_check_and_set_is_caught_by_the_barrier() -> None:
    def make(clock: Callable[[], int]) -> Take:
        kept: dict[str, list[int]] = defaultdict(list)

        async def take(key: str) -> tuple[bool, float | None]:
            count = sum(1 for at in kept[key] if at > clock() - 2_000_000)
            await asyncio.sleep(0.0005)  # the round trip between the read and the write
            if count >= 20:
                return False, None
            kept[key].append(clock())
            return True, None

        return take

    result = audit(WINDOW, make, judge_refusals=False)
    assert next(found for found in result.acts if found.name == "barrier").excess > 20
    assert result.wrong_refusal is None and any("not judged" in line for line in result.strength)


def test_four_workers_with_a_store_each_are_caught() -> None:
    def make(clock: Callable[[], int]) -> Take:
        workers = [product(TokenBucket("500/second", burst=50))(clock) for _ in range(4)]
        rng = random.Random(1)
        return lambda key: rng.choice(workers)(key)

    assert audit(BUCKET, make, budget_s=12.0).excess > 500


def test_a_retry_after_that_lies_is_caught() -> None:
    def make(clock: Callable[[], int]) -> Take:
        honest = product(SlidingWindow("20 per 2 seconds", precision=10))(clock)

        async def take(key: str) -> tuple[bool, float | None]:
            admitted, wait = await honest(key)
            return admitted, None if wait is None else wait / 2

        return take

    result = audit(WINDOW, make)
    assert result.state == "broken" and result.retry_after.proven >= 3
    assert "Retry-After answers that did not hold" in result.sentence


def laddered(*rungs: Rung) -> Callable[[Callable[[], int]], Take]:
    """Put threshold's own middleware behind the network, with a ladder that strikes whoever is refused."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def make(clock: Callable[[], int]) -> Take:
        policy = Policy(
            user=TokenBucket("500/second", burst=50), ladder=Ladder(list(rungs)), strike_anonymous=True
        )
        guarded = ThresholdMiddleware(app, policy=policy, store=MemoryStore(clock=clock))
        addresses: dict[str, str] = {}

        async def take(key: str) -> tuple[bool, float | None]:
            address = addresses.setdefault(key, f"10.0.0.{len(addresses) + 1}")
            start: dict[str, Any] = {}

            async def send(message: Any) -> None:
                start.update(message if message["type"] == "http.response.start" else {})

            scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
            await guarded({**scope, "client": (address, 5000)}, _nothing, send)
            told = dict(start["headers"]).get(b"retry-after")
            return start["status"] == 200, None if told is None else float(told)

        return take

    return make


async def _nothing() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


def forgetful(penalty_s: int) -> Callable[[Callable[[], int]], Take]:
    """Announce a penalty with every refusal and never keep it."""

    def make(clock: Callable[[], int]) -> Take:
        honest = product(TokenBucket("500/second", burst=50))(clock)

        async def take(key: str) -> tuple[bool, float | None]:
            admitted, _ = await honest(key)
            return admitted, None if admitted else float(penalty_s)

        return take

    return make


def test_a_penalty_that_is_cut_short_is_proven_where_penalties_are_asked_about() -> None:
    result = audit(BUCKET, forgetful(5), judge_penalties=True, budget_s=20.0)
    assert result.state == "broken" and result.exit_code is ExitCode.CHECK_FAILED
    assert result.lost_penalty is not None and result.lost_penalty.proven > 100
    assert result.excess == 0 and "admissions inside a penalty that was announced" in result.sentence
    accusation = result.lost_penalty.accusations[0]
    found = re.fullmatch(
        r"admitted ([\d.]+) s after it was told to wait, ([\d.]+) s before its block could end",
        accusation.statement,
    )
    assert found and accusation.start_ns < accusation.end_ns
    assert any(re.match(r"penalties: \d+ penalties were announced; .* of these", s) for s in result.strength)


def test_a_conservative_retry_after_is_no_penalty_unless_one_asks() -> None:
    result = audit(BUCKET, forgetful(5), budget_s=20.0)
    assert result.state == "kept" and result.lost_penalty is None, result.sentence


def test_a_ladder_of_the_product_keeps_the_penalties_it_announces() -> None:
    result = audit(BUCKET, laddered(Rung(cooldown=3), Rung(ban=600)), judge_penalties=True)
    assert result.state == "kept", result.sentence
    assert result.lost_penalty is not None and result.lost_penalty.examined > 1_000
    assert result.wrong_refusal is None, "a penalty refuses below the limit, and may"
    assert result.retry_after.held and result.excess == 0
    many = next(line for line in result.strength if line.startswith("penalties: "))
    assert "0 of these admitted" in many


def test_an_audit_of_penalties_without_any_is_void_and_says_so() -> None:
    limit = TokenBucket("500/second", burst=50)
    result = audit(BUCKET, product(limit), judge_penalties=True, budget_s=20.0)
    assert result.state == "void" and result.exit_code is ExitCode.VOID
    assert result.sentence.endswith("but no penalty was announced")
    assert "penalties: no penalty was announced, so none can be said to hold" in result.strength
    assert not any(line.startswith("penalties") for line in audit(BUCKET, product(limit)).strength)


def test_a_wait_beyond_the_time_allowed_is_not_waited_for() -> None:
    result = audit(BUCKET, forgetful(3_600), budget_s=20.0)
    assert result.state == "kept" and result.retry_after.examined == 0
    assert any("no refusal could be waited for in the time allowed" in line for line in result.strength)
    assert audit(BUCKET, forgetful(10), budget_s=20.0).retry_after.examined > 0


def test_a_limiter_that_refuses_nothing_is_broken_and_one_that_cannot_be_asked_enough_is_void() -> None:
    async def yes(_: str) -> tuple[bool, float | None]:
        return True, None

    assert audit(BUCKET, lambda clock: yes, budget_s=12.0).state == "broken"
    slow = audit(Window(10_000, 1_000_000), lambda clock: yes, max_requests=5_000)
    assert slow.state == "void" and slow.exit_code is ExitCode.VOID
    assert "positive control did not fit" in slow.sentence


def test_a_target_that_does_not_answer_leaves_the_audit_void() -> None:
    plan = plan_audit(BUCKET, budget_s=5)
    rows = [(act.name, key, Observation(at, at + 1_000, None)) for act in plan.acts for at, key in act.sends]
    result = evaluate(plan, rows)
    assert result.state == "void" and not result.control_refused
    assert f"{len(rows):,} of {len(rows):,} requests had no usable answer" in result.sentence
    assert f"(no answer: {len(rows):,})" in result.sentence


def test_the_request_before_all_acts_counts_among_those_that_were_made() -> None:
    plan = plan_audit(BUCKET, budget_s=5)
    rows = [(act.name, key, Observation(at, at + 1_000, False)) for act in plan.acts for at, key in act.sends]
    result = evaluate(plan, [("first", "first", Observation(-5_000, -4_000, False)), *rows])
    every = len(rows) + 1
    assert result.requests == every
    assert f"({every:,} requests, {every:,} refused)" in result.sentence


def test_answers_that_may_not_be_the_limiters_make_an_audit_void_and_are_named() -> None:
    async def honest(plan: AuditPlan) -> AuditResult:
        rng, rows = random.Random(4), []
        limiter = AsyncLimiter(TokenBucket("500/second", burst=50), MemoryStore(clock=lambda: now // 1_000))
        for at, act, key in sorted((at, one.name, key) for one in plan.acts for at, key in one.sends):
            now = 1_000_000_000 + at
            status = rng.choice([401, 403]) if rng.random() < 0.5 else 200
            if status == 200 and not (await limiter.acquire(key)).allowed:
                status = 429
            admitted = {200: True, 429: False}.get(status)
            rows.append((act, key, Observation(now - 1_000, now + 1_000, admitted, None, status)))
        return evaluate(plan, rows)

    result = asyncio.run(honest(plan_audit(BUCKET, budget_s=30)))
    assert result.state == "void" and result.excess == 0, result.sentence
    assert dict(result.unusable).keys() == {401, 403} and "403: " in result.sentence
    assert any(
        "do not tell whether the limiter let a request through (40" in line for line in result.strength
    )


def test_five_per_five_minutes_is_tested_as_far_as_the_time_goes_and_says_what_is_missing() -> None:
    plan = plan_audit(Window(5, 300_000_000, 60), budget_s=20)
    assert [act.name for act in plan.acts] == ["control", "barrier", "many-keys"]
    missing = {left.name: left.reason for left in plan.left_out}
    assert missing["retry-after"] == "the wait may be 305.5 s; the time allowed is 20 s"
    assert missing["steady-105-even"] == "two windows take 600 s; the time allowed is 20 s"
    assert len(missing) == 4 + 2 * len(SHARES)
    result = audit(
        Window(5, 300_000_000, 60), product(SlidingWindow("5 per 5 minutes", precision=60)), budget_s=20.0
    )
    assert result.state == "void" and result.exit_code is ExitCode.VOID
    assert len(result.left_out) == len(plan.left_out)
    assert "nothing proven as far as tested" in result.sentence
    assert "a fixed window would pass as well; not tested: retry-after, idle-then-burst" in result.sentence
    broken = audit(
        Window(5, 300_000_000, 60), product(SlidingWindow("4 per 5 minutes", precision=60)), budget_s=20.0
    )
    assert broken.wrong_refusal is not None and broken.wrong_refusal.proven > 0


def test_with_all_the_time_of_an_hour_five_per_five_minutes_leaves_nothing_out() -> None:
    plan = plan_audit(Window(5, 300_000_000, 60), budget_s=3_000)
    assert not plan.left_out and plan.seconds <= 3_000


def test_what_is_left_out_is_named_with_the_time_it_needs() -> None:
    window, five = Window(5, 300_000_000, 60), product(SlidingWindow("5 per 5 minutes", precision=60))
    left = {one.name for one in plan_audit(window, budget_s=700).left_out}
    assert seconds_needed(window, left) == 1_800
    assert seconds_needed(Window(5, 366 * 86_400_000_000), {"boundary-first"}) is None
    result = audit(window, five, budget_s=700.0)
    assert result.state == "kept" and result.exit_code is ExitCode.PASS
    assert result.sentence.startswith("KEPT as far as tested: nothing proven") and left
    assert re.search(r"; not tested: .*\d+ steady loads$", result.sentence)


def test_one_key_for_all_is_audited_act_after_act_with_a_rest_between() -> None:
    plan = plan_audit(WINDOW, budget_s=300, single_key="me")
    spans = [(act.starts_s, act.starts_s + act.lasts_s) for act in plan.acts]
    assert all(later[0] >= earlier[1] + 2.2 for earlier, later in pairwise(spans))
    assert {key for act in plan.acts for _, key in act.sends} == {"me"}
    assert [left.name for left in plan.left_out] == ["many-keys"]
    result = audit(
        WINDOW, product(SlidingWindow("20 per 2 seconds", precision=10)), budget_s=300.0, single_key="me"
    )
    assert result.state == "kept", result.sentence


def test_the_plan_is_a_pure_function_of_its_arguments_and_keeps_its_bounds() -> None:
    assert plan_audit(BUCKET, seed=4) == plan_audit(BUCKET, seed=4) != plan_audit(BUCKET, seed=5)
    for promise in (BUCKET, WINDOW, Bucket(5, 60_000_000, 5), Window(1_000, 1_000_000, 10)):
        plan = plan_audit(promise, budget_s=30, max_requests=20_000)
        assert plan.requests <= 20_000 and plan.seconds <= 30
        for act in plan.acts:
            assert list(act.sends) == sorted(act.sends)
        names = {act.name for act in plan.acts} | {left.name for left in plan.left_out}
        assert len(names) == 7 + 2 * len(SHARES)


def test_bad_bounds_are_named() -> None:
    for option in ({"budget_s": 1}, {"max_rate": 0}, {"max_requests": 5}):
        with pytest.raises(ConfigurationError, match=next(iter(option)).removesuffix("_s")):
            plan_audit(BUCKET, **option)  # type: ignore[arg-type]


def test_a_sender_that_falls_behind_is_told_apart_from_the_traffic_it_was_meant_to_be() -> None:
    plan = plan_audit(WINDOW, budget_s=40)
    punctual = [(act.name, key, Observation(at, at + 1, True)) for act in plan.acts for at, key in act.sends]
    late = [
        (
            name,
            key,
            Observation(seen.sent_ns + 80_000_000 * (name == "barrier"), seen.done_ns + 80_000_000, True),
        )
        for name, key, seen in punctual
    ]
    assert all(act.late_ms == 0 for act in evaluate(plan, punctual).acts)
    result = evaluate(plan, late)
    assert {act.name: act.late_ms for act in result.acts}["barrier"] == 80.0
    assert any("late by up to 80 ms in barrier" in line for line in result.strength)
