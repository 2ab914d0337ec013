"""The machine under the run: its fingerprint, and how much of it whom is using."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
_STAT = Path("/proc/stat")


def fingerprint() -> dict[str, str | int]:
    """Describe the machine as far as it makes runs comparable: cores, cpu, python, os.

    >>> sorted(fingerprint())
    ['cores', 'cpu', 'os', 'python']
    """
    return {
        "cores": available_cores(),
        "cpu": _cpu_model(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "os": f"{platform.system()} {platform.release()}",
    }


def available_cores() -> int:
    """Count the cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_model() -> str:
    try:
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


class CpuMeter:
    """Measure, between two calls, the share of the whole machine that other processes used."""

    def __init__(self) -> None:
        self._busy_s = _busy_seconds()
        self._own_s = time.process_time()
        self._wall_s = time.monotonic()

    def others(self) -> float:
        """Give the share (0 .. 1) since the last call; 0 where the system does not tell."""
        busy, own, wall = _busy_seconds(), time.process_time(), time.monotonic()
        used = (busy - self._busy_s) - (own - self._own_s)
        whole = (wall - self._wall_s) * (os.cpu_count() or 1)
        self._busy_s, self._own_s, self._wall_s = busy, own, wall
        return min(max(used / whole, 0.0), 1.0) if whole > 0 and busy else 0.0


def _busy_seconds() -> float:
    """Read the seconds all cores together have been busy since boot; 0 where the system does not tell."""
    try:
        with _STAT.open() as stat:
            user, nice, system, _idle, _wait, irq, soft, *_ = map(int, stat.readline().split()[1:])
    except (OSError, ValueError):
        return 0.0
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")
