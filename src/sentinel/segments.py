"""The segments of one run, made by several processes or hosts, put together into the run they are.

Everything that was counted adds up and histograms merge, so the whole is what one process would have
recorded. Nothing is left out quietly: a segment that is missing or comes twice is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest

from sentinel.cleanup import MOST_NAMED
from sentinel.errors import RecordError
from sentinel.histogram import Histogram
from sentinel.run import ErrorSample, RunRecord, Tick

MOST_ERRORS = 50


def merge_records(records: Sequence[RunRecord]) -> RunRecord:
    """Merge the records of all segments of one run.

    Raises RecordError when they are of different plans, when a segment is missing or there twice, or when one
    of them is a run of its own.
    """
    ordered = _complete(records)
    first = ordered[0]
    ticks: dict[tuple[int, str, str, str], Tick] = {}
    for tick in (tick for record in ordered for tick in record.ticks):
        key = (tick.second, tick.application, tick.step, tick.outcome)
        known = ticks.get(key)
        ticks[key] = tick if known is None else _both(known, tick)
    return replace(
        first,
        id=f"{first.id}-merged-{len(ordered)}",
        host=_host(ordered),
        started_at=min(record.started_at for record in ordered),
        status="partial" if any(record.status == "partial" for record in ordered) else "complete",
        void_reasons=_reasons(ordered),
        planned=_sums(record.planned for record in ordered),
        sent=_sums(record.sent for record in ordered),
        done=_sums(record.done for record in ordered),
        lag=tuple(
            Histogram.merged(part)
            for part in zip_longest(*(record.lag for record in ordered), fillvalue=Histogram())
        ),
        generator_cpu=_highest(record.generator_cpu for record in ordered),
        others_cpu=_highest(record.others_cpu for record in ordered),
        target_cpu=_highest(record.target_cpu for record in ordered),
        target_busiest=_highest(record.target_busiest for record in ordered),
        served=_served(ordered),
        users=_totals(record.users for record in ordered),
        in_flight=_totals(record.in_flight for record in ordered),
        present=max((record.present for record in ordered), key=len),
        ticks=tuple(ticks[key] for key in sorted(ticks)),
        errors=_errors(ordered),
        left_behind=tuple(line for record in ordered for line in record.left_behind)[:MOST_NAMED],
        counters=_counters(ordered),
    )


def _complete(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Put the segments in order; refuse any set that is not exactly one run."""
    if len(records) < 2:
        raise RecordError(f"{len(records)} record given; merging takes all segments of one run")
    for record in records:
        if record.counters.get("segments", 1) < 2:
            raise RecordError(
                f"run {record.id} is no segment; only runs made with --segment i/n can be merged"
            )
    counts = {record.counters["segments"] for record in records}
    plans = {record.plan_hash for record in records}
    if len(counts) > 1 or len(plans) > 1:
        raise RecordError("the records are segments of different runs: plan or number of segments differ")
    (count,) = counts
    by_index: dict[int, RunRecord] = {}
    for record in records:
        index = record.counters["segment"]
        if index in by_index:
            raise RecordError(f"segment {index}/{count} is there twice: {by_index[index].id} and {record.id}")
        by_index[index] = record
    missing = [f"{index}/{count}" for index in range(count) if index not in by_index]
    if missing:
        raise RecordError(f"missing segments: {', '.join(missing)}; the whole would be judged by its parts")
    return [by_index[index] for index in range(count)]


def _both(one: Tick, other: Tick) -> Tick:
    return replace(
        one,
        response=Histogram.merged((one.response, other.response)),
        service=Histogram.merged((one.service, other.service)),
    )


def _sums(parts: Iterable[Sequence[int]]) -> tuple[int, ...]:
    return tuple(sum(values) for values in zip_longest(*parts, fillvalue=0))


def _served(records: Sequence[RunRecord]) -> dict[tuple[str, str], tuple[int, ...]]:
    """Add up by series; of a run of which a part was not counted, nothing is."""
    if not all(record.served or not record.counts()["ok"] for record in records):
        return {}
    names = dict.fromkeys(name for record in records for name in record.served)
    return {name: _sums(record.served.get(name, ()) for record in records) for name in names}


def _totals(parts: Iterable[Sequence[float]]) -> tuple[float, ...]:
    return tuple(float(sum(values)) for values in zip_longest(*parts, fillvalue=0.0))


def _highest(parts: Iterable[Sequence[float]]) -> tuple[float, ...]:
    return tuple(max(values) for values in zip_longest(*parts, fillvalue=0.0))


def _reasons(records: Sequence[RunRecord]) -> tuple[str, ...]:
    """A segment that proves nothing takes the whole with it."""
    return tuple(
        f"segment {record.counters['segment']}/{record.counters['segments']}: {reason}"
        for record in records
        for reason in record.void_reasons
    )


def _host(records: Sequence[RunRecord]) -> dict[str, str | int]:
    """Keep the fingerprint of one host; name several as a fleet, comparable with the same fleet."""
    hosts = [dict(record.host) for record in records]
    if all(host == hosts[0] for host in hosts):
        return hosts[0]
    names = sorted(f"{host.get('cpu')} × {host.get('cores')}" for host in hosts)
    cores = sum(cores for host in hosts if isinstance(cores := host.get("cores", 0), int))
    return {"cores": cores, "cpu": "; ".join(names), "python": "", "os": f"{len(hosts)} segments"}


def _errors(records: Sequence[RunRecord]) -> tuple[ErrorSample, ...]:
    merged: dict[tuple[str, str, int, str], ErrorSample] = {}
    for error in (error for record in records for error in record.errors):
        key = (error.application, error.step, error.status, error.message)
        known = merged.get(key)
        merged[key] = (
            error
            if known is None
            else replace(known, second=min(known.second, error.second), count=known.count + error.count)
        )
    return tuple(sorted(merged.values(), key=lambda error: -error.count)[:MOST_ERRORS])


def _counters(records: Sequence[RunRecord]) -> dict[str, int]:
    total: dict[str, int] = {}
    for record in records:
        for name, value in record.counters.items():
            if name not in ("segment", "segments"):
                total[name] = total.get(name, 0) + value
    return {**total, "merged": len(records)}
