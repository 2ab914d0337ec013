"""Shared by the tests of sentinel: runs against a queue whose capacity is known, without a server or a
second of waiting."""

from __future__ import annotations

import heapq
import socket
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from sentinel.histogram import Histogram
from sentinel.run import ErrorSample, Outcome, Phase, RunRecord, Tick, plan_hash


@pytest.fixture
def dead() -> Iterator[str]:
    """An address where nobody listens, and nobody can begin to while the test lasts."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


Simulate = Callable[..., RunRecord]
SERIES = (("post-read", "page"), ("post-read", "comments"), ("auth-flow", "token"))


def simulate_run(
    rates: Sequence[float],
    *,
    servers: int = 4,
    service_ms: float = 10.0,
    errors: float = 0.0,
    denied: float = 0.0,
    cpu: float = 0.3,
    phases: Sequence[tuple[str, float, float]] = (),
    seed: int = 1,
    run_id: str = "run-1",
) -> RunRecord:
    """Queue Poisson arrivals (one rate per second) first come, first served; capacity = servers / service
    time."""
    rng = np.random.default_rng(seed)
    free = [0.0] * servers
    heapq.heapify(free)
    samples: dict[tuple[int, str, str, Outcome], list[int]] = {}
    length = len(rates)
    planned, done, busy = [0] * length, [0] * length, np.zeros(length)
    served: dict[tuple[str, str], list[int]] = {}
    for second, rate in enumerate(rates):
        arrivals = np.sort(rng.random(rng.poisson(rate))) + second
        planned[second] = len(arrivals)
        for at, service in zip(arrivals, rng.gamma(4.0, service_ms / 4e3, len(arrivals)), strict=True):
            outcome: Outcome = "ok"
            draw = rng.random()
            application, step = SERIES[int(rng.integers(len(SERIES)))]
            if draw < denied:
                end, outcome = at + 0.0003, "denied"
            else:
                outcome = "error" if draw < denied + errors else "ok"
                end = max(at, heapq.heappop(free)) + service * (2.0 if step == "token" else 0.5)
                heapq.heappush(free, end)
            samples.setdefault((second, application, step, outcome), []).append(round((end - at) * 1e9))
            if end < length:
                done[int(end)] += 1
                if outcome == "ok":
                    served.setdefault((application, step), [0] * length)[int(end)] += 1
            for covered in range(second, min(int(end), length - 1) + 1):
                busy[covered] += min(end, covered + 1) - max(at, covered)
    ticks = tuple(
        Tick(*key, response=Histogram(values), service=Histogram(values))
        for key, values in sorted(samples.items())
    )
    scenario = {"name": "simulated", "rates": [float(rate) for rate in rates]}
    return RunRecord(
        id=run_id,
        scenario=scenario,  # type: ignore[arg-type]  # list[float] is a list of Json
        plan_hash=plan_hash(scenario),  # type: ignore[arg-type]
        host={"cores": 2, "cpu": "Testing CPU @ 3.0 GHz", "python": "3.11.7", "os": "Linux"},
        started_at="2026-01-02T03:04:05+00:00",
        model="open",
        status="complete",
        planned=tuple(planned),
        sent=tuple(planned),
        done=tuple(done),
        lag=tuple(Histogram([40_000] * max(count, 1)) for count in planned),
        generator_cpu=(0.4,) * length,
        others_cpu=(cpu,) * length,
        users=tuple(float(rate) / 10 for rate in rates),
        in_flight=tuple(float(value) for value in busy),
        ticks=ticks,
        phases=tuple(Phase(*phase) for phase in phases),
        errors=(ErrorSample(3, "auth-flow", "token", 500, "Internal Server Error", 7),) if errors else (),
        counters={"retries": 2},
        served={name: tuple(counts) for name, counts in served.items()},
    )


@pytest.fixture(scope="session")
def simulate() -> Simulate:
    """Give the simulator."""
    return simulate_run


@pytest.fixture(scope="session")
def bent_run() -> RunRecord:
    """Give a run that ramps past its knee (about 400/s), peaks, settles and winds down."""
    ramp = np.linspace(20, 520, 40).tolist()
    return simulate_run(
        [*ramp, *[520.0] * 10, *[150.0] * 40, *np.linspace(150, 5, 10).tolist()],
        cpu=0.48,
        errors=0.004,
        denied=0.03,
        phases=(("ramp-up", 0, 40), ("peak", 40, 50), ("steady", 50, 90), ("ramp-down", 90, 100)),
    )
