"""The traffic of an audit as plain data: which requests to send when, for which key, and what each act can
find.

What a limiter does wrong shows only under traffic that provokes it: a fixed window passes every steady
overload and fails a burst astride its boundary. So the set is fixed, and an act that does not fit time,
rate or number of requests is left out by name and reason, never silently. Nothing here sends or judges.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil

from sentinel.errors import check_range
from sentinel.promise import Promise, Window

SHARES = (0.5, 0.95, 1.0, 1.05, 1.5, 4.0)
_SECOND = 1_000_000_000
_STEADY_S = 4.0
_TAIL_S = 0.5

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
    """Hold the whole traffic of an audit."""

    promise: Promise
    acts: tuple[Act, ...]
    left_out: tuple[LeftOut, ...]
    seconds: float

    @property
    def requests(self) -> int:
        """Count the planned requests."""
        return sum(len(act.sends) + len(act.obey) * act.requests for act in self.acts)


@dataclass(slots=True)
class _Stage:
    """Place acts on one timeline, side by side as far as the rate allows; acts use keys of their own."""

    promise: Promise
    budget_s: float
    max_rate: float
    max_requests: int
    single_key: str | None
    rest_s: float
    acts: list[Act] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def leave_out(self, name: str, reason: str) -> None:
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
        planned = sorted(sends)
        lasts = lasts_s if lasts_s is not None else (planned[-1][0] if planned else 0.0)
        count = len(planned) + len(obey) * requests
        used = sum(len(act.sends) + len(act.obey) * act.requests for act in self.acts)
        if used + count > self.max_requests:
            self.leave_out(name, f"its {count} requests go beyond the {self.max_requests} allowed")
            return
        start = self._start(peak, lasts) if at_s is None else at_s
        if start + lasts + _TAIL_S > self.budget_s:
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


def plan_audit(
    promise: Promise,
    *,
    budget_s: float = 60.0,
    max_rate: float = 2_000.0,
    max_requests: int = 100_000,
    seed: int = 0,
    wall_s: float = 0.0,
    single_key: str | None = None,
) -> AuditPlan:
    """Choose the acts that fit.

    `budget_s` is the time allowed (2 to 3,600 seconds), `max_rate` what the sender may send per second,
    `wall_s` the wall clock at the start, for windows that begin with the clock's. With `single_key` the
    target tells callers apart no further: all acts use that key, one after the other, with a full recovery
    between them.

    >>> plan = plan_audit(Window(5, 300_000_000, 60), budget_s=20)
    >>> [act.name for act in plan.acts]
    ['control', 'barrier', 'many-keys']
    >>> plan.left_out[-1].reason
    'two windows take 600 s; the time allowed is 20 s'
    """
    check_range("budget", budget_s, 2, 3_600, "s")
    check_range("max_rate", max_rate, 1, 1_000_000, "requests/s")
    check_range("max_requests", max_requests, 10, 10_000_000, "requests")
    held_s = promise.held_us / 1e6 if isinstance(promise, Window) else promise.burst * promise.wait_us / 1e6
    stage = _Stage(promise, budget_s, max_rate, max_requests, single_key, held_s + 0.1)
    rng = random.Random(seed)
    _control(stage)
    _barrier(stage)
    _many_keys(stage, rng)
    _retry_after(stage)
    _idle_then_burst(stage, held_s)
    _boundaries(stage, wall_s)
    for share in SHARES:
        for spacing in ("even", "poisson"):
            _steady(stage, share, spacing, rng)
    acts = tuple(sorted(stage.acts, key=lambda act: act.starts_s))
    return AuditPlan(
        promise, acts, tuple(stage.left_out), max((a.starts_s + a.lasts_s for a in acts), default=0.0)
    )


def _burst(count: int, key: str, stage: _Stage, start_s: float = 0.0) -> list[tuple[float, str]]:
    """Send a number of requests as fast as the sender may."""
    return [(start_s + number / stage.max_rate, key) for number in range(count)]


def _control(stage: _Stage) -> None:
    """Ask for clearly more than the promise: a limiter that refuses nothing here limits nothing at all."""
    capacity, rate = capacity_of(stage.promise), stage.promise.limit / (stage.promise.period_us / 1e6)
    lasts = (capacity + 10) / stage.max_rate
    if not isinstance(stage.promise, Window):
        if rate >= 0.8 * stage.max_rate:
            stage.leave_out("control", f"{rate:g} requests/s flow in; the sender may send {stage.max_rate:g}")
            return
        lasts = (capacity + 10) / (stage.max_rate - rate)
    count = ceil(1.3 * lasts * stage.max_rate)
    stage.place(
        "control", "a limit that is not enforced at all", _burst(count, "a", stage), peak=stage.max_rate
    )


def _barrier(stage: _Stage) -> None:
    """Let requests race for the last places: fill up to them, then release a crowd at one instant."""
    capacity = capacity_of(stage.promise)
    crowd = min(capacity, 100)
    filled = capacity - crowd
    gap = filled / stage.max_rate + (0.1 if filled else 0.0)
    keys = 1 if stage.single_key else max(1, min(10, 500 // (crowd + 1)))
    sends: list[tuple[float, str]] = []
    for number in range(keys):
        sends += _burst(filled, str(number), stage, number * gap)
        sends += [((number + 1) * gap + 0.02 * number, str(number))] * (2 * crowd + 5)
    stage.place("barrier", "a check and a set that can be raced", sends, peak=stage.max_rate / 2)


def _many_keys(stage: _Stage, rng: random.Random) -> None:
    """Keep many keys far below their limit beside one that is far above it: nobody may pay for another."""
    if stage.single_key:
        stage.leave_out("many-keys", "the target tells callers apart no further than one key")
        return
    quiet = max(1, capacity_of(stage.promise) // 4)
    lasts = 1.0
    sends = [(rng.uniform(0, lasts), f"quiet-{key}") for key in range(40) for _ in range(min(quiet, 5))]
    hot = min(3 * capacity_of(stage.promise) + 10, round(0.5 * stage.max_rate * lasts))
    sends += [(rng.uniform(0, lasts), "hot") for _ in range(hot)]
    stage.place(
        "many-keys", "keys that share a counter, or a hot key that starves others", sends, peak=hot + 200.0
    )


def _retry_after(stage: _Stage) -> None:
    """Exhaust a key, wait exactly as told, and try once more."""
    promise, capacity = stage.promise, capacity_of(stage.promise)
    wait_s = ceil((promise.held_us if isinstance(promise, Window) else promise.wait_us) / 1e6) + 0.5
    keys = ["a"] if stage.single_key else ["a", "b", "c"]
    lasts = wait_s + 1.5 * capacity / stage.max_rate + 0.5
    if lasts + _TAIL_S > stage.budget_s:
        stage.leave_out(
            "retry-after", f"the wait may be {wait_s:g} s; the time allowed is {stage.budget_s:g} s"
        )
        return
    finds = "a Retry-After after which one is refused again"
    stage.place(
        "retry-after",
        finds,
        (),
        peak=stage.max_rate / 4,
        obey=keys,
        requests=2 * capacity + 10,
        lasts_s=lasts,
    )


def _idle_then_burst(stage: _Stage, held_s: float) -> None:
    capacity = capacity_of(stage.promise)
    first = _burst(capacity, "a", stage)
    again = _burst(capacity + max(5, capacity // 4), "a", stage, capacity / stage.max_rate + held_s + 0.1)
    finds = "allowance that piles up while a key rests, or does not come back"
    stage.place("idle-then-burst", finds, [*first, *again], peak=stage.max_rate / 4)


def _boundaries(stage: _Stage, wall_s: float) -> None:
    """Burst on both sides of the boundaries a fixed window would have: the clock's, and one period after a
    first request."""
    period_s, capacity = stage.promise.period_us / 1e6, capacity_of(stage.promise)
    spread = capacity / stage.max_rate
    finds = "a fixed window, which admits twice the limit around its boundary"
    if spread > 0.45 * period_s:
        for name in ("boundary-first", "boundary-clock"):
            stage.leave_out(
                name, f"{capacity} requests at {stage.max_rate:g}/s do not fit into half a period"
            )
        return
    # The first request opens the window; the rest of it is used up just before it ends.
    before = _burst(capacity - 1, "a", stage, period_s - spread - 0.02)
    after = _burst(capacity, "a", stage, period_s + 0.02)
    stage.place("boundary-first", finds, [(0.0, "a"), *before, *after], peak=stage.max_rate / 4)
    edge = (wall_s // period_s + 1) * period_s - wall_s
    while edge < spread + 0.1 or (stage.single_key and edge - spread < _free(stage)):
        edge += period_s
    sends = [*_burst(capacity, "a", stage), *_burst(capacity, "a", stage, spread + 0.03)]
    stage.place("boundary-clock", finds, sends, peak=stage.max_rate, at_s=edge - spread - 0.015)


def _free(stage: _Stage) -> float:
    return max((act.starts_s + act.lasts_s + stage.rest_s for act in stage.acts), default=0.0)


def _steady(stage: _Stage, share: float, spacing: str, rng: random.Random) -> None:
    """Hold a share of the promised rate, evenly or at random."""
    promise, name = stage.promise, f"steady-{share:.0%}-{spacing}".replace("%", "")
    period_s = promise.period_us / 1e6
    rate = share * promise.limit / period_s
    if rate > stage.max_rate:
        stage.leave_out(name, f"{rate:g} requests/s; the sender may send {stage.max_rate:g}")
        return
    lasts = max(_STEADY_S, 2.2 * period_s) if isinstance(promise, Window) else _STEADY_S
    if isinstance(promise, Window) and 2 * period_s + _TAIL_S > stage.budget_s:
        stage.leave_out(
            name, f"two windows take {2 * period_s:g} s; the time allowed is {stage.budget_s:g} s"
        )
        return
    if not isinstance(promise, Window) and share > 1:
        lasts = max(lasts, 1.5 * (promise.burst + 5) / (rate - rate / share))
    lasts = max(lasts, 10 / rate, min(40 / rate, stage.budget_s / 3))
    if lasts + _TAIL_S > stage.budget_s:
        stage.leave_out(
            name, f"it says something after {lasts:.0f} s; the time allowed is {stage.budget_s:g} s"
        )
        return
    if spacing == "even":
        sends = [(number / rate, "a") for number in range(int(rate * lasts))]
    else:
        sends, at = [], rng.expovariate(rate)
        while at < lasts:
            sends.append((at, "a"))
            at += rng.expovariate(rate)
    finds = "a refusal below the limit" if share <= 1 else "a rate that is a little too high or too low"
    stage.place(name, finds, sends, peak=rate, lasts_s=lasts)
