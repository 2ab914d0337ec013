"""The options that say what a limiter promises: --limit, --algorithm, --burst, --precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast, get_args

import click

from sentinel.commands import values
from sentinel.commands.options import Function
from sentinel.promise import Algorithm, Promise, promise_of
from threshold import Rate, SlidingWindow


def promised_options(about: str, *, required: bool = False) -> Callable[[Function], Function]:
    """Add the four options; `about` explains --limit."""

    def add(command: Function) -> Function:
        command = click.option(
            "--precision",
            type=click.IntRange(0, 1_000_000),
            help="Sub-windows of a sliding window (threshold's own: 2 to 360); 0 for one that logs exactly."
            "  [default: threshold's own]",
        )(command)
        command = click.option(
            "--burst",
            type=click.IntRange(1),
            help="Tokens a token bucket holds.  [default: the limit's number]",
        )(command)
        command = click.option(
            "--algorithm",
            type=click.Choice(get_args(Algorithm)),
            default="token-bucket",
            show_default=True,
            help="What the limit promises.",
        )(command)
        return click.option("--limit", metavar="LIMIT", type=values.limit, required=required, help=about)(
            command
        )

    return add


def promised(rate: Rate, algorithm: str, burst: int | None, precision: int | None) -> Promise:
    """Build the promise; raise ConfigurationError for an option the algorithm does not have."""
    if algorithm == "sliding-window" and precision is None:
        precision = SlidingWindow(rate).precision
    return promise_of(
        cast(Algorithm, algorithm), rate.limit, rate.period_us, burst=burst, precision=precision or None
    )
