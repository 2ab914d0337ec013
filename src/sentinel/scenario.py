"""What a load test does, as frozen values: who sends what, how often, what should come back, what must hold.

A scenario is checked whole when it is built, so that nothing can be wrong with it once traffic flows. How it
is sent, timed and recorded lives elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from sentinel.application import Application, check_headers
from sentinel.criterion import Criterion
from sentinel.errors import ConfigurationError, check_range, check_whole
from sentinel.filling import check_filling, check_placeholders
from sentinel.pacer import Even, Spacing
from sentinel.profile import Profile, check_operations
from sentinel.run import JsonObject, Model
from sentinel.sources import Source

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
USER_VALUES = frozenset({"user", "tenant", "token", "address", "session"})
MAX_CONCURRENCY = 500


@dataclass(frozen=True, slots=True)
class Population:
    """Describe the virtual users.

    count: 1 to 1,000,000; 0 takes the load's peak. tenants: shared out in turn. headers: (name, template)
    pairs sent with every request; one whose value comes out empty is left out. token: template of the token a
    user starts with. hot_share: share of the sessions (0 to 1) that go to user 0 on top of its turn.
    Templates may use {user}, {tenant}, {address} (a made-up client address), {session} and {token}.
    """

    count: int = 0
    tenants: tuple[str, ...] = ("tenant-1",)
    headers: tuple[tuple[str, str], ...] = ()
    token: str = ""
    hot_share: float = 0.0

    def __post_init__(self) -> None:
        check_whole("users.count", self.count, 0, 1_000_000)
        check_range("users.hot_share", self.hot_share, 0, 1)
        check_headers("users", self.headers)
        if not self.tenants:
            raise ConfigurationError("users.tenants is empty; name at least one tenant")


@dataclass(frozen=True, slots=True)
class Scenario:
    """Describe one load test.

    load: sessions per second, or users present when `unit` is "users"; then each of them starts a session
    every
        `pace_s` seconds (0.001 to 3,600). In the closed model the load is always users, and `pace_s` (from 0)
        is how long each of them thinks between two sessions.
    mix: application name → weight (above 0).
    applications: every application the mix or another application names. variables: made-up values for
    templates. checks: what must hold. timeout_s: of one request (0.001 to 300).
    max_in_flight: unanswered requests at a time (1 to 20,000); more wait, which shows as lag.
    Raises ConfigurationError for anything out of range, unknown, or cyclic.
    """

    name: str
    load: Profile
    mix: Mapping[str, float]
    applications: tuple[Application, ...]
    unit: Literal["sessions/s", "users"] = "sessions/s"
    pace_s: float = 1.5
    spacing: Spacing = field(default_factory=Even)
    model: Model = "open"
    users: Population = field(default_factory=Population)
    variables: Mapping[str, Source] = field(default_factory=dict)
    checks: tuple[Criterion, ...] = ()
    seed: int = 1
    timeout_s: float = 30.0
    max_in_flight: int = 5000
    description: str = ""

    def __post_init__(self) -> None:
        _check_name("scenario", self.name)
        check_range("pace_s", self.pace_s, 0 if self.model == "closed" else 0.001, 3600, "s")
        check_range("timeout_s", self.timeout_s, 0.001, 300, "s")
        check_whole("max_in_flight", self.max_in_flight, 1, 20_000)
        check_whole("seed", self.seed, 0, 2**63 - 1)
        if self.model not in ("open", "closed") or self.unit not in ("sessions/s", "users"):
            raise ConfigurationError(
                f"model is {self.model!r} and unit {self.unit!r}; use open or closed, sessions/s or users"
            )
        if self.model == "closed":
            check_range("concurrency", round(self.concurrency), 1, MAX_CONCURRENCY)
        else:
            check_operations(self.arrivals)
        self._check_mix()
        _check_requirements({application.name: application for application in self.applications})
        for _, template in (*self.users.headers, ("token", self.users.token)):
            check_placeholders("users", template, USER_VALUES)
        check_filling(self.applications, USER_VALUES | self.variables.keys() | {"iteration"})
        _check_series(self)

    def _check_mix(self) -> None:
        if not self.mix:
            raise ConfigurationError("mix is empty; name at least one application and its weight")
        known = [application.name for application in self.applications]
        for name in known:
            _check_name("application", name)
            if known.count(name) > 1:
                raise ConfigurationError(f"application {name!r} is defined twice; rename one of them")
        for name, weight in self.mix.items():
            if name not in known:
                raise ConfigurationError(
                    f"mix names the unknown application {name!r}; known: {', '.join(known)}"
                )
            check_range(f"mix.{name}", weight, 1e-9, 1e9)

    @property
    def arrivals(self) -> Profile:
        """Give the load in sessions per second."""
        return self.load.scaled(load=1 / self.pace_s) if self.unit == "users" else self.load

    @property
    def concurrency(self) -> float:
        """Give the users present at the peak; with a load in sessions/s, the sessions started in a second."""
        return self.load.peak

    @property
    def user_count(self) -> int:
        """Give the number of virtual users."""
        return self.users.count or max(1, round(self.concurrency))

    def present(self, seconds: int) -> tuple[float, ...]:
        """Give the users that the load wants in each of so many seconds; none if it is in sessions/s."""
        if self.unit != "users":
            return ()
        load = self.load
        halves = (min(second + 0.5, load.duration_s) for second in range(seconds))
        return tuple(
            load.rate_at(at) if second < load.duration_s else 0.0 for second, at in enumerate(halves)
        )

    def application(self, name: str) -> Application:
        """Find an application by name; raise ConfigurationError for unknown ones."""
        for application in self.applications:
            if application.name == name:
                return application
        raise ConfigurationError(f"application {name!r} is unknown")

    def tightest_latency_ms(self) -> float | None:
        """Give the smallest bound on a latency that a check or a step sets, in milliseconds."""
        bounds = [
            check.value for check in self.checks if check.metric == "latency" and check.op in ("<", "<=")
        ]
        bounds += [
            step.expect.p95_ms
            for name in self.reachable()
            for step in self.application(name).steps
            if step.expect.p95_ms is not None
        ]
        return min(bounds, default=None)

    def reachable(self) -> tuple[str, ...]:
        """Name the applications of the mix and those they require, in a fixed order."""
        seen: dict[str, None] = {}
        waiting = list(self.mix)
        while waiting:
            name = waiting.pop(0)
            if name not in seen:
                seen[name] = None
                waiting += self.application(name).requires
        return tuple(seen)

    def scaled(self, scale: float) -> Scenario:
        """Shrink users and time alike (scale above 0, at most 1), and the throughput that is demanded with
        them.

        At least one session and one second are kept, so a very small scale shrinks less than it says.
        Waits inside applications (repeats, pauses) shrink with the time.
        """
        check_range("scale", scale, 1e-6, 1)
        if scale == 1:
            return self
        time = max(scale, min(1.0, 1 / self.load.duration_s))
        least = 0.0 if self.model == "closed" else 1 / (self.arrivals.total * time)
        load = min(1.0, max(scale, 1 / self.load.peak, least))
        return replace(
            self,
            load=self.load.scaled(load, time),
            applications=tuple(application.scaled(time) for application in self.applications),
            checks=tuple(
                replace(check, value=check.value * load) if check.metric == "throughput" else check
                for check in self.checks
            ),
        )

    def snapshot(self) -> JsonObject:
        """Describe the whole plan in JSON-able values; its hash tells comparable runs."""
        return {
            "name": self.name,
            "description": self.description,
            "load": self.load.describe(),
            "unit": self.unit,
            "pace_s": self.pace_s,
            "spacing": self.spacing.describe(),
            "model": self.model,
            "mix": dict(self.mix),
            "applications": [self.application(name).snapshot() for name in self.reachable()],
            "users": {
                "count": self.user_count,
                "tenants": list(self.users.tenants),
                "headers": [list(pair) for pair in self.users.headers],
                "token": self.users.token,
                "hot_share": self.users.hot_share,
            },
            "variables": {name: source.describe() for name, source in self.variables.items()},
            "checks": [str(check) for check in self.checks],
            "seed": self.seed,
            "timeout_s": self.timeout_s,
            "max_in_flight": self.max_in_flight,
        }


def _check_name(kind: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise ConfigurationError(
            f"{kind} name is {name!r}; use 1 to 64 small letters, digits, - and _, first a letter or digit"
        )


def _check_requirements(known: Mapping[str, Application]) -> None:
    """Refuse requirements that are unknown or lead back to where they started."""

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ConfigurationError(
                f"applications require each other in a circle: {' → '.join((*path, name))}"
            )
        for required in known[name].requires:
            if required not in known:
                raise ConfigurationError(
                    f"application {name!r} requires the unknown application {required!r}; "
                    f"known: {', '.join(known)}"
                )
            visit(required, (*path, name))

    for name in known:
        visit(name, ())


def _check_series(scenario: Scenario) -> None:
    """Refuse checks about applications or steps that do not exist."""
    for check in scenario.checks:
        if check.application is None:
            continue
        known = [application.name for application in scenario.applications]
        if check.application not in known:
            raise ConfigurationError(
                f"check '{check}' is about an unknown application; known: {', '.join(known)}"
            )
        steps = [step.name for step in scenario.application(check.application).steps]
        if check.step is not None and check.step not in steps:
            raise ConfigurationError(f"check '{check}' is about an unknown step; known: {', '.join(steps)}")
