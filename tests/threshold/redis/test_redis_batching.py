"""Async batching: together without delay, in order, bounded, and nobody harmed by who leaves."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from threshold import StoreUnavailable, TokenBucket
from threshold.plan import Outcome, Plan, Rule
from threshold.stores.redis import AsyncRedisStore
from threshold.stores.redis import line as redis_line

from .proxy import Proxy
from .servers import Server

RULE = Rule.of("u", "user", TokenBucket("1000/day"))


def plan_for(who: str) -> Plan:
    return Plan.of((RULE,), (RULE.scope + who,), 1, group=who)


@pytest.fixture
def proxy(shared_server: Server) -> Iterator[Proxy]:
    with Proxy(shared_server.socket) as proxy:
        yield proxy


@asynccontextmanager
async def store_at(url: str, **options: Any) -> AsyncIterator[AsyncRedisStore]:
    store = AsyncRedisStore(
        url, **{"prefix": secrets.token_hex(5), "budget": 10, "probe_interval": 0.01, **options}
    )
    deadline = time.monotonic() + 10
    while True:
        try:
            await store.decide(plan_for("warm"))
            break
        except StoreUnavailable:  # a budget too short for a connection on a busy machine, and no fault
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    yield store
    await store.aclose()


def test_asked_together_they_are_decided_in_the_order_of_asking(shared_server: Server) -> None:
    async def main() -> None:
        async with store_at(shared_server.url) as store:
            outcomes = await asyncio.gather(*(store.decide(plan_for("ann")) for _ in range(500)))
            assert [outcome.found[0][1] for outcome in outcomes] == list(range(999, 499, -1))

    asyncio.run(main())


def test_answers_come_in_the_order_of_asking_and_nobody_is_overtaken(shared_server: Server) -> None:
    async def main() -> None:
        finished: list[int] = []

        async def ask(store: AsyncRedisStore, number: int) -> None:
            await store.decide(plan_for(f"u{number % 7}"))
            finished.append(number)

        async with store_at(shared_server.url) as store:
            await asyncio.gather(*(ask(store, number) for number in range(300)))
        assert finished == list(range(300))

    asyncio.run(main())


def test_a_large_crowd_is_cut_into_commands_of_bounded_size(proxy: Proxy) -> None:
    async def main() -> None:
        async with store_at(proxy.url) as store:
            proxy.forget()
            await asyncio.gather(*(store.decide(plan_for(f"u{i}")) for i in range(200)))
            assert proxy.commands == [b"EVALSHA"] * -(-200 // redis_line.MOST)
            assert proxy.turns <= -(-200 // redis_line.MOST)

    asyncio.run(main())


def test_a_cancelled_waiter_harms_nobody_and_is_charged_at_most_once(shared_server: Server) -> None:
    async def main() -> None:
        async with store_at(shared_server.url) as store:
            for turns in range(6):  # cancelled before it is sent, and while it is under way
                who = f"ann{turns}"
                tasks = [asyncio.create_task(store.decide(plan_for(who))) for _ in range(30)]
                for _ in range(turns):
                    await asyncio.sleep(0)
                for task in tasks[::3]:
                    task.cancel()
                answers = await asyncio.gather(*tasks, return_exceptions=True)
                kept = [answer for i, answer in enumerate(answers) if i % 3]
                assert all(isinstance(answer, Outcome) and answer.allowed for answer in kept)
                left = (await store.decide(plan_for(who))).found[0][1]
                assert 1000 - 30 - 1 <= left <= 1000 - 20 - 1

    asyncio.run(main())


def test_the_queue_is_bounded_and_says_so_at_once(
    shared_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_line, "MOST_QUEUED", 100)

    async def main() -> None:
        async with store_at(shared_server.url) as store:
            waits = [store.decide(plan_for("ann")) for _ in range(150)]
            answers = await asyncio.gather(*waits, return_exceptions=True)
            refused = [answer for answer in answers if isinstance(answer, StoreUnavailable)]
            assert len(refused) == 50
            assert "nothing was charged" in str(refused[0])
            assert (await store.decide(plan_for("ann"))).found[0][1] == 1000 - 100 - 1

    asyncio.run(main())


def test_a_loop_that_was_busy_does_not_take_its_own_delay_for_the_servers(shared_server: Server) -> None:
    async def main() -> None:
        async with store_at(shared_server.url, budget=0.05) as store:
            for _ in range(3):
                waiting = asyncio.create_task(store.decide(plan_for("ann")))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                end = asyncio.get_running_loop().time() + 0.12
                while asyncio.get_running_loop().time() < end:  # a callback that hogs the loop
                    pass
                assert (await waiting).allowed

    asyncio.run(main())


def test_each_event_loop_has_connections_of_its_own(shared_server: Server) -> None:
    store = AsyncRedisStore(shared_server.url, prefix=secrets.token_hex(5), budget=10)

    async def twice() -> int:
        await store.decide(plan_for("ann"))
        return (await store.decide(plan_for("ann"))).found[0][1]

    async def and_close() -> int:
        left = await twice()
        await store.aclose()
        return left

    assert [asyncio.run(twice()), asyncio.run(and_close())] == [998, 996]


def test_uvloop_serves_as_well(shared_server: Server) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        async with store_at(shared_server.url) as store:
            outcomes = await asyncio.gather(*(store.decide(plan_for("ann")) for _ in range(200)))
            assert outcomes[-1].found[0][1] == 800

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_using_a_closed_store_is_an_error_with_a_name(shared_server: Server) -> None:
    async def main() -> None:
        store = AsyncRedisStore(shared_server.url, prefix=secrets.token_hex(5), budget=10)
        await store.decide(plan_for("ann"))
        await store.aclose()
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.decide(plan_for("ann"))
        await store.aclose()

    asyncio.run(main())


def test_decisions_around_another_command_keep_their_order(shared_server: Server) -> None:
    async def main() -> None:
        async with store_at(shared_server.url) as store:
            key = RULE.scope + "ann"
            before = [store.decide(plan_for("ann")) for _ in range(70)]
            after = [store.decide(plan_for("ann")) for _ in range(130)]
            answers = await asyncio.gather(*before, store.reset([key]), *after)
            left = [answer.found[0][1] for answer in answers if isinstance(answer, Outcome)]
            assert left == [*range(999, 929, -1), *range(999, 869, -1)]

    asyncio.run(main())


def test_batches_under_way_when_the_scripts_are_flushed_keep_their_order(own_server: Server) -> None:
    async def main() -> None:
        async with store_at(own_server.url) as store:
            for flushed in range(5):
                own_server.client().script_flush()
                waits = [store.decide(plan_for(f"ann{flushed}")) for _ in range(300)]
                outcomes = await asyncio.gather(*waits)
                assert [outcome.found[0][1] for outcome in outcomes] == list(range(999, 699, -1))

    asyncio.run(main())
