"""Which process it is that makes a run, so that one that goes on is told from one that was killed.

A process's number is given again after its end; with the instant of its start it is its own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_STATE, _STARTED = 0, 19  # places in /proc/PID/stat behind the name
_ENDED = ("Z", "X", "x")  # ended, and perhaps not yet missed by whoever started it


class ProcessMark(NamedTuple):
    """Tell a process from all others of this machine: its number, and its start in clock ticks since boot (0
    where the system does not tell)."""

    pid: int
    started: int

    @classmethod
    def own(cls) -> ProcessMark:
        """Give the mark of this process."""
        return cls(os.getpid(), _started(os.getpid()) or 0)

    @property
    def alive(self) -> bool:
        """Tell whether that process still runs, as far as this machine tells.

        >>> ProcessMark.own().alive, ProcessMark(os.getpid(), 1).alive
        (True, False)
        """
        if self.started:
            return _started(self.pid) == self.started
        if os.name != "posix":
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:  # somebody else's
            return True
        return True


def _started(pid: int) -> int | None:
    """Read when a process was started; None for one that is not there or has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[_STATE] in _ENDED else int(fields[_STARTED])
