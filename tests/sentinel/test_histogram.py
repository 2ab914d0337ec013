from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.errors import ConfigurationError, RecordError
from sentinel.histogram import LARGEST, Histogram, bucket_edges, bucket_of

durations = st.lists(st.integers(0, LARGEST), max_size=200)


@given(st.lists(st.integers(0, LARGEST), min_size=1, max_size=200))
def test_every_value_lies_in_its_bucket_and_no_bucket_is_too_wide(values: list[int]) -> None:
    batch = np.array(values, np.int64)
    low, high = bucket_edges(bucket_of(batch))
    assert bool(((low <= batch) & (batch <= high)).all())
    assert bool(((high - low) * 128 < np.maximum(low, 1)).all())


def test_buckets_meet_without_gap_or_overlap_over_the_whole_range() -> None:
    last = int(bucket_of(np.array([LARGEST]))[0])
    low, high = bucket_edges(np.arange(last + 1))
    assert low[0] == 0
    assert high[-1] == LARGEST
    assert bool((low[1:] == high[:-1] + 1).all())


@given(durations, durations)
def test_merging_equals_counting_everything_at_once(first: list[int], second: list[int]) -> None:
    left, right = Histogram(first), Histogram(second)
    left.merge(right)
    assert left == Histogram(first + second) == Histogram.merged((Histogram(second), Histogram(first)))
    assert right == Histogram(second)


@given(durations)
def test_bytes_bring_back_the_same_histogram(values: list[int]) -> None:
    histogram = Histogram(values)
    again = Histogram.from_bytes(histogram.to_bytes())
    assert again == histogram
    assert (again.count, again.total, again.min, again.max) == (
        len(values),
        sum(values),
        min(values, default=0),
        max(values, default=0),
    )


@settings(max_examples=50)
@given(st.lists(st.integers(0, 10**11), min_size=20, max_size=2000), st.floats(1, 99))
def test_a_percentile_is_within_0_8_percent_of_the_sample_of_its_rank(values: list[int], p: float) -> None:
    answer = Histogram(values).percentile(p)
    rank = max(1, int(np.ceil(p * len(values) / 100 - 1e-9)))
    truth = sorted(values)[rank - 1]
    if len(values) - rank < 10:
        assert answer is None
    else:
        assert answer is not None
        assert abs(answer - truth) <= 0.008 * truth


def test_a_percentile_appears_with_the_tenth_sample_above_it() -> None:
    assert Histogram(range(199)).percentile(95) is None
    assert Histogram(range(200)).percentile(95) == 189
    assert Histogram().percentile(50) is None


def test_buckets_and_counts_above_can_be_read_for_charts_and_bootstraps() -> None:
    histogram = Histogram([1, 1, 1000, 1001, 50_000])
    low, high, counts = histogram.buckets()
    assert counts.tolist() == [2, 2, 1]
    assert low.tolist()[:2] == [1, 1000] and high.tolist()[:2] == [1, 1003]
    assert histogram.count_above(999) == 3
    assert histogram.value_at(5) == pytest.approx(50_000, rel=0.008)


@pytest.mark.parametrize("value", [-1, LARGEST + 1])
def test_refuses_samples_out_of_range(value: int) -> None:
    with pytest.raises(ConfigurationError, match=str(value) if value < 0 else "must be in 0"):
        Histogram([value])


@pytest.mark.parametrize("p", [0, 100, -5, float("nan")])
def test_refuses_percentiles_that_are_extremes(p: float) -> None:
    with pytest.raises(ConfigurationError, match="percentile"):
        Histogram(range(100)).percentile(p)


@pytest.mark.parametrize("data", [b"", b"\x02\x00", b"\x01\x80", b"\x01\x05\x00\x00\x00", b"\x01"])
def test_refuses_damaged_bytes(data: bytes) -> None:
    with pytest.raises(RecordError):
        Histogram.from_bytes(data)


def test_a_second_of_real_looking_traffic_takes_well_under_a_kilobyte() -> None:
    values = np.random.default_rng(1).lognormal(13, 0.5, 5000).astype(np.int64)
    assert len(Histogram(values).to_bytes()) < 1200
