"""How a scenario is run, as opposed to what it is; and what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field

from sentinel.errors import check_range
from sentinel.pacer import Segment
from sentinel.recorder import Columns
from sentinel.run import RunRecord

MAX_AHEAD_S = 86_400  # whatever starts later than that is a slip of the pen


@dataclass(frozen=True, slots=True)
class Options:
    """Set how a scenario is run.

    segment: this process's share of the arrivals. start_at: Unix time of the start, at most a day ahead, for
    several processes at once; align_s: start at the next multiple of this many seconds of Unix time (0 to
    3,600; 0 starts at once). columns: keep every request, for audits; capture: name of a response header to
    keep with each of them. drain_s: how long to wait for answers after the load's end (0 to 300; the
    scenario's time-out unless given). cleanup_s: how long removing what the run created may take (0 to 600),
    with the waits that the target asks for. run_id: made up unless given.
    """

    segment: Segment = field(default_factory=Segment)
    start_at: float | None = None
    align_s: float = 0.0
    columns: bool = False
    capture: str | None = None
    drain_s: float | None = None
    cleanup_s: float = 120.0
    run_id: str | None = None

    def __post_init__(self) -> None:
        check_range("align_s", self.align_s, 0, 3600, "s")
        check_range("cleanup_s", self.cleanup_s, 0, 600, "s")
        if self.drain_s is not None:
            check_range("drain_s", self.drain_s, 0, 300, "s")


@dataclass(frozen=True, slots=True)
class Run:
    """Give the record of a run, and every single request when columns were asked for."""

    record: RunRecord
    columns: Columns | None = None
