"""Wake at an absolute instant of the monotonic clock, from an asyncio loop, with microseconds of lateness.

A loop's own timers count in milliseconds (uvloop) or wake in clumps; a timerfd is a file that becomes
readable at the instant asked for, and a loop notices it like any socket. Where there is no timerfd, `call_at`
has to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Protocol

_NS = 1_000_000_000
_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC if sys.platform == "linux" else 0


class Timer(Protocol):
    """Call back at one instant at a time; setting a new instant forgets the one before."""

    def wake_at(self, instant_ns: int) -> None:
        """Call back at this instant (nanoseconds, `time.monotonic_ns`), at once when it has passed."""

    def cancel(self) -> None:
        """Forget the instant."""

    def close(self) -> None:
        """Release what the timer holds; it cannot be used again."""


def make_timer(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> Timer:
    """Make the most punctual timer that this platform has."""
    try:
        return TimerFd(loop, callback)
    except (OSError, AttributeError, NotImplementedError):
        return LoopTimer(loop, callback)


class _Spec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class TimerFd:
    """Wake by a Linux timerfd; raise OSError or AttributeError where there is none."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        if sys.platform != "linux":
            raise OSError("timerfd exists on Linux only")
        library = ctypes.CDLL(None, use_errno=True)
        self._settime = library.timerfd_settime
        self._fd: int = library.timerfd_create(_CLOCK_MONOTONIC, _FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._loop = loop
        self._callback = callback
        self._spec = _Spec(0, 0, 0, 0)
        self._pointer = ctypes.byref(self._spec)
        self._armed = 0
        loop.add_reader(self._fd, self._fired)

    def wake_at(self, instant_ns: int) -> None:
        """Call back at this instant; setting it also makes the file unreadable until then."""
        instant_ns = max(instant_ns, 1)  # 0 would disarm the timer
        if instant_ns == self._armed:
            return
        self._armed = instant_ns
        self._spec.value_s, self._spec.value_ns = divmod(instant_ns, _NS)
        self._settime(self._fd, _ABSOLUTE, self._pointer, None)

    def cancel(self) -> None:
        """Forget the instant."""
        self._armed = 0
        self._spec.value_s = self._spec.value_ns = 0
        self._settime(self._fd, 0, self._pointer, None)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _fired(self) -> None:
        fired = self._armed
        self._armed = 0
        self._callback()
        if self._fd >= 0 and not self._armed and fired:
            with contextlib.suppress(
                BlockingIOError
            ):  # nobody set a new instant: take the event off the file
                os.read(self._fd, 8)


class LoopTimer:
    """Wake by the loop's own timer: portable, up to a millisecond late."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._handle: asyncio.Handle | None = None

    def wake_at(self, instant_ns: int) -> None:
        """Call back at this instant."""
        self.cancel()
        delay = (instant_ns - time.monotonic_ns()) / _NS
        if delay <= 0:
            self._handle = self._loop.call_soon(self._callback)
        else:
            self._handle = self._loop.call_later(delay, self._callback)

    def cancel(self) -> None:
        """Forget the instant."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def close(self) -> None:
        """Forget the instant for good."""
        self.cancel()
