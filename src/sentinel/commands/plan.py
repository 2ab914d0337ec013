"""Which scenario is meant, and what the command line changes about it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sentinel.catalog import SCENARIOS, shipped
from sentinel.checks import parse_criteria
from sentinel.errors import ConfigurationError, check_range
from sentinel.profile import Profile
from sentinel.scenario import MAX_CONCURRENCY, Scenario
from sentinel.scenario_file import load_scenario
from sentinel.shapes import SHAPES, shape


@dataclass(frozen=True, slots=True)
class Changes:
    """Hold what the command line says about a scenario; None leaves it as it is.

    scale: shrinks users and time alike. profile: name of a shipped one. duration_s: length of the run. rate:
    sessions per second, the profile's own if one is named, else the load's peak. users: of the closed model.
    """

    scale: float = 1.0
    profile: str | None = None
    duration_s: float | None = None
    rate: float | None = None
    seed: int | None = None
    closed: bool = False
    users: int | None = None
    checks: Sequence[str] = ()


def find(name: str) -> Scenario:
    """Find a scenario: a shipped one, a TOML file or module:attribute; else raise ConfigurationError."""
    path = Path(name)
    if path.suffix == ".toml" or (name not in SCENARIOS and path.is_file()):
        return load_scenario(path)
    if ":" in name:
        return _imported(name)
    try:
        return shipped(name)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; or give a file, my-scenario.toml, or module:attribute") from None


def _imported(name: str) -> Scenario:
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"scenario {name!r} cannot be imported: {error}") from error
    if not isinstance(found, Scenario):
        raise ConfigurationError(f"scenario {name!r} is a {type(found).__name__}; it must be a Scenario")
    return found


def change(scenario: Scenario, changes: Changes) -> Scenario:
    """Apply the command line; raise ConfigurationError for a combination that makes no scenario.

    >>> quick = change(find("launch-day"), Changes(profile="spike", duration_s=20.0, rate=5))
    >>> quick.unit, quick.load.duration_s, quick.load.peak
    ('sessions/s', 20.0, 50.0)
    """
    if changes.users is not None:
        check_range("users", changes.users, 1, MAX_CONCURRENCY)
        if not (changes.closed or scenario.model == "closed"):
            raise ConfigurationError("users is for the closed model; add --closed, or give --rate instead")
    extra = parse_criteria(changes.checks)
    scenario = replace(
        _loaded(scenario, changes),
        seed=scenario.seed if changes.seed is None else changes.seed,
        checks=tuple(dict.fromkeys((*scenario.checks, *extra))),
    ).scaled(changes.scale)
    if not changes.closed or scenario.model == "closed":
        return scenario
    load = scenario.load
    if changes.users is not None:
        load = load.scaled(load=changes.users / load.peak)
    return replace(scenario, model="closed", unit="users", load=load)


def _loaded(scenario: Scenario, changes: Changes) -> Scenario:
    """Replace, stretch or strengthen the load."""
    load, unit = scenario.load, scenario.unit
    rated = "users" if scenario.model == "closed" or changes.closed else "sessions/s"
    if changes.profile is not None:
        load = _shape(scenario, changes, changes.profile)
        unit = "sessions/s" if changes.rate is not None and rated == "sessions/s" else scenario.unit
    elif changes.rate is not None:
        load = load.scaled(load=changes.rate / load.peak)
        unit = "sessions/s" if rated == "sessions/s" else scenario.unit
    if changes.duration_s is not None and load.duration_s != changes.duration_s:
        load = load.scaled(time=changes.duration_s / load.duration_s)
    return replace(scenario, load=load, unit=unit)


def _shape(scenario: Scenario, changes: Changes, name: str) -> Profile:
    """Build a shipped profile with the rate and length that were asked for, else the scenario's own."""
    if name not in SHAPES:
        raise ConfigurationError(f"profile is {name!r}; it must be one of {', '.join(SHAPES)}")
    if name == "custom":
        raise ConfigurationError("profile custom needs points; write them in a scenario file under [load]")
    wanted = SHAPES[name].__dataclass_fields__  # type: ignore[attr-defined]  # every shape is a dataclass
    parameters: dict[str, object] = {}
    if changes.rate is not None:
        parameters["rate"] = changes.rate
    elif name not in ("stress", "soak"):
        parameters["rate"] = scenario.load.peak
    if "duration_s" in wanted and changes.duration_s is not None:
        parameters["duration_s"] = changes.duration_s
    return shape(name, parameters)
