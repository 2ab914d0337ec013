"""What the command's exit status means; continuous integration builds on these numbers."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Name the exit statuses of `sentinel`.

    NOT_WRITTEN: a report or the history could not be written; what a run or an experiment came to goes before
    it, unless that is a pass.

    >>> int(ExitCode.VOID)
    4
    """

    PASS = 0
    USAGE = 1
    CHECK_FAILED = 2
    REGRESSION = 3
    VOID = 4
    UNREACHABLE = 5
    NOT_WRITTEN = 6
