"""The oracle never accuses a correct limiter, and catches every fault it exists for."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentinel.announcements import Block, lost_penalty, penalties, retry_after
from sentinel.errors import ConfigurationError
from sentinel.findings import Finding
from sentinel.observations import ADMITTED, REFUSED, UNKNOWN, Observation, Observations
from sentinel.oracle import over_admission, wrong_refusal
from sentinel.promise import Bucket, ClockTrust, Promise, Window, promise_of, settled_ns

from .limiters import Decide, arrivals, bucket, fixed_window, log, observe, per_process, racy_window, ring


def test_never_accuses_a_correct_limiter_in_a_thousand_random_histories() -> None:
    accused = []
    judged = {ADMITTED: 0, REFUSED: 0}

    @settings(max_examples=1_000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**48))
    def history(seed: int) -> None:
        rng = random.Random(seed)
        promise, decide = _correct(rng)
        seen = _random_traffic(rng, promise, decide)
        for outcome in judged:
            judged[outcome] += seen.count(outcome)
        drift = rng.choice((0, 500))
        for finding in _all_proofs(seen, promise, ClockTrust(drift_ppm=drift)):
            if not finding.held:
                accused.append((seed, finding.accusations[0]))
            assert finding.held, finding.accusations[0]

    history()
    assert not accused
    assert judged[ADMITTED] > 10_000 and judged[REFUSED] > 10_000, "the traffic must test both answers"


def _correct(rng: random.Random) -> tuple[Promise, Decide]:
    period_us = rng.choice((1_000, 50_000, 1_000_000, 60_000_000, 86_400_000_000))
    limit = rng.choice((1, 2, 5, 7, 30, 100))
    kind = rng.choice(("bucket", "ring", "log"))
    if kind == "bucket":
        burst = rng.choice((1, 2, limit, 3 * limit))
        return Bucket(limit, period_us, burst), bucket(limit, period_us, burst)
    if kind == "ring":
        precision = rng.choice((2, 10, 60))
        return Window(limit, period_us, precision), ring(limit, period_us, precision)
    return Window(limit, period_us), log(limit, period_us)


def _random_traffic(rng: random.Random, promise: Promise, decide: Decide) -> Observations:
    """Mix steady overload, bursts at one instant, idle gaps, edges of windows, and any latency; hide some
    answers."""
    period_s = promise.period_us / 1e6
    start = rng.uniform(0, 3) * period_s
    per_period = promise.limit * rng.choice((0.5, 0.95, 1.0, 1.05, 1.5, 4.0))
    rate = per_period / period_s
    sends = arrivals(rng, rate, min(120 / rate, 6 * period_s), start)
    for _ in range(rng.randint(0, 3)):
        edge = round(rng.choice((rng.uniform(0, 6), rng.randint(0, 6))) * period_s * 1e9) + round(start * 1e9)
        sends += [
            max(0, edge + rng.choice((-1, 0, 0, 0, 1, 1_000)))
            for _ in range(rng.randint(1, 2 * promise.limit))
        ]
    held_ns = settled_ns(promise)
    sends += [
        max(sends, default=0) + held_ns * gap for gap in range(2, rng.choice((2, 5)))
    ]  # retries after a rest
    keys = [f"key-{number}" for number in range(rng.choice((1, 1, 3)))]
    shape = rng.choice((0.0, 1e-3, 0.05, 1.0, 8.0)) * period_s * 1e9 / promise.limit

    def latency() -> int:
        return round(shape * rng.choice((0.0, rng.random(), rng.expovariate(1.0), rng.paretovariate(1.2))))

    seen = observe(decide, [(sent, rng.choice(keys)) for sent in sorted(sends)], latency, rng)
    if rng.random() < 0.3:  # answers that never came
        lost = np.array([rng.random() < 0.1 for _ in range(len(seen))], dtype=bool)
        seen.outcome[lost] = UNKNOWN
    return seen


def _all_proofs(seen: Observations, promise: Promise, clock: ClockTrust) -> list[Finding]:
    return [
        over_admission(seen, promise, clock),
        wrong_refusal(seen, promise, clock),
        wrong_refusal(seen, promise, clock, fresh=False),
        retry_after(seen, clock),
        retry_after(seen, clock, settled_ns=settled_ns(promise)),
    ]


def _latency(rng: random.Random) -> Callable[[], int]:
    return lambda: round(rng.uniform(200_000, 3_000_000))  # 0.2 to 3 ms


def _overload(decide: Decide, seconds: float = 12.0, rate: float = 750.0, seed: int = 5) -> Observations:
    rng = random.Random(seed)
    return observe(decide, [(at, "ann") for at in arrivals(rng, rate, seconds)], _latency(rng), rng)


BUCKET = Bucket(500, 1_000_000, burst=50)


def test_a_racy_check_then_set_is_proven_to_admit_too_much() -> None:
    rng = random.Random(3)
    sends = [(second * 1_000_000_000 + n * 20_000, "ann") for second in range(4) for n in range(300)]
    seen = observe(racy_window(100, 1_000_000, gap_us=800), sends, _latency(rng), rng)
    finding = over_admission(seen, Window(100, 1_000_000))
    assert finding.proven >= 20
    assert "at most 100 are allowed" in finding.accusations[0].statement


def test_a_bucket_two_percent_too_fast_is_proven_to_admit_too_much() -> None:
    finding = over_admission(_overload(bucket(510, 1_000_000, 50)), BUCKET)
    assert 60 <= finding.proven <= 120  # 12 s at 10 a second too many
    assert wrong_refusal(_overload(bucket(510, 1_000_000, 50)), BUCKET).held


def test_a_bucket_two_percent_too_slow_is_proven_to_refuse_what_it_owes() -> None:
    seen = _overload(bucket(490, 1_000_000, 50))
    finding = wrong_refusal(seen, BUCKET)
    assert finding.proven > 0.9 * seen.count(REFUSED)
    assert over_admission(seen, BUCKET).held


@pytest.mark.parametrize("precision", [10, 60])
def test_a_window_two_percent_off_is_proven_in_both_directions(precision: int) -> None:
    promise = Window(500, 1_000_000, precision)
    assert over_admission(_overload(ring(510, 1_000_000, precision)), promise).proven >= 9
    assert wrong_refusal(_overload(ring(490, 1_000_000, precision)), promise).proven >= 50
    for finding in _all_proofs(_overload(ring(500, 1_000_000, precision)), promise, ClockTrust()):
        assert finding.held


def test_a_fixed_window_posing_as_sliding_passes_poisson_overload_and_fails_astride_its_boundary() -> None:
    promise = Window(100, 1_000_000)
    steady = _overload(fixed_window(100, 1_000_000), rate=400.0)
    assert steady.count(REFUSED) > 1_000
    rng = random.Random(8)
    burst = [
        (1_000_000_000 + offset, "ann")
        for side in (-40_000_000, 5_000_000)
        for offset in range(side, side + 100 * 200_000, 200_000)
    ]
    finding = over_admission(observe(fixed_window(100, 1_000_000), burst, _latency(rng), rng), promise)
    assert finding.proven >= 95


def test_four_workers_with_a_store_each_are_proven_to_admit_too_much() -> None:
    def worker() -> Decide:
        return bucket(500, 1_000_000, 50)

    finding = over_admission(
        _overload(per_process(worker, 4, random.Random(2)), rate=3_000, seconds=3), BUCKET
    )
    assert finding.proven > 3_000


def test_a_penalty_that_was_lost_is_proven_by_an_admission_inside_the_block() -> None:
    block = Block.announced("ann", sent_ns=0, done_ns=2_000_000, seconds=60.0)
    rows = [
        Observation(0, 2_000_000, False, 60.0, 429),
        Observation(30_000_000_000, 30_001_000_000, True, None, 200),
        Observation(
            59_500_000_000, 59_501_000_000, True, None, 200
        ),  # within the rounding of a second: no proof
    ]
    finding = lost_penalty(Observations.of(["ann"] * 3, rows), [block])
    assert (finding.examined, finding.proven) == (1, 1)
    assert finding.accusations[0].start_ns == 30_000_000_000
    assert lost_penalty(Observations.of(["bob"] * 3, rows), [block]).held, (
        "another key's block proves nothing"
    )


def test_penalties_are_waits_beyond_what_the_limit_can_owe_and_repeating_one_makes_no_second() -> None:
    second = 1_000_000_000
    promise = Bucket(1, 4_000_000, burst=3)  # owes up to 4 s
    refusals = [(0, 5.0), (second, 60.0), (2 * second, 59.0), (70 * second, 30.0), (71 * second, None)]
    rows = [Observation(at, at + 1_000, False, wait, 429) for at, wait in refusals]
    seen = Observations.of(["ann"] * len(rows), rows)
    assert penalties(seen, promise) == (
        Block("ann", second + 1_000, 60 * second),
        Block("ann", 70 * second + 1_000, 99 * second),
    )
    assert penalties(seen, Bucket(1, 60_000_000, burst=3)) == (), "a limit may owe a minute"
    longer = [*rows[1:2], Observation(30 * second, 30 * second + 1_000, False, 60.0, 429)]
    (block,) = penalties(Observations.of(["ann"] * 2, longer), promise)
    assert block == Block("ann", second + 1_000, 89 * second), "prolonged before it can have ended"
    slow = Observation(0, 100 * second, False, 60.0, 429)
    assert penalties(Observations.of(["ann"], [slow]), promise) == (), "over before the answer came"
    drifting = ClockTrust(drift_ppm=100_000)
    assert len(penalties(Observations.of(["ann"] * 2, longer), promise, drifting)) == 1
    late = [rows[1], Observation(57 * second, 57 * second + 1_000, False, 60.0, 429)]
    assert len(penalties(Observations.of(["ann"] * 2, late), promise, drifting)) == 2


def test_a_retry_after_that_lies_is_proven_by_one_that_was_obeyed() -> None:
    def obey(decide: Decide) -> Observations:
        rng, now, rows = random.Random(1), 0, []
        for _ in range(40):
            sent, done = now, now + rng.randint(100_000, 900_000)
            admitted, wait = decide("ann", rng.randint(sent, done) // 1_000)
            rows.append(Observation(sent, done, admitted, wait))
            now = done + 1 if wait is None else done + max(round(wait * 1e9), 0) + 1_000
        return Observations.of(["ann"] * len(rows), rows)

    honest = retry_after(obey(bucket(2, 1_000_000, 2)))
    assert honest.held and honest.examined >= 10
    lying = retry_after(obey(bucket(2, 1_000_000, 2, lie=Fraction(1, 100))))
    assert lying.proven >= 10
    assert "refused again" in lying.accusations[0].statement


def test_a_retry_beside_other_traffic_proves_nothing_about_retry_after() -> None:
    rows = [
        Observation(0, 1_000, False, 1.0),
        Observation(500_000_000, 500_001_000, None),
        Observation(1_100_000_000, 1_100_001_000, False, 1.0),
    ]
    assert retry_after(Observations.of(["ann"] * 3, rows)).examined == 0


def test_keys_are_judged_apart() -> None:
    rows = [Observation(n * 1_000, n * 1_000 + 10, True) for n in range(10)]
    promise = Window(5, 1_000_000)
    assert over_admission(Observations.of(["ann", "bob"] * 5, rows), promise).held
    assert over_admission(Observations.of(["ann"] * 10, rows), promise).proven == 5


def test_the_last_request_of_a_legal_burst_is_owed_exactly_when_the_key_is_fresh() -> None:
    rows = [Observation(0, 10, True), Observation(20, 30, True), Observation(40, 50, False)]
    seen = Observations.of(["ann"] * 3, rows)
    for promise in (Bucket(3, 60_000_000, 3), Window(3, 60_000_000, 60)):
        assert wrong_refusal(seen, promise).proven == 1
        assert wrong_refusal(seen, promise, fresh=False).proven == 0
    for promise in (Bucket(2, 60_000_000, 2), Window(2, 60_000_000, 60)):
        assert wrong_refusal(seen, promise).held


def test_an_answer_that_never_came_may_have_used_up_the_limit() -> None:
    rows = [Observation(0, 10, None), Observation(20, 30, False)]
    assert wrong_refusal(Observations.of(["ann"] * 2, rows), Bucket(1, 60_000_000, 1)).held


def test_a_token_is_owed_one_tick_after_it_has_flowed_in_and_not_before() -> None:
    def refused_at(at_ns: int) -> int:
        rows = [Observation(0, 0, True), Observation(at_ns, at_ns, False)]
        return wrong_refusal(Observations.of(["ann"] * 2, rows), Bucket(1, 1_000_000, 1)).proven

    assert [refused_at(at) for at in (999_999_999, 1_000_000_999, 1_000_001_000)] == [0, 0, 1]


def test_two_admissions_one_tick_closer_than_the_window_convict_and_a_window_apart_do_not() -> None:
    def admitted_after(gap_ns: int) -> int:
        rows = [Observation(0, 0, True), Observation(gap_ns, gap_ns, True)]
        return over_admission(Observations.of(["ann"] * 2, rows), Window(1, 1_000_000)).proven

    assert [admitted_after(gap) for gap in (999_998_999, 1_000_000_000)] == [1, 0]


def test_a_clock_that_may_drift_is_given_the_benefit_of_the_doubt() -> None:
    rows = [Observation(0, 0, True), Observation(999_700_000, 999_700_000, True)]
    seen = Observations.of(["ann"] * 2, rows)
    assert over_admission(seen, Window(1, 1_000_000)).proven == 1
    assert over_admission(seen, Window(1, 1_000_000), ClockTrust(drift_ppm=500)).held
    assert over_admission(seen, Window(1, 1_000_000), ClockTrust(grain_ns=1_000_000)).held


def test_limits_too_large_for_64_bits_are_judged_exactly() -> None:
    day_us, limit = 86_400_000_000, 999_999_937  # a prime: nothing cancels
    promise = Bucket(limit, day_us, burst=3)
    rows = [Observation(n, n, True) for n in range(4)]
    assert over_admission(Observations.of(["ann"] * 4, rows), promise).proven == 1
    assert over_admission(Observations.of(["ann"] * 3, rows[:3]), promise).held
    rows[-1] = Observation(3 * day_us * 1_000, 3 * day_us * 1_000, False)
    assert wrong_refusal(Observations.of(["ann"] * 4, rows), promise).proven == 1


def test_the_finding_says_how_small_a_fault_it_would_have_seen() -> None:
    rng = random.Random(4)
    seen = observe(
        bucket(500, 1_000_000, 50), [(n * 1_000_000, "ann") for n in range(4_000)], _latency(rng), rng
    )
    over, wrong = over_admission(seen, BUCKET), wrong_refusal(seen, BUCKET)
    assert over.held and wrong.held
    assert over.blind is not None and 0 <= over.blind < 3
    assert wrong.blind is not None and 0 <= wrong.blind < 3
    nothing = Observations.of([], [])
    assert over_admission(nothing, BUCKET).blind is None and wrong_refusal(nothing, BUCKET).examined == 0


def test_a_hundred_thousand_requests_are_judged_within_a_fraction_of_a_second() -> None:
    rng = np.random.default_rng(1)
    sent = np.sort(rng.integers(0, 200_000_000_000, 100_000))
    done = sent + rng.integers(200_000, 3_000_000, 100_000)
    outcome = (rng.random(100_000) < 0.9).astype(np.int8)
    seen = Observations(sent, done, outcome, np.zeros(100_000, np.int64), np.full(100_000, -1), ("ann",))
    promise = Bucket(500, 1_000_000, 1_000)
    best = min(
        _timed(lambda: (over_admission(seen, promise), wrong_refusal(seen, promise))) for _ in range(3)
    )
    assert best < 0.5, "measured 0.03 s on a quiet core; ten times that means the algorithm changed"


def _timed(call: Callable[[], object]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Window(0, 1), "Window: limit must be a whole number of requests from 1"),
        (lambda: Bucket(1, 0, 1), "Bucket: period_us must be a whole number of microseconds"),
        (lambda: Bucket(1, 1, True), "burst"),
        (lambda: ClockTrust(grain_ns=-1), "grain_ns"),
        (lambda: promise_of("token-bucket", 5, 1, precision=4), "precision is 4"),
        (lambda: promise_of("sliding-window", 5, 1, burst=4), "burst is 4"),
        (lambda: promise_of("leaky", 5, 1), "algorithm"),  # type: ignore[arg-type]
        (lambda: Observations.of(["a"], []), "1 keys for 0 rows"),
        (lambda: Observations.of(["a"], [Observation(5, 4, True)]), "before it was sent"),
    ],
)
def test_bad_input_is_named(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build()


def test_a_promise_by_name_gives_a_bucket_its_limit_as_burst() -> None:
    assert promise_of("token-bucket", 5, 1_000) == Bucket(5, 1_000, 5)
    assert promise_of("sliding-window", 5, 1_000, precision=10) == Window(5, 1_000, 10)
