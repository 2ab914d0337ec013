"""The record of a run, put together from what was counted."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

from sentinel.histogram import Histogram
from sentinel.machine import fingerprint
from sentinel.recorder import Recorder, Totals
from sentinel.run import ErrorSample, RunRecord, plan_hash
from sentinel.scenario import Scenario
from sentinel.served import served_per_second
from sentinel.target_processes import TargetUse
from sentinel.void import judge

_Measured = TypeVar("_Measured")
_NOTHING = (0.0, 0.0, 0.0, 0.0)


def make_record(
    scenario: Scenario,
    recorder: Recorder,
    totals: Totals,
    *,
    run_id: str | None,
    started: datetime,
    seconds: int,
    stopped: bool,
    limit_ns: int,
    errors: tuple[ErrorSample, ...],
    counters: Mapping[str, int],
    left_behind: tuple[str, ...],
) -> RunRecord:
    """Build the record, and judge whether the run proves anything."""
    snapshot = scenario.snapshot()
    seconds = max(seconds, *(max(part, default=-1) + 1 for part in (totals.planned, totals.done)))
    lag = tuple(totals.lag.get(at) or Histogram() for at in range(seconds))
    planned, sent, done = (
        tuple(part.get(at, 0) for at in range(seconds)) for part in (totals.planned, totals.sent, totals.done)
    )
    beats = _per_second(totals.beats, seconds, _NOTHING)
    target = _per_second(totals.target, seconds, TargetUse(0.0, 0.0)) if totals.target else []
    generator_cpu = tuple(beat[0] for beat in beats)
    return RunRecord(
        id=run_id or f"{started:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
        scenario=snapshot,
        plan_hash=plan_hash(snapshot),
        host=fingerprint(),
        started_at=started.isoformat(),
        model=scenario.model,
        status="partial" if stopped else "complete",
        void_reasons=judge(lag, planned, sent, generator_cpu, limit_ns),
        planned=planned,
        sent=sent,
        done=done,
        lag=lag,
        generator_cpu=generator_cpu,
        others_cpu=tuple(beat[1] for beat in beats),
        users=tuple(beat[2] for beat in beats),
        in_flight=tuple(beat[3] for beat in beats),
        target_cpu=tuple(use.cores for use in target),
        target_busiest=tuple(use.busiest for use in target),
        served=served_per_second(totals.served, seconds),
        present=scenario.present(seconds),
        ticks=tuple(recorder.tick(at, code, *pair) for (at, code), pair in sorted(totals.ticks.items())),
        phases=scenario.load.phases(),
        errors=errors,
        counters={**counters, "unsent": totals.unsent},
        left_behind=left_behind,
    )


def _per_second(measured: Mapping[int, _Measured], seconds: int, nothing: _Measured) -> list[_Measured]:
    """Give one entry per second; what was never measured was spent in a stall: what followed covers it."""
    return [
        next((measured[second] for second in range(at, seconds) if second in measured), nothing)
        for at in range(seconds)
    ]
