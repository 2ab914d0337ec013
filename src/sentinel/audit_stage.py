"""The timeline of an audit: acts placed side by side as far as time, rate and number of requests allow."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

from sentinel.promise import Promise, Window

_SECOND = 1_000_000_000
TAIL_S = 0.5
CROWD = 5  # requests beyond the capacity that make sure a key is exhausted

Sends = tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Act:
    """Hold one piece of traffic: `sends` are (nanoseconds from the start of the audit, key), in order.

    `obey` lists keys that are exhausted and then wait as told before they try once more; `requests` is how
    many requests that takes per key.
    """

    name: str
    finds: str
    sends: Sends = ()
    obey: tuple[str, ...] = ()
    requests: int = 0
    starts_s: float = 0.0
    lasts_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Name an act that is not part of the audit, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """Hold the whole traffic of an audit, and the seconds it is allowed."""

    promise: Promise
    acts: tuple[Act, ...]
    left_out: tuple[LeftOut, ...]
    seconds: float
    budget_s: float = inf

    @property
    def requests(self) -> int:
        """Count the planned requests."""
        return sum(len(act.sends) + len(act.obey) * act.requests for act in self.acts)


@dataclass(slots=True)
class Stage:
    """Place acts on one timeline, side by side as far as the rate allows; acts use keys of their own."""

    promise: Promise
    budget_s: float
    max_rate: float
    max_requests: int
    single_key: str | None
    rest_s: float
    only: Collection[str] | None = None
    acts: list[Act] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def leave_out(self, name: str, reason: str) -> None:
        """Leave an act out, for a reason."""
        if self.only is None or name in self.only:
            self.left_out.append(LeftOut(name, reason))

    def place(
        self,
        name: str,
        finds: str,
        sends: Iterable[tuple[float, str]],
        *,
        peak: float = 0.0,
        at_s: float | None = None,
        obey: Sequence[str] = (),
        requests: int = 0,
        lasts_s: float | None = None,
    ) -> None:
        """Add an act whose sends are (seconds from its start, key), or leave it out with the reason."""
        if self.only is not None and name not in self.only:
            return
        planned = sorted(sends)
        lasts = lasts_s if lasts_s is not None else (planned[-1][0] if planned else 0.0)
        count = len(planned) + len(obey) * requests
        used = sum(len(act.sends) + len(act.obey) * act.requests for act in self.acts)
        if used + count > self.max_requests:
            self.leave_out(
                name, f"with its {count:,} requests there are more than the {self.max_requests:,} allowed"
            )
            return
        start = self._start(peak, lasts) if at_s is None else at_s
        if start + lasts + TAIL_S > self.budget_s:
            self.leave_out(
                name,
                f"it ends {start + lasts:.1f} s after the start; the time allowed is {self.budget_s:g} s",
            )
            return
        self.acts.append(
            Act(
                name,
                finds,
                tuple(
                    (round((start + offset) * _SECOND), self.single_key or f"{name}/{key}")
                    for offset, key in planned
                ),
                tuple(self.single_key or f"{name}/{key}" for key in obey),
                requests,
                start,
                lasts,
            )
        )
        self.peaks.append(peak)

    def burst_peak(self, lasts_s: float) -> float:
        """Return the rate to reserve for an act that bursts and rests: all of it, unless it rests for
        long."""
        return self.max_rate if lasts_s < 2.0 else self.max_rate / 4

    def _start(self, peak: float, lasts: float) -> float:
        """Find the earliest start at which the acts under way leave room for the peak rate."""
        if self.single_key is not None:
            return max((act.starts_s + act.lasts_s + self.rest_s for act in self.acts), default=0.0)
        candidates = sorted({0.0, *(act.starts_s + act.lasts_s + 0.05 for act in self.acts)})
        for start in candidates:
            beside = sum(
                other
                for act, other in zip(self.acts, self.peaks, strict=True)
                if act.starts_s < start + lasts and start < act.starts_s + act.lasts_s
            )
            if beside + peak <= self.max_rate:
                return start
        return candidates[-1]


def capacity_of(promise: Promise) -> int:
    """Return how many requests a fresh key may make at once."""
    return promise.limit if isinstance(promise, Window) else promise.burst
