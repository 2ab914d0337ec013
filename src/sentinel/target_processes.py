"""The processes that serve a target on this machine, and the processor time they use.

They are those that hold its listening socket open, and their children: a server's workers are the one or the
other. Only Linux tells, and only of processes that this one may look into; where nothing is found, nothing is
claimed. It must not be called from the loop that sends: looking takes milliseconds.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sentinel.target import HttpTarget

_PROC = Path("/proc")
_LISTENS = "0A"
_LOCAL = frozenset({"localhost", "ip6-localhost"})
_LOOK_AGAIN_S = 5.0


class TargetUse(NamedTuple):
    """Tell how many cores the processes of a target used: all together, and the busiest of them alone."""

    cores: float
    busiest: float


class TargetMeter:
    """Measure, between two calls, what the processes behind a listening socket and their children used."""

    def __init__(self, listeners: Iterable[int]) -> None:
        self._listeners = sorted(listeners)
        self._pids: set[int] = set()
        self._used_s: dict[int, float] = {}
        self._looked_s = -_LOOK_AGAIN_S
        self._wall_s = time.monotonic()
        self.use()

    @classmethod
    def of(cls, target: HttpTarget) -> TargetMeter | None:
        """Find who serves a target; None when nobody can be found, or when this process does so itself.

        >>> TargetMeter.of(HttpTarget("192.0.2.1", 80)) is None
        True
        """
        found = listeners(target)
        return cls(found) if found and os.getpid() not in found else None

    def use(self) -> TargetUse:
        """Give the use since the last call; a process counts from the first time it was seen."""
        now = time.monotonic()
        if now - self._looked_s >= _LOOK_AGAIN_S:
            self._looked_s, self._pids = now, set(_families(self._listeners))
        used_s = {pid: used for pid in self._pids if (used := _seconds(pid)) is not None}
        wall_s = max(now - self._wall_s, 1e-3)
        parts = [max(used - self._used_s.get(pid, used), 0.0) / wall_s for pid, used in used_s.items()]
        self._used_s, self._wall_s = used_s, now
        return TargetUse(sum(parts), max(parts, default=0.0))


def listeners(target: HttpTarget) -> set[int]:
    """Give the ids of the processes that hold the target's listening socket open; none if that is unknown."""
    try:
        inodes = set(_unix_inodes(target.socket_path) if target.socket_path else _tcp_inodes(target))
    except (OSError, ValueError, IndexError):  # no such tables, no such form of them, a host by name
        return set()
    wanted = {Path(f"socket:[{inode}]") for inode in inodes}
    return {pid for pid in _all_pids() if _holds(pid, wanted)} if wanted else set()


def _tcp_inodes(target: HttpTarget) -> Iterator[str]:
    if target.host not in _LOCAL and not ipaddress.ip_address(target.host).is_loopback:
        return
    for name in ("tcp", "tcp6"):
        table = _PROC / "net" / name
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            fields = line.split()
            if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == target.port:
                yield fields[9]


def _unix_inodes(path: str) -> Iterator[str]:
    for line in (_PROC / "net" / "unix").read_text().splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[7] == path and fields[3] == "00010000":  # the flag of one that listens
            yield fields[6]


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _holds(pid: int, sockets: set[Path]) -> bool:
    with contextlib.suppress(OSError):
        for file in (_PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                if file.readlink() in sockets:
                    return True
    return False


def _families(pids: Iterable[int]) -> Iterator[int]:
    """Give processes with all their descendants."""
    for pid in pids:
        yield pid
        children = []
        with contextlib.suppress(OSError):
            for task in (_PROC / str(pid) / "task").iterdir():
                with contextlib.suppress(OSError):
                    children += [int(child) for child in (task / "children").read_text().split()]
        yield from _families(children)


def _seconds(pid: int) -> float | None:
    """Read the processor time of a process; None when it is gone."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
