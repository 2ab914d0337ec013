"""The sums over disjoint intervals are those of the plainest possible search."""

from __future__ import annotations

import random

import numpy as np
import pytest

from sentinel.excess import _disjoint, _Inside, _summed
from sentinel.observations import Observation, Observations
from sentinel.promise import Bucket
from sentinel.scale import Scale


def drawn(seed: int, count: int) -> Observations:
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        sent = rng.randrange(150)
        rows.append(Observation(sent, sent + rng.choice((0, 1, 5, 40)), True))
    return Observations.of(["ann"] * count, rows)


def plainly_summed(sent: list[int], done: list[int], token: int, tick: int, allowance: int) -> int:
    """Try every end and every beginning: the best up to an instant is kept, the rest recomputed."""
    best = 0
    ends = sorted({*sent, *done})
    up_to: dict[int, int] = {}
    for end in ends:
        for start in ends:
            if start > end:
                break
            inside = sum(at <= end for at in done) - sum(at < start for at in sent)
            before = max((value for at, value in up_to.items() if at < start), default=0)
            best = max(best, before + inside * token - (end - start) * tick - allowance)
        up_to[end] = best
    return -(-best // token)


@pytest.mark.parametrize("few", [1, 3, 64])
@pytest.mark.parametrize("dtype", [np.int64, object])
@pytest.mark.parametrize("seed", range(12))
def test_the_excess_of_a_bucket_is_summed_over_the_best_intervals(
    monkeypatch: pytest.MonkeyPatch, seed: int, dtype: type, few: int
) -> None:
    """However many steps are joined before the rest is taken one by one."""
    monkeypatch.setattr("sentinel.excess._FEW", few)
    rows = drawn(seed, 30)
    exact = Scale.of(Bucket(1, 1, 1), 0, 60, 1_000)
    for token, tick, allowance in ((10, 1, 15), (10, 3, 40), (7, 2, 8), (50, 1, 400)):
        scale = Scale(token, tick, dtype if dtype is object else exact.dtype)
        sent, done = np.sort(rows.sent_ns), np.sort(rows.done_ns)
        found = _summed(sent, done, scale, allowance)
        assert found == plainly_summed(sent.tolist(), done.tolist(), token, tick, allowance)


@pytest.mark.parametrize("seed", range(12))
def test_the_excess_of_a_window_is_summed_greatest_first(seed: int) -> None:
    rows = drawn(seed, 80)
    inside = _Inside.of(rows)
    for length, allowed in ((3, 1), (20, 2), (60, 5), (500, 10)):
        starts, counts = inside.within(length)
        pairs = list(zip(rows.sent_ns.tolist(), rows.done_ns.tolist(), strict=True))
        fitting = [(sent, done) for sent, done in pairs if done - sent <= length]
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
            wholly = sum(start <= sent and done <= start + length for sent, done in fitting)
            assert count <= wholly, "never more than there are"
        taken: list[int] = []
        total = 0
        for count, start in sorted(
            zip(counts.tolist(), starts.tolist(), strict=True), key=lambda pair: (-pair[0], pair[1])
        ):
            if count > allowed and all(abs(start - other) > length for other in taken):
                taken.append(start)
                total += count - allowed
        assert _disjoint(starts, counts, length, allowed) == total
