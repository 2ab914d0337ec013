"""The limit that a run's own traffic is audited for: its options, and what they come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast, get_args

import click
from click.core import ParameterSource

from sentinel.commands.options import Function
from sentinel.commands.promised import promised, promised_options
from sentinel.errors import ConfigurationError
from sentinel.evidence import Caller, ExcessFound, Limited, excess_found
from sentinel.options import Run
from sentinel.promise import Promise
from sentinel.scenario import Scenario
from threshold import Rate

_OF_A_LIMIT = ("algorithm", "burst", "precision", "limited", "limited_by")


@dataclass(frozen=True, slots=True)
class LimitOptions:
    """Hold what the command line says about a limit."""

    limit: Rate | None
    algorithm: str
    burst: int | None
    precision: int | None
    limited: str | None
    limited_by: str


@dataclass(frozen=True, slots=True)
class Audited:
    """Hold which limit a run is also audited for, whose requests it counts, and the number of tenants."""

    promise: Promise
    limited: Limited
    tenants: int


def limited_options(command: Function) -> Function:
    """Add the options of a limit, and those that say what it counts."""
    command = click.option(
        "--limited-by",
        type=click.Choice(get_args(Caller)),
        default="user",
        show_default=True,
        help="Who has a limit of one's own: each user, each tenant, or everyone together.",
    )(command)
    command = click.option(
        "--limited", metavar="APP[/STEP]", help="Whose requests the limit counts; all of them by default."
    )(command)
    about = "Audit the run's own traffic for this limit, like 100/minute; for --check 'excess = 0'."
    return promised_options(about)(command)


def audited(plan: Scenario, options: LimitOptions) -> Audited | None:
    """Build what is audited, None for nothing; raise ConfigurationError where the scenario has no such."""
    if options.limit is None:
        _refuse_what_needs_a_limit()
        if any(check.metric == "excess" for check in plan.checks):
            raise ConfigurationError(
                "the criterion excess needs the limit it is about; add --limit '100/minute'"
            )
        return None
    application, _, step = (options.limited or "").partition("/")
    if application:
        known = [one.name for one in plan.application(application).steps]
        if step and step not in known:
            raise ConfigurationError(
                f"limited is {options.limited!r}; {application} has the steps {', '.join(known)}"
            )
    promise = promised(options.limit, options.algorithm, options.burst, options.precision)
    whom = Limited(application or None, step or None, cast(Caller, options.limited_by))
    return Audited(promise, whom, len(plan.users.tenants))


def _refuse_what_needs_a_limit() -> None:
    """Raise ConfigurationError for an option that says something of a limit where none is named."""
    context = click.get_current_context(silent=True)
    for name in _OF_A_LIMIT if context else ():
        if context and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = name.replace("_", "-")
            raise ConfigurationError(
                f"{option} is for the limit that a run's traffic is audited for; add --limit, or leave "
                f"--{option} out"
            )


def excess_of(run: Run, asked: Audited | None) -> ExcessFound | None:
    """Look for an excess in a run's requests; None when nobody asked."""
    if asked is None or run.columns is None:
        return None
    return excess_found(run.columns, asked.promise, asked.limited, asked.tenants)
