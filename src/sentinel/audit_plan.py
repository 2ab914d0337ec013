"""The traffic of an audit as plain data: which requests to send when, for which key, and what each act can
find.

What a limiter does wrong shows only under traffic that provokes it: a fixed window passes every steady
overload and fails a burst astride its boundary. So the set is fixed, and an act that does not fit time,
rate or number of requests is left out by name and reason, never silently. Nothing here sends or judges.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from math import ceil

from sentinel.audit_stage import CROWD, TAIL_S, Act, AuditPlan, LeftOut, Stage, capacity_of
from sentinel.errors import check_range
from sentinel.promise import Promise, Window

__all__ = [
    "BACK_AND_FORTH",
    "BOUNDARIES",
    "CROWD",
    "ENDLESS_S",
    "SHARES",
    "Act",
    "AuditPlan",
    "LeftOut",
    "capacity_of",
    "plan_audit",
    "seconds_needed",
]

SHARES = (0.5, 0.95, 1.0, 1.05, 1.5, 4.0)
LONGEST_S = 3_600.0
_BUDGETS_S = (5, 10, 20, 30, 60, 120, 300, 600, 900, 1_200, 1_800, 2_700, 3_600)
ENDLESS_S = 1e9  # the time allowed where waits cost nothing
BOUNDARIES = ("boundary-first", "boundary-clock")
BACK_AND_FORTH = (
    *BOUNDARIES,
    "idle-then-burst",
    *(f"steady-{share}-{spacing}" for share in (105, 150, 400) for spacing in ("even", "poisson")),
)
_STEADY_S = 4.0


def plan_audit(
    promise: Promise,
    *,
    budget_s: float = 60.0,
    max_rate: float = 2_000.0,
    max_requests: int = 100_000,
    seed: int = 0,
    wall_s: float = 0.0,
    single_key: str | None = None,
    only: Collection[str] | None = None,
) -> AuditPlan:
    """Choose the acts that fit.

    `budget_s` is the time allowed (2 seconds to 3,600, or ENDLESS_S), `max_rate` what the sender may send per
    second, `wall_s` the wall clock at the start, for windows that begin with the clock's. With `single_key`
    the target tells callers apart no further: all acts use that key, one after the other, with a full
    recovery between them. With `only` the other acts are not thought of.

    >>> plan = plan_audit(Window(5, 300_000_000, 60), budget_s=20)
    >>> [act.name for act in plan.acts]
    ['control', 'barrier', 'many-keys']
    >>> plan.left_out[-1].reason
    'two windows take 600 s; the time allowed is 20 s'
    """
    if budget_s != ENDLESS_S:
        check_range("budget", budget_s, 2, LONGEST_S, "s")
    check_range("max_rate", max_rate, 1, 1_000_000, "requests/s")
    check_range("max_requests", max_requests, 10, 10_000_000, "requests")
    held_s = promise.held_us / 1e6 if isinstance(promise, Window) else promise.burst * promise.wait_us / 1e6
    stage = Stage(promise, budget_s, max_rate, max_requests, single_key, held_s + 0.1, only)
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
        promise,
        acts,
        tuple(stage.left_out),
        max((a.starts_s + a.lasts_s for a in acts), default=0.0),
        budget_s,
    )


def seconds_needed(
    promise: Promise,
    left_out: Collection[str],
    *,
    max_rate: float = 2_000.0,
    max_requests: int = 100_000,
    single_key: str | None = None,
    skipping_per_s: int = 0,
) -> int | None:
    """Give the shortest of some budgets, in seconds, that has room for all acts named that any has room for.

    None where no budget of at most an hour adds one. `skipping_per_s`: what has no room can be made with its
    waits skipped in the time left over, at so many requests per second.

    >>> seconds_needed(Window(5, 300_000_000, 60), {"boundary-first", "boundary-clock"})
    600
    """
    fewest, found = len(left_out), None
    options = {"max_rate": max_rate, "single_key": single_key}
    for budget_s in _BUDGETS_S:
        plan = plan_audit(promise, budget_s=budget_s, max_requests=max_requests, **options)  # type: ignore[arg-type]
        missing = {left.name for left in plan.left_out}
        if missing and skipping_per_s:
            most = max(10, min(max_requests, round((budget_s - plan.seconds) * skipping_per_s)))
            plan = plan_audit(promise, budget_s=ENDLESS_S, max_requests=most, only=missing, **options)  # type: ignore[arg-type]
            missing = {left.name for left in plan.left_out}
        lacking = len(missing.intersection(left_out))
        if lacking < fewest:
            fewest, found = lacking, budget_s
    return found


def _burst(count: int, key: str, stage: Stage, start_s: float = 0.0) -> list[tuple[float, str]]:
    """Send a number of requests as fast as the sender may."""
    return [(start_s + number / stage.max_rate, key) for number in range(count)]


def _control(stage: Stage) -> None:
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


def _barrier(stage: Stage) -> None:
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
    stage.place("barrier", "a check and a set that can be raced", sends, peak=stage.max_rate)


def _many_keys(stage: Stage, rng: random.Random) -> None:
    """Keep many keys far below their limit beside one that is far above it: nobody may pay for another."""
    if stage.single_key:
        stage.leave_out("many-keys", "the target tells callers apart no further than one key")
        return
    quiet = max(1, capacity_of(stage.promise) // 4)
    lasts = 1.0
    sends = [(rng.uniform(0, lasts), f"quiet-{key}") for key in range(40) for _ in range(min(quiet, 5))]
    flows = (
        0.0
        if isinstance(stage.promise, Window)
        else lasts * 1e6 * stage.promise.limit / stage.promise.period_us
    )
    hot = min(round(1.5 * (capacity_of(stage.promise) + flows)) + 10, round(0.5 * stage.max_rate * lasts))
    sends += [(rng.uniform(0, lasts), "hot") for _ in range(hot)]
    stage.place(
        "many-keys", "keys that share a counter, or a hot key that starves others", sends, peak=hot + 200.0
    )


def _retry_after(stage: Stage) -> None:
    """Exhaust a key, wait exactly as told, and try once more."""
    promise, capacity = stage.promise, capacity_of(stage.promise)
    wait_s = ceil((promise.held_us if isinstance(promise, Window) else promise.wait_us) / 1e6) + 0.5
    keys = ["a"] if stage.single_key else ["a", "b", "c"]
    lasts = wait_s + 1.5 * capacity / stage.max_rate + 0.5
    if lasts + TAIL_S > stage.budget_s:
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
        requests=capacity + CROWD + 2,
        lasts_s=lasts,
    )


def _idle_then_burst(stage: Stage, held_s: float) -> None:
    capacity = capacity_of(stage.promise)
    first = _burst(capacity, "a", stage)
    again = _burst(capacity + max(5, capacity // 4), "a", stage, capacity / stage.max_rate + held_s + 0.1)
    finds = "allowance that piles up while a key rests, or does not come back"
    stage.place("idle-then-burst", finds, [*first, *again], peak=stage.burst_peak(held_s))


def _boundaries(stage: Stage, wall_s: float) -> None:
    """Burst on both sides of the boundaries a fixed window would have: the clock's, and one period after a
    first request."""
    period_s, capacity = stage.promise.period_us / 1e6, capacity_of(stage.promise)
    spread = capacity / stage.max_rate
    finds = "a fixed window, which admits twice the limit around its boundary"
    if spread > 0.45 * period_s:
        for name in BOUNDARIES:
            stage.leave_out(
                name, f"{capacity} requests at {stage.max_rate:g}/s do not fit into half a period"
            )
        return
    # The first request opens the window; the rest of it is used up just before it ends.
    before = _burst(capacity - 1, "a", stage, period_s - spread - 0.02)
    after = _burst(capacity, "a", stage, period_s + 0.02)
    stage.place("boundary-first", finds, [(0.0, "a"), *before, *after], peak=stage.burst_peak(period_s))
    edge = (wall_s // period_s + 1) * period_s - wall_s
    while edge < spread + 0.1 or (stage.single_key and edge - spread < _free(stage)):
        edge += period_s
    sends = [*_burst(capacity, "a", stage), *_burst(capacity, "a", stage, spread + 0.03)]
    stage.place("boundary-clock", finds, sends, peak=stage.max_rate, at_s=edge - spread - 0.015)


def _free(stage: Stage) -> float:
    return max((act.starts_s + act.lasts_s + stage.rest_s for act in stage.acts), default=0.0)


def _steady(stage: Stage, share: float, spacing: str, rng: random.Random) -> None:
    """Hold a share of the promised rate, evenly or at random."""
    promise, name = stage.promise, f"steady-{share:.0%}-{spacing}".replace("%", "")
    period_s = promise.period_us / 1e6
    rate = share * promise.limit / period_s
    if rate > stage.max_rate:
        stage.leave_out(name, f"{rate:g} requests/s; the sender may send {stage.max_rate:g}")
        return
    lasts = max(_STEADY_S, 2.2 * period_s) if isinstance(promise, Window) else _STEADY_S
    if isinstance(promise, Window) and 2 * period_s + TAIL_S > stage.budget_s:
        stage.leave_out(
            name, f"two windows take {2 * period_s:g} s; the time allowed is {stage.budget_s:g} s"
        )
        return
    if not isinstance(promise, Window) and share > 1:
        lasts = max(lasts, 1.5 * (promise.burst + 5) / (rate - rate / share))
    lasts = max(lasts, 10 / rate, min(40 / rate, stage.budget_s / 3))
    if lasts + TAIL_S > stage.budget_s:
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
