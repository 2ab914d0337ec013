"""From whatever a command ends with to one exit status and, when something is wrong, one plain message."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import click

from sentinel.errors import ConfigurationError, NotWritten, RecordError, TargetError, TargetForbidden
from sentinel.exit_codes import ExitCode
from threshold import StoreUnavailable, ThresholdError

INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended


def invoke(command: click.Command, arguments: Sequence[str]) -> int:
    """Run a command with these arguments and give its exit status; whatever is raised becomes a message."""
    try:
        result = command.main(args=list(arguments), prog_name="sentinel", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        return _say("stopped at once; what was not saved is lost", INTERRUPTED)
    except TargetForbidden as error:
        return _say(str(error), ExitCode.USAGE)
    except (TargetError, StoreUnavailable) as error:
        return _say(str(error), ExitCode.UNREACHABLE)
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        return _say("a Redis store needs redis: pip install 'threshold[redis]'", ExitCode.USAGE)
    except NotWritten as error:
        return _say(str(error), ExitCode.NOT_WRITTEN)
    except (ConfigurationError, RecordError, ThresholdError, OSError, sqlite3.Error) as error:
        return _say(str(error), ExitCode.USAGE)
    return result if isinstance(result, int) else ExitCode.PASS


def _say(message: str, status: int) -> int:
    click.echo(f"sentinel: {message}", err=True)
    return status
