"""Front ends while the store is away: each layer answers as its policy says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from failing_store import AwaitedStore, FailingStore

from threshold import (
    AsyncThreshold,
    Caller,
    Ladder,
    Policy,
    Rung,
    StoreUnavailable,
    Threshold,
    Verdict,
)
from threshold.plan import OnStoreError, Plan

Check = Callable[[Caller], Verdict]


def checks(policy: Policy) -> list[tuple[FailingStore, Check]]:
    """The synchronous and the asynchronous front end over stores that can fail."""
    plain, awaited = FailingStore(), AwaitedStore()
    guard, async_guard = Threshold(policy, plain), AsyncThreshold(policy, awaited)
    return [(plain, guard.check), (awaited.store, lambda caller: asyncio.run(async_guard.check(caller)))]


# One decision over all layers


@pytest.mark.parametrize("layer", ["edge", "tenant", "user", "endpoint"])
@pytest.mark.parametrize(("mode", "status"), [("allow", 200), ("deny", 503), ("local", 200)])
def test_each_layer_answers_for_itself_while_the_store_is_away(
    layer: str, mode: OnStoreError, status: int
) -> None:
    policy = Policy("9/h", "9/h", "9/h", {"/": "9/h"}, on_store_error={layer: mode})
    for store, check in checks(policy):
        store.away = True
        verdict = check(Caller("203.0.113.9", "t1", None, "u1"))
        assert (verdict.status, verdict.allowed) == (status, status == 200)


def test_deny_wins_over_every_other_answer() -> None:
    policy = Policy("9/h", user="9/h", on_store_error={"edge": "local", "user": "deny"})
    for store, check in checks(policy):
        store.away = True
        verdict = check(Caller("203.0.113.9", user="u1"))
        assert (verdict.status, verdict.retry_after, verdict.violated) == (503, None, ())
        assert verdict.headers == []


def test_local_decides_in_memory_only_for_the_layers_that_say_so() -> None:
    policy = Policy("1/h", user="3/h", on_store_error={"edge": "allow", "user": "local"})
    for store, check in checks(policy):
        store.away = True
        caller = Caller("203.0.113.9", user="u1")
        verdicts = [check(caller) for _ in range(4)]
        assert [verdict.status for verdict in verdicts] == [200, 200, 200, 429]
        assert verdicts[-1].violated == ("user",)
        assert check(Caller("203.0.113.9", user="u2")).allowed


def test_local_works_out_once_which_limits_it_decides() -> None:
    guard = Threshold(Policy("9/h", user="9/h", on_store_error={"user": "local"}), store := FailingStore())
    store.away = True
    for i in range(5):
        assert guard.check(Caller("203.0.113.9", user=f"u{i}")).allowed
    assert guard._local is not None and len(guard._local._founds) == 1


def test_local_keeps_the_ladder_going() -> None:
    policy = Policy(user="1/h", ladder=Ladder([Rung(ban=60)]), on_store_error="local")
    for store, check in checks(policy):
        store.away = True
        assert [check(Caller(user="u1")).banned for _ in range(3)] == [False, True, True]


def test_the_store_decides_again_as_soon_as_it_answers() -> None:
    policy = Policy(user="2/h", on_store_error="local")
    for store, check in checks(policy):
        caller = Caller(user="u1")
        check(caller)
        store.away = True
        assert [check(caller).status for _ in range(3)] == [200, 200, 429]
        store.away = False
        assert [check(caller).status for _ in range(2)] == [200, 429], (
            "what local charged is not carried over"
        )


def test_fail_closed_endpoints_are_503_and_the_rest_goes_on() -> None:
    for store, check in checks(Policy.default()):
        store.away = True
        assert check(Caller("203.0.113.9", user="u1", method="POST", path="/auth/login")).status == 503
        assert check(Caller("203.0.113.9", user="u1", method="POST", path="//auth//login/")).status == 503
        assert check(Caller("203.0.113.9", user="u1", method="POST", path="/billing/refund")).status == 503
        assert check(Caller("203.0.113.9", user="u1", method="POST", path="/api/posts")).status == 200


def test_a_dry_run_lets_through_even_when_the_store_is_away() -> None:
    for mode in ("deny", "local"):
        for store, check in checks(Policy(user="1/h", dry_run=True, on_store_error=mode)):
            store.away = True
            assert [check(Caller(user="u1")).status for _ in range(3)] == [200] * 3


def test_peek_and_unban_say_that_the_store_is_away() -> None:
    store = FailingStore()
    guard = Threshold(Policy(user="1/h", ladder=Ladder.default()), store=store)
    store.away = True
    with pytest.raises(StoreUnavailable):
        guard.peek(Caller(user="u1"))
    with pytest.raises(StoreUnavailable):
        guard.unban("u1")


def test_other_errors_of_a_store_are_not_swallowed() -> None:
    class Broken(FailingStore):
        def decide(self, plan: Plan) -> object:  # type: ignore[override]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Threshold(Policy(user="1/h"), store=Broken()).check(Caller(user="u1"))  # type: ignore[arg-type]


# Building
