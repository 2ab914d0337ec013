"""What one run was and what came back: the record that is stored, merged, judged and drawn.

Plain values only. How load is made, judged, stored or shown lives elsewhere; everything here survives
`to_dict` → JSON → `from_dict` unchanged.

Seconds are numbered from the start of the run. A request belongs to the second of its *intended* instant, so
a stall is charged to the second in which its victims should have been served.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast

from sentinel.errors import RecordError
from sentinel.histogram import Histogram

SCHEMA = 1

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = dict[str, Json]
Outcome = Literal["ok", "denied", "shed", "error"]
Status = Literal["complete", "partial"]
Model = Literal["open", "closed"]
OUTCOMES: tuple[Outcome, ...] = ("ok", "denied", "shed", "error")


def plan_hash(scenario: Mapping[str, Json]) -> str:
    """Give the SHA-256 of a scenario snapshot, the same for every order of its keys.

    >>> plan_hash({"a": 1, "b": 2}) == plan_hash({"b": 2, "a": 1})
    True
    """
    text = json.dumps(scenario, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Tick:
    """Hold one second of one series.

    second: 0 is the first of the run.
    application, step: whose requests these are.
    outcome: "ok", "denied" (a called-for 429), "shed" (503) or "error" (whatever else is not as expected).
    response: done − intended, nanoseconds; what criteria use.
    service: done − sent, nanoseconds; what the server alone took.
    """

    second: int
    application: str
    step: str
    outcome: Outcome
    response: Histogram
    service: Histogram

    @property
    def count(self) -> int:
        """Count the requests of this tick."""
        return self.response.count


@dataclass(frozen=True, slots=True)
class Phase:
    """Name a stretch of a run, in seconds from its start (start_s included, end_s not)."""

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class ErrorSample:
    """Keep one kind of error: where it was first seen, what it said, how often it came."""

    second: int
    application: str
    step: str
    status: int
    message: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Hold everything a run left behind.

    id: unique name of the run.
    scenario: snapshot of the plan, JSON-able; plan_hash: its SHA-256.
    host: fingerprint of the machine (cores, cpu, python, os).
    started_at: UTC, ISO 8601.
    model: "open" (sends at planned instants) or "closed" (waits for answers; under-reports stalls).
    status: "partial" when it was stopped early; void_reasons: why it proves nothing, empty when it does.
    planned, sent, done: requests per second: intended in it; of those, sent in time; answered in it.
    served: (application, step) → per second, requests answered as expected in it, up to the end of the load;
    empty if nobody counted.
    lag: per second, sent − intended in nanoseconds.
    generator_cpu: per second, share of one core used by the sending thread (0 .. 1).
    others_cpu: per second, share of the whole machine used by other processes, the server among them (0 ..
    1). users: per second, mean number of sessions under way; in_flight: mean number of unanswered requests.
    target_cpu, target_busiest: per second, cores used by the processes that serve the target, all together
    and the busiest alone; empty where they are not known. present: per second, how many users the load
    wanted, if it is one of users; else empty.
    ticks: all series, per second. phases: named stretches. errors: samples, at most a few dozen.
    left_behind: requests that were to remove what the run created and did not, with the reason, at most 20.
    counters: other counts, such as "retries" (idle connections dropped under a request) or "unsent".
    """

    id: str
    scenario: JsonObject
    plan_hash: str
    host: Mapping[str, str | int]
    started_at: str
    model: Model
    status: Status
    void_reasons: tuple[str, ...] = ()
    planned: tuple[int, ...] = ()
    sent: tuple[int, ...] = ()
    done: tuple[int, ...] = ()
    lag: tuple[Histogram, ...] = ()
    generator_cpu: tuple[float, ...] = ()
    others_cpu: tuple[float, ...] = ()
    users: tuple[float, ...] = ()
    in_flight: tuple[float, ...] = ()
    present: tuple[float, ...] = ()
    ticks: tuple[Tick, ...] = ()
    phases: tuple[Phase, ...] = ()
    errors: tuple[ErrorSample, ...] = ()
    counters: Mapping[str, int] = field(default_factory=dict)
    left_behind: tuple[str, ...] = ()
    target_cpu: tuple[float, ...] = ()
    target_busiest: tuple[float, ...] = ()
    served: Mapping[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)

    @property
    def void(self) -> bool:
        """Tell whether the run proves nothing."""
        return bool(self.void_reasons)

    @property
    def seconds(self) -> int:
        """Count the seconds the record covers."""
        return len(self.planned)

    def response(self, ticks: Iterable[Tick] | None = None) -> Histogram:
        """Merge the response times of some ticks; of all when none are given."""
        return Histogram.merged(tick.response for tick in (self.ticks if ticks is None else ticks))

    def counts(self) -> dict[Outcome, int]:
        """Count requests by outcome; every outcome has an entry."""
        totals: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
        for tick in self.ticks:
            totals[tick.outcome] += tick.count
        return totals

    def to_dict(self) -> JsonObject:
        """Turn it into JSON-able values, histograms as base64."""
        return {
            "schema": SCHEMA,
            "id": self.id,
            "scenario": self.scenario,
            "plan_hash": self.plan_hash,
            "host": dict(self.host),
            "started_at": self.started_at,
            "model": self.model,
            "status": self.status,
            "void_reasons": list(self.void_reasons),
            "planned": list(self.planned),
            "sent": list(self.sent),
            "done": list(self.done),
            "lag": [_text(part) for part in self.lag],
            "generator_cpu": list(self.generator_cpu),
            "others_cpu": list(self.others_cpu),
            "users": list(self.users),
            "in_flight": list(self.in_flight),
            "present": list(self.present),
            "ticks": [tick_to_list(tick) for tick in self.ticks],
            "phases": [[phase.name, phase.start_s, phase.end_s] for phase in self.phases],
            "errors": [[e.second, e.application, e.step, e.status, e.message, e.count] for e in self.errors],
            "counters": dict(self.counters),
            "left_behind": list(self.left_behind),
            "target_cpu": list(self.target_cpu),
            "target_busiest": list(self.target_busiest),
            "served": [[*name, list(counts)] for name, counts in self.served.items()],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Json]) -> RunRecord:
        """Read what `to_dict` wrote; raise RecordError for another schema or a damaged record."""
        if data.get("schema") != SCHEMA:
            raise RecordError(
                f"a run has the schema {data.get('schema')!r}; only schema {SCHEMA} can be read"
            )
        try:
            return cls._read(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RecordError(f"a run is damaged: {type(error).__name__}: {error}") from error

    @classmethod
    def _read(cls, data: Mapping[str, Json]) -> RunRecord:
        def numbers(name: str) -> list[int]:
            return cast("list[int]", data[name])

        return cls(
            id=cast(str, data["id"]),
            scenario=cast(JsonObject, data["scenario"]),
            plan_hash=cast(str, data["plan_hash"]),
            host=cast("dict[str, str | int]", data["host"]),
            started_at=cast(str, data["started_at"]),
            model=cast(Model, data["model"]),
            status=cast(Status, data["status"]),
            void_reasons=tuple(cast("list[str]", data["void_reasons"])),
            planned=tuple(numbers("planned")),
            sent=tuple(numbers("sent")),
            done=tuple(numbers("done")),
            lag=tuple(_histogram(part) for part in cast("list[str]", data["lag"])),
            generator_cpu=tuple(cast("list[float]", data["generator_cpu"])),
            others_cpu=tuple(cast("list[float]", data["others_cpu"])),
            users=tuple(cast("list[float]", data["users"])),
            in_flight=tuple(cast("list[float]", data["in_flight"])),
            present=tuple(cast("list[float]", data.get("present", []))),
            ticks=tuple(tick_from_list(row) for row in cast("list[list[Json]]", data["ticks"])),
            phases=tuple(Phase(*row) for row in cast("list[tuple[str, float, float]]", data["phases"])),
            errors=tuple(
                ErrorSample(*row) for row in cast("list[tuple[int, str, str, int, str, int]]", data["errors"])
            ),
            counters=cast("dict[str, int]", data["counters"]),
            left_behind=tuple(cast("list[str]", data.get("left_behind", []))),
            target_cpu=tuple(cast("list[float]", data.get("target_cpu", []))),
            target_busiest=tuple(cast("list[float]", data.get("target_busiest", []))),
            served={
                (application, step): tuple(counts)
                for application, step, counts in cast(
                    "list[tuple[str, str, list[int]]]", data.get("served", [])
                )
            },
        )


def tick_to_list(tick: Tick) -> list[Json]:
    """Turn a tick into a JSON-able row: second, application, step, outcome, response, service."""
    return [tick.second, tick.application, tick.step, tick.outcome, _text(tick.response), _text(tick.service)]


def tick_from_list(row: list[Json]) -> Tick:
    """Read a row that `tick_to_list` wrote."""
    second, application, step, outcome, response, service = cast(
        "tuple[int, str, str, Outcome, str, str]", row
    )
    return Tick(second, application, step, outcome, _histogram(response), _histogram(service))


def _text(histogram: Histogram) -> str:
    return base64.b64encode(histogram.to_bytes()).decode("ascii")


def _histogram(text: str) -> Histogram:
    return Histogram.from_bytes(base64.b64decode(text))
