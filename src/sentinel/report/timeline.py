"""A run over time, as plain values: what happened in every second, and how response times spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sentinel.figures import by_second, latency
from sentinel.histogram import SAMPLES_ABOVE, Histogram
from sentinel.run import OUTCOMES, Json, JsonObject, RunRecord

_REACH_S = 3
_HEAT_COLUMNS = 120
_HEAT_PER_DECADE = 8


def timeline(record: RunRecord) -> JsonObject:
    """List per second what was planned, sent and answered, and latencies.

    A second seldom has enough samples for a p99: each percentile is over as few seconds around its own as
    give it ten samples above, at most three to either side.
    """
    seconds = by_second(record)
    times = [latency(ticks) for ticks in seconds]
    counts: dict[str, list[Json]] = {
        outcome: [sum(tick.count for tick in ticks if tick.outcome == outcome) for ticks in seconds]
        for outcome in OUTCOMES
    }
    percentiles: dict[str, list[Json]] = {
        f"p{p}_ms": [_around(times, second, p) for second in range(len(times))] for p in (50, 95, 99)
    }
    wanted: list[Json] = [*record.present, *[None] * record.seconds]
    return {
        "planned": list(record.planned),
        "sent": list(record.sent),
        "done": list(record.done),
        "users": list(record.users),
        "in_flight": list(record.in_flight),
        "planned_users": wanted[: record.seconds],
        "generator_cpu": list(record.generator_cpu),
        "others_cpu": list(record.others_cpu),
        "target_cpu": list(record.target_cpu) or [None] * record.seconds,
        "lag_p99_ms": [_around(record.lag, second, 99) for second in range(len(record.lag))],
        "lag_max_ms": [_largest(lag) for lag in record.lag],
        **counts,
        **percentiles,
        "max_ms": [_largest(part) for part in times],
    }


def _largest(part: Histogram) -> float | None:
    return round(part.max / 1e6, 4) if part.count else None


def _around(times: Sequence[Histogram], second: int, p: float) -> float | None:
    if not times[second].count:
        return None
    for reach in range(_REACH_S + 1):
        near = times[max(0, second - reach) : second + reach + 1]
        if sum(part.count for part in near) * (1 - p / 100) < SAMPLES_ABOVE:
            continue
        value = Histogram.merged(near).percentile(p)
        if value is not None:
            return round(value / 1e6, 4)
    return None


def heat_map(record: RunRecord) -> JsonObject | None:
    """Count requests by time and response time: at most 120 columns, eight rows to a factor of ten."""
    seconds = by_second(record)
    width = max(1, -(-len(seconds) // _HEAT_COLUMNS))
    columns = [
        latency(tick for second in seconds[start : start + width] for tick in second)
        for start in range(0, len(seconds), width)
    ]
    whole = Histogram.merged(columns)
    if not whole.count:
        return None
    first = int(np.floor(np.log10(max(whole.min, 1)) * _HEAT_PER_DECADE))
    last = int(np.floor(np.log10(max(whole.max, 1)) * _HEAT_PER_DECADE)) + 1
    edges = 10 ** (np.arange(first, last + 1) / _HEAT_PER_DECADE)
    cells: list[Json] = []
    for column in columns:
        low, high, counts = column.buckets()
        row = np.clip(np.searchsorted(edges, (low + high) / 2, "right") - 1, 0, last - first - 1)
        cells.append(np.bincount(row, weights=counts, minlength=last - first).astype(int).tolist())
    return {"column_s": width, "edges_ms": [round(float(edge) / 1e6, 6) for edge in edges], "columns": cells}
