"""What a reader must know about a run besides its figures. Of a void run nothing is concluded."""

from __future__ import annotations

from operator import itemgetter
from typing import cast

from sentinel.knee import LoadStep
from sentinel.run import Json, JsonObject, RunRecord
from sentinel.verdict import stopped_words

LITTLE_WITHIN = 0.25


def notes(record: RunRecord, steps: tuple[LoadStep, ...]) -> tuple[str, ...]:
    """Say what limits the figures' meaning, and what the run left behind on the target."""
    told = []
    if record.model == "closed":
        told.append("closed model: users wait for answers, so stalls are under-reported")
    if record.status == "partial":
        told.append(f"partial: {stopped_words(record)}")
    cut = record.counters.get("cut_sessions", 0)
    if cut:
        sessions = (
            "1 session was cut short: it was" if cut == 1 else f"{cut:,} sessions were cut short: they were"
        )
        told.append(f"{sessions} not done when the run ended")
    unsent = record.counters.get("unsent", 0)
    if unsent:
        told.append(f"{unsent:,} of {sum(record.planned):,} planned requests were never sent")
    told += _left_behind(record)
    if not record.void:
        told += _little(steps)
    return tuple(told)


def _left_behind(record: RunRecord) -> list[str]:
    left = record.counters.get("left_behind", 0)
    if left:
        every = left + record.counters.get("cleaned", 0)
        more = left - len(record.left_behind)
        return [
            f"left behind on the target: {left:,} of {every:,} things that the run created",
            *(f"left behind: {named}" for named in record.left_behind),
            *([f"left behind: {more:,} more"] if record.left_behind and more else []),
        ]
    if record.counters.get("checkpoint") and not record.counters.get("running") and any(_creates(record)):
        return [
            f"left behind on the target: whatever {', '.join(_creates(record))} created, nothing was removed"
        ]
    return []


def _creates(record: RunRecord) -> list[str]:
    """Name the steps of the plan that create what has to be removed."""
    applications = cast("list[JsonObject]", record.scenario.get("applications", []))
    return [
        f"{application['name']}/{step['name']}"
        for application in applications
        for step in cast("list[dict[str, Json]]", application["steps"])
        if step.get("undo")
    ]


def _little(steps: tuple[LoadStep, ...]) -> list[str]:
    off = [(abs(step.little - 1), step) for step in steps if step.little is not None]
    share, worst = max(off, key=itemgetter(0), default=(0.0, None))
    if worst is None or share <= LITTLE_WITHIN:
        return []
    words = f"Little's law is off by {share:.0%} at {worst.offered:.0f} requests/s"
    return [f"{words}: the load was not steady there, read its latencies with care"]
