"""How often `sentinel compare` claims a regression of unchanged code, and how often it catches a slower
build: `python benchmarks/false_alarms.py`, a minute.

Simulated are the five figures of each run: three latencies with a spread from run to run, part of it common
to all three and, in some series, carried over from one run to the next; every twentieth run on a bad machine;
errors by chance; a throughput that hardly moves. All comparisons are made by sentinel's own rule. Fails if it
cries wolf more often than promised where runs say nothing of each other.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from sentinel.baseline import BEFORE, LATEST, compare

PROMISED = 0.01
COMPARISONS, BUILDS = 3_000, 200
LATENCIES = (("p50_ms", 10.0), ("p95_ms", 40.0), ("p99_ms", 80.0))

Run = tuple[str, dict[str, float | None]]


@dataclass(frozen=True, slots=True)
class Noise:
    """State what differs between runs of one build.

    spread: of the logarithm of each latency. common: the share of its variance that all three have in common.
    carried: the correlation of one run with the next.
    """

    spread: float
    common: float = 0.0
    carried: float = 0.0


def series(rng: np.random.Generator, noise: Noise, runs: int, *, slower: float = 1.0) -> list[Run]:
    """Draw runs of one build, oldest first; the latest five are `slower` times as slow."""
    draws = rng.normal(size=(runs, 4))
    moods = draws.copy()
    for run in range(1, runs):
        moods[run] = noise.carried * moods[run - 1] + np.sqrt(1 - noise.carried**2) * draws[run]
    mixed = np.sqrt(noise.common) * moods[:, 3:] + np.sqrt(1 - noise.common) * moods[:, :3]
    factor = np.exp(noise.spread * mixed)
    factor *= np.where(rng.random(runs) < 0.05, rng.uniform(1.1, 1.6, runs), 1.0)[:, None]
    factor[runs - LATEST :] *= slower
    errors = rng.binomial(5_000, 0.002, runs) / 5_000
    throughput = 500 * np.exp(-0.002 * np.abs(rng.normal(size=runs)))
    found: list[Run] = []
    for run in range(runs):
        figures: dict[str, float | None] = {
            name: base * float(factor[run, column]) for column, (name, base) in enumerate(LATENCIES)
        }
        figures |= {"error_rate": float(errors[run]), "throughput": float(throughput[run])}
        found.append((f"r{run}", figures))
    return found


def claimed(runs: list[Run], at: int) -> bool:
    """Compare one run with those before it and tell whether a regression was claimed."""
    return compare(*runs[at], runs[:at]).state == "regression"


def false_alarms(noise: Noise) -> float:
    """Measure the share of comparisons of one build that claim a regression, each over runs of its own."""
    rng = np.random.default_rng(20)
    runs = BEFORE + LATEST
    return sum(claimed(series(rng, noise, runs), runs - 1) for _ in range(COMPARISONS)) / COMPARISONS


def caught(noise: Noise, slower: float) -> float:
    """Measure how often five runs of a slower build bring at least one claim."""
    rng = np.random.default_rng(21)
    told, runs = 0, 2 * BEFORE + LATEST
    for _ in range(BUILDS):
        drawn = series(rng, noise, runs, slower=slower)
        told += any(claimed(drawn, at) for at in range(runs - LATEST, runs))
    return told / BUILDS


def main() -> int:
    """Print both tables and return the exit status."""
    kept = True
    print(f"a regression claimed of unchanged code, of {COMPARISONS:,} comparisons")
    for spread in (0.04, 0.10, 0.15):
        for common in (0.0, 0.8):
            share = false_alarms(Noise(spread, common))
            kept = kept and share < PROMISED
            print(f"  {spread:.0%} spread, {common:.0%} of it common: {share:.1%}", flush=True)
    for carried in (0.3, 0.5, 0.8):
        share = false_alarms(Noise(0.06, 0.8, carried))
        print(f"  6% spread, 80% of it common, next runs correlated by {carried}: {share:.1%}", flush=True)
    print(f"a slower build caught within five runs, of {BUILDS}")
    for spread in (0.04, 0.06, 0.10):
        shares = (f"{by - 1:.0%} slower: {caught(Noise(spread, 0.8), by):.0%}" for by in (1.1, 1.15, 1.3))
        print(f"  {spread:.0%} spread, {', '.join(shares)}", flush=True)
    print("promise kept" if kept else f"promise broken: fewer than {PROMISED:.0%} where runs are independent")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
