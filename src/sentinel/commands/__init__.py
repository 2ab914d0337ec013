"""The subcommands of `sentinel`, one file each: arguments in, exit status out; the work is done elsewhere."""

from __future__ import annotations

import click

from sentinel.commands.audit import audit_command
from sentinel.commands.export import export
from sentinel.commands.history import baseline, compare, history, merge, report
from sentinel.commands.overhead import overhead
from sentinel.commands.run import run
from sentinel.commands.scenarios import scenarios

__all__ = ["cli"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="threshold", prog_name="sentinel")
def cli() -> None:
    """Load tests that prove what a rate limiter costs, what it admits, and what the app behind it bears.

    Exit status: 0 passed, 1 wrong usage, 2 a check failed, 3 a regression, 4 VOID (the run proves nothing),
    5 the target cannot be reached, 6 passed, but a report or the history could not be written.
    """


for command in (run, audit_command, overhead, baseline, compare, history, report, scenarios, export, merge):
    cli.add_command(command)
