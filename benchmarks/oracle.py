"""How long sentinel's oracle takes to judge 100,000 requests: `python benchmarks/oracle.py`.

The histories are those of a limiter that keeps its promise, and of one that admits half as much again;
callers send twice the limit, and every decision falls anywhere between sending and answer. Checks that the
first is acquitted and the second convicted.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import numpy as np

from sentinel.observations import ADMITTED, NO_RETRY_AFTER, REFUSED, Observations
from sentinel.oracle import over_admission, wrong_refusal
from sentinel.promise import Bucket, Promise, Window

REQUESTS = 100_000
LIMIT, BURST = 500, 50
SECOND = 1_000_000_000
PROMISES: dict[str, Promise] = {
    "bucket": Bucket(LIMIT, 1_000_000, BURST),
    "window": Window(LIMIT, 1_000_000, 10),
}


def history(promise: Promise, keys: int, generous: float) -> Observations:
    """Make the requests of some callers, decided by a limiter that grants `generous` times the promise."""
    rng = np.random.default_rng(keys)
    parts = []
    for key in range(keys):
        count = REQUESTS // keys
        sent = np.cumsum(rng.exponential(SECOND / (2 * LIMIT), count)).astype(np.int64)
        took = (rng.gamma(2, 1e6, count) + 1e5).astype(np.int64)
        at = sent + (took * rng.random(count)).astype(np.int64)
        outcome = np.full(count, REFUSED, np.int8)
        order = np.argsort(at)
        decide = bucket(generous) if isinstance(promise, Bucket) else window(generous)
        outcome[order] = [ADMITTED if decide(instant) else REFUSED for instant in at[order].tolist()]
        parts.append((sent, sent + took, outcome, np.full(count, key, np.int64)))
    sent, done, outcome, owner = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(sent, kind="stable")
    silent = np.full(len(sent), NO_RETRY_AFTER, np.int64)
    names = tuple(f"caller-{key}" for key in range(keys))
    return Observations(sent[order], done[order], outcome[order], owner[order], silent, names)


def bucket(generous: float) -> Callable[[int], bool]:
    """Decide by tokens."""
    tokens, last = float(BURST), 0

    def decide(now: int) -> bool:
        nonlocal tokens, last
        tokens, last = min(BURST, tokens + (now - last) * LIMIT * generous / SECOND), now
        admitted = tokens >= 1
        tokens -= admitted
        return admitted

    return decide


def window(generous: float) -> Callable[[int], bool]:
    """Decide by an exact log."""
    kept: deque[int] = deque()

    def decide(now: int) -> bool:
        while kept and kept[0] <= now - SECOND:
            kept.popleft()
        admitted = len(kept) < LIMIT * generous
        if admitted:
            kept.append(now)
        return admitted

    return decide


def milliseconds(call: Callable[[], object]) -> float:
    """The median of seven."""
    times = []
    for _ in range(7):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return sorted(times)[3] * 1e3


def main() -> None:
    print(f"{'ms per 100,000 requests':<28}{'over-admission':>16}{'wrong refusal':>16}")
    for name, promise in PROMISES.items():
        for keys in (1, 100, 1_000):
            for word, generous in (("kept", 1.0), ("broken", 1.5)):
                seen = history(promise, keys, generous)
                if over_admission(seen, promise).held != (generous == 1.0) and keys == 1:
                    raise SystemExit(f"{name}, {keys} keys: the oracle did not say {word}")
                if not wrong_refusal(seen, promise).held:
                    raise SystemExit(f"{name}, {keys} keys: a refusal was called wrong")
                over = milliseconds(lambda seen=seen, promise=promise: over_admission(seen, promise))
                wrong = milliseconds(lambda seen=seen, promise=promise: wrong_refusal(seen, promise))
                print(f"{f'{name} {word}, {keys:,} callers':<28}{over:>16.1f}{wrong:>16.1f}")


if __name__ == "__main__":
    main()
