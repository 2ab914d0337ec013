"""A scenario read from TOML: the same values as in Python, with every unknown key and wrong type refused.

The file may use the shipped applications and variables by name, or bring its own.
"""

from __future__ import annotations

import tomllib
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from sentinel.application import Application, Expect, Extract, Repeat, Step, Undo
from sentinel.catalog import APPLICATIONS, VARIABLES
from sentinel.criterion import Criterion
from sentinel.errors import ConfigurationError
from sentinel.pacer import Even, Spacing, spacing
from sentinel.profile import Profile
from sentinel.scenario import Population, Scenario
from sentinel.shapes import shape
from sentinel.sources import SOURCES, Source

Table = Mapping[str, object]
T = TypeVar("T")
_TOP = ("scenario", "load", "spacing", "users", "variables", "mix", "application")
_PLAIN = ("name", "description", "unit", "pace_s", "model", "seed", "timeout_s", "max_in_flight")
_NESTED = {Expect, Repeat, Undo}


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file; raise ConfigurationError, naming file and key, for what is not understood."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"scenario file {path} cannot be read: {error}") from None
    try:
        return parse_scenario(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def parse_scenario(text: str) -> Scenario:
    """Build a scenario from the text of a TOML file.

    >>> parse_scenario('''
    ... [scenario]
    ... name = "readers"
    ... checks = ["p95 < 200 ms", "error_rate < 1 %"]
    ... [load]
    ... profile = "spike"
    ... rate = 20
    ... duration_s = 10
    ... [mix]
    ... post-read = 80
    ... blog-list = 20
    ... ''').load
    Spike(rate=20, duration_s=10, multiplier=10.0, warm_up=0.15, spike=0.3)
    """
    try:
        data: dict[str, object] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number too long, or brackets too deep, for Python
        raise ConfigurationError(f"not valid TOML: {error}") from None
    _only(data, _TOP, "the file")
    head = _table(data, "scenario")
    _only(head, (*_PLAIN, "checks"), "scenario")
    hints = get_type_hints(Scenario)
    plain = {
        key: _typed(value, hints[key], f"scenario.{key}") for key, value in head.items() if key != "checks"
    }
    own = [
        _application(table, number)
        for number, table in enumerate(_tables(data.get("application", []), "application"))
    ]
    named = {application.name for application in own}
    shipped = [application for name, application in APPLICATIONS.items() if name not in named]
    checks = _typed(head.get("checks", []), tuple[str, ...], "scenario.checks")
    return Scenario(
        **{"name": "unnamed", **plain},
        load=_load(_table(data, "load")),
        spacing=_spacing(_table(data, "spacing")) if "spacing" in data else Even(),
        users=_build(Population, _table(data, "users"), "users"),
        variables={
            **VARIABLES,
            **{name: _source(name, table) for name, table in _table(data, "variables").items()},
        },
        mix={name: _typed(weight, float, f"mix.{name}") for name, weight in _table(data, "mix").items()},
        applications=(*own, *shipped),
        checks=tuple(Criterion.parse(check) for check in checks),
    )


def _load(table: Table) -> Profile:
    parameters = dict(table)
    name = parameters.pop("profile", "sustained")
    return shape(_typed(name, str, "load.profile"), parameters)


def _spacing(table: Table) -> Spacing:
    parameters = dict(table)
    kind = _typed(parameters.pop("kind", "even"), str, "spacing.kind")
    return spacing(kind, **{key: _typed(value, float, f"spacing.{key}") for key, value in parameters.items()})


def _source(name: str, value: object) -> Source:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"variables.{name} is {value!r}; write it as {{ kind = ..., ... }}")
    parameters = dict(value)
    kind = parameters.pop("kind", None)
    if kind not in SOURCES:
        raise ConfigurationError(f"variables.{name}.kind is {kind!r}; it must be one of {', '.join(SOURCES)}")
    return _build(SOURCES[kind], parameters, f"variables.{name}")


def _application(table: Table, number: int) -> Application:
    where = f"application[{number}]"
    steps = tuple(
        _build(Step, step, f"{where}.step[{place}]")
        for place, step in enumerate(_tables(table.get("step", []), f"{where}.step"))
    )
    rest = {key: value for key, value in table.items() if key != "step"}
    _only(rest, ("name", "requires", "description"), where)
    return _build(Application, rest, where, steps=steps)


def _build(kind: type[T], table: Table, where: str, **given: object) -> T:
    """Build a frozen value from a table, field by field, checking every type."""
    hints = get_type_hints(kind)
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]  # only dataclasses come here
    _only(table, tuple(known), where)
    values = {key: _typed(value, hints[key], f"{where}.{key}") for key, value in table.items()} | given
    for name, entry in known.items():
        if name not in values and entry.default is MISSING and entry.default_factory is MISSING:
            raise ConfigurationError(f"{where}.{name} is missing; every {kind.__name__.lower()} needs one")
    return kind(**values)


def _typed(value: object, hint: Any, where: str) -> Any:
    """Turn a TOML value into the type a field wants; raise ConfigurationError when it is another one."""
    if get_origin(hint) in (Union, types.UnionType):
        return _typed(value, next(part for part in get_args(hint) if part is not type(None)), where)
    if hint in _NESTED and isinstance(value, Mapping):
        return _build(hint, value, where)
    if hint == tuple[Extract, ...]:
        return tuple(_build(Extract, table, f"{where}[{n}]") for n, table in enumerate(_tables(value, where)))
    if hint == tuple[tuple[str, str], ...] and isinstance(value, Mapping):
        return tuple((name, _typed(text, str, f"{where}.{name}")) for name, text in value.items())
    if get_origin(hint) is tuple and isinstance(value, list):
        return tuple(
            _typed(part, get_args(hint)[0], f"{where}[{number}]") for number, part in enumerate(value)
        )
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if (hint is str or isinstance(get_args(hint)[0] if get_args(hint) else None, str)) and isinstance(
        value, str
    ):
        return value
    wanted = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(hint)
    if wanted is None:
        choices = [repr(choice) for choice in get_args(hint) if isinstance(choice, str)]
        wanted = f"one of {', '.join(choices)}" if choices else "a list or table of its fields"
    raise ConfigurationError(f"{where} is {value!r}; it must be {wanted}")


def _only(table: Table, known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            raise ConfigurationError(f"{where} has no {key!r}; it takes {', '.join(known)}")


def _table(data: Table, key: str) -> Table:
    value = data.get(key, {})
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{key} is {value!r}; write it as a table, [{key}]")
    return value


def _tables(value: object, where: str) -> list[Table]:
    if not isinstance(value, list) or not all(isinstance(part, Mapping) for part in value):
        raise ConfigurationError(f"{where} must be a list of tables")
    return value
