"""What a run or an experiment came to, handed over in every way that was asked for, also when one fails."""

from __future__ import annotations

from collections.abc import Callable

import click

from sentinel.errors import NotWritten, RecordError
from sentinel.exit_codes import ExitCode


def delivered(status: ExitCode, *ways: Callable[[], object]) -> ExitCode:
    """Go every way, one after another, tell of each that fails, and give the exit status.

    It is `status`, what was found; where that is a pass and something could not be written, NOT_WRITTEN.
    """
    for way in ways:
        try:
            way()
        except (NotWritten, RecordError) as error:
            click.echo(f"sentinel: {error}", err=True)
            status = ExitCode.NOT_WRITTEN if status is ExitCode.PASS else status
    return status
