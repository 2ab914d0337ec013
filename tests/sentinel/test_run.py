from __future__ import annotations

import json

import pytest

from sentinel.errors import RecordError
from sentinel.histogram import Histogram
from sentinel.run import ErrorSample, Phase, RunRecord, Tick, plan_hash


def record() -> RunRecord:
    scenario: dict[str, object] = {"name": "tiny", "mix": {"blog-list": 1.0}}
    return RunRecord(
        id="r1",
        scenario=scenario,  # type: ignore[arg-type]
        plan_hash=plan_hash(scenario),  # type: ignore[arg-type]
        host={"cores": 2, "cpu": "a", "python": "3.11.7", "os": "Linux"},
        started_at="2026-01-02T03:04:05+00:00",
        model="open",
        status="partial",
        void_reasons=("lag",),
        planned=(3, 2),
        sent=(3, 2),
        done=(2, 3),
        lag=(Histogram([10, 20, 30]), Histogram([5, 6])),
        generator_cpu=(0.25, 0.5),
        others_cpu=(0.1, 0.2),
        users=(1.5, 2.0),
        in_flight=(1.0, 0.5),
        present=(20.0, 10.0),
        ticks=(
            Tick(0, "blog-list", "list", "ok", Histogram([1000, 2000, 3000]), Histogram([900, 1900, 2900])),
            Tick(1, "blog-list", "list", "denied", Histogram([500]), Histogram([400])),
            Tick(1, "blog-list", "list", "error", Histogram([700]), Histogram([600])),
        ),
        phases=(Phase("ramp-up", 0.0, 1.0), Phase("peak", 1.0, 2.0)),
        errors=(ErrorSample(1, "blog-list", "list", 500, "expected 200", 3),),
        counters={"retries": 1},
        served={("blog-list", "list"): (2, 1)},
    )


def test_a_record_comes_back_unchanged_through_json() -> None:
    assert RunRecord.from_dict(json.loads(json.dumps(record().to_dict()))) == record()


def test_a_record_of_the_time_before_answers_were_counted_by_series_can_be_read() -> None:
    older = {name: value for name, value in record().to_dict().items() if name != "served"}
    assert RunRecord.from_dict(older).served == {}


def test_counts_and_merged_response_times_cover_every_tick() -> None:
    run = record()
    assert run.counts() == {"ok": 3, "denied": 1, "shed": 0, "error": 1}
    assert run.response().count == 5
    assert run.response(tick for tick in run.ticks if tick.outcome == "ok").max == 3000
    assert run.void and run.seconds == 2


@pytest.mark.parametrize(
    "change", [{"schema": 99}, {"schema": None}, {"lag": 5}, {"ticks": [[1, 2]]}, {"phases": [["a"]]}]
)
def test_refuses_records_of_another_schema_or_damaged_ones(change: dict[str, object]) -> None:
    with pytest.raises(RecordError):
        RunRecord.from_dict({**record().to_dict(), **change})  # type: ignore[dict-item]


def test_refuses_a_record_with_a_missing_field() -> None:
    data = record().to_dict()
    del data["planned"]
    with pytest.raises(RecordError, match="planned"):
        RunRecord.from_dict(data)


def test_the_plan_hash_ignores_key_order_and_sees_every_value() -> None:
    assert plan_hash({"a": 1, "b": {"c": 2, "d": 3}}) == plan_hash({"b": {"d": 3, "c": 2}, "a": 1})
    assert plan_hash({"a": 1}) != plan_hash({"a": 2})
