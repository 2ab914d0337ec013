"""Segments of one run add up to the run; what is not exactly one run is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from sentinel.errors import RecordError
from sentinel.histogram import Histogram
from sentinel.run import ErrorSample, RunRecord
from sentinel.segments import merge_records

Simulate = Callable[..., RunRecord]


@pytest.fixture
def halves(simulate: Simulate) -> list[RunRecord]:
    made = []
    for index in (0, 1):
        run = simulate([40.0, 80.0, 20.0], seed=index + 1, errors=0.1, run_id=f"run-{index}")
        made.append(replace(run, counters={"segment": index, "segments": 2, "retries": 2 + index}))
    return made


def test_counts_add_up_and_histograms_merge(halves: list[RunRecord]) -> None:
    whole = merge_records(halves)
    assert whole.counts() == {name: sum(half.counts()[name] for half in halves) for name in whole.counts()}
    assert whole.planned == tuple(sum(pair) for pair in zip(*(half.planned for half in halves), strict=True))
    expected = Histogram.merged(half.response() for half in halves)
    assert whole.response().count == expected.count and whole.response().max == expected.max
    assert whole.response().percentile(95) == expected.percentile(95)
    assert whole.counters == {"retries": 5, "merged": 2}
    assert {name: sum(counts) for name, counts in whole.served.items()} == {
        name: sum(sum(half.served[name]) for half in halves) for name in halves[0].served
    }
    assert merge_records([halves[0], replace(halves[1], served={})]).served == {}, "one part was not counted"
    assert whole.users == tuple(sum(pair) for pair in zip(*(half.users for half in halves), strict=True))


def test_the_order_of_the_records_does_not_matter(halves: list[RunRecord]) -> None:
    assert merge_records(halves).to_dict() == merge_records(halves[::-1]).to_dict()


def test_the_same_error_is_counted_once_with_all_its_occurrences(halves: list[RunRecord]) -> None:
    (error,) = merge_records(halves).errors
    assert error == ErrorSample(3, "auth-flow", "token", 500, "Internal Server Error", 14)


def test_a_segment_that_proves_nothing_takes_the_whole_with_it(halves: list[RunRecord]) -> None:
    halves[1] = replace(halves[1], void_reasons=("too late",), status="partial")
    whole = merge_records(halves)
    assert whole.void_reasons == ("segment 1/2: too late",) and whole.status == "partial"


def test_several_hosts_are_named_as_a_fleet_in_any_order(halves: list[RunRecord]) -> None:
    other: dict[str, str | int] = {"cores": 8, "cpu": "Other CPU", "python": "3.12", "os": "Linux"}
    whole = merge_records([halves[0], replace(halves[1], host=other)])
    assert whole.host["cores"] == 10 and "Other CPU × 8" in str(whole.host["cpu"])
    assert merge_records(halves).host == halves[0].host


def test_segments_of_different_length_are_merged_to_the_longer(halves: list[RunRecord]) -> None:
    shorter = replace(halves[1], planned=halves[1].planned[:2], lag=halves[1].lag[:2])
    whole = merge_records([halves[0], shorter])
    assert len(whole.planned) == 3 and whole.planned[2] == halves[0].planned[2]
    assert len(whole.lag) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counters": {"segment": 0, "segments": 2}}, r"segment 0/2 is there twice: run-0 and run-1"),
        ({"counters": {"segment": 1, "segments": 3}}, r"segments of different runs"),
        ({"plan_hash": "another"}, r"segments of different runs"),
        ({"counters": {}}, r"run run-1 is no segment; only runs made with --segment"),
    ],
)
def test_what_is_not_one_run_is_refused(
    halves: list[RunRecord], change: dict[str, object], message: str
) -> None:
    with pytest.raises(RecordError, match=message):
        merge_records([halves[0], replace(halves[1], **change)])  # type: ignore[arg-type]


def test_a_missing_segment_is_named(halves: list[RunRecord]) -> None:
    three = [replace(half, counters={**half.counters, "segments": 3}) for half in halves]
    with pytest.raises(RecordError, match="missing segments: 2/3"):
        merge_records(three)
    with pytest.raises(RecordError, match="1 record given"):
        merge_records(halves[:1])
