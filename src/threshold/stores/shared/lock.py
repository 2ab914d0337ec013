"""ProcessLock: one lock for all threads of all processes that share a file. Released by death.

A kernel file lock (`flock`) excludes processes, a thread lock excludes the threads of this one. What it
must never do: outlive its holder, or be inherited. So each process has an open file description of its
own, and a fork gets a new one before any Python code of the child runs.

Why `flock` through ctypes: `fcntl.flock` gives up the interpreter lock around the call, and beside one busy
thread that means holding the file lock, which everybody else waits for, for a whole switch interval (5 ms). A
try that does not block has no reason to give anything up.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Final

from ...errors import StoreUnavailable

try:
    import fcntl
except ImportError:  # the store itself explains what to do instead
    fcntl = None  # type: ignore[assignment]

TRY: Final = 6
"""LOCK_EX | LOCK_NB, the same number on Linux, macOS and the BSDs."""
UNLOCK: Final = 8
"""LOCK_UN."""

_YIELDS = 20
_FIRST_PAUSE = 0.000_05
_LONGEST_PAUSE = 0.001

Flock = Callable[[int, int], int]
"""flock(2) without raising: 0 when it succeeded, anything else when not."""


def _checked_flock(fd: int, operation: int) -> int:
    """The standard library's flock, with flock(2)'s way of answering."""
    try:
        fcntl.flock(fd, operation)
    except OSError:
        return -1
    return 0


def _find_flock() -> Flock:
    try:
        import ctypes

        found: Flock = ctypes.PyDLL(None).flock
    except (ImportError, OSError, AttributeError, TypeError):
        return _checked_flock
    return found


flock: Final[Flock] = _find_flock()


class ProcessLock:
    """Hold a lock on the file at `path`, already open as `fd`, which belongs to the lock from now on.

    The quick way in is spelled out by whoever is in a hurry, and always in these steps:

        with lock.threads:
            try:
                if flock(lock.fd, TRY):
                    lock.wait()
                ...
            finally:
                flock(lock.fd, UNLOCK)

    Unlocking what was never locked is harmless, so an exception out of a signal handler may strike anywhere.
    """

    def __init__(self, path: str, fd: int, timeout: float) -> None:
        self.path = path
        self.fd = fd
        self.timeout = timeout
        self.threads = threading.Lock()
        self._patience = timeout
        self._forking = False
        status = os.fstat(fd)
        self._identity = (status.st_dev, status.st_ino)
        self._closing = weakref.finalize(self, os.close, fd)
        self._closing.atexit = False
        _locks.add(self)

    def wait(self) -> None:
        """Wait for the file lock, the thread lock held; at most `timeout` seconds.

        After one wait in vain the next ones give up at once, until the lock was free again: a stopped
        process must not cost every request its time budget.

        Raises:
            StoreUnavailable: when another process holds the lock all that time, or the store is closed.
        """
        if self.fd < 0:
            raise StoreUnavailable(f"{self.path}: the store is closed, or a fork could not open it again")
        tries = 0
        deadline = time.monotonic() + self._patience
        while flock(self.fd, TRY):
            tries += 1
            if tries <= _YIELDS:
                os.sched_yield()
                continue
            if time.monotonic() >= deadline:
                self._patience = 0.0
                raise StoreUnavailable(
                    f"{self.path}: another process has held the lock for {self.timeout:g} s; is one stopped?"
                )
            time.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * (tries - _YIELDS)))
        self._patience = self.timeout

    @contextlib.contextmanager
    def held(self, first: Callable[[], None]) -> Iterator[None]:
        """Hold the lock for a block of code that is in no hurry, and begin with `first`."""
        with self.threads:
            try:
                if flock(self.fd, TRY):
                    self.wait()
                first()
                yield
            finally:
                flock(self.fd, UNLOCK)

    def close(self) -> None:
        """Give up the file; waiting for the lock is an error from now on."""
        with self.threads:
            self.fd = -1
            self._closing()

    def before_fork(self) -> None:
        """Let no child be born in the middle of a decision."""
        self._forking = self.threads.acquire(timeout=self.timeout)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._forking:
            self._forking = False
            self.threads.release()

    def after_fork_in_child(self) -> None:
        """Open the file anew under the same number: an inherited lock would outlive its holder."""
        if self.fd >= 0:
            fresh = self._reopen()
            if fresh < 0:
                self.fd = -1
                self._closing()
            else:
                os.dup2(fresh, self.fd, inheritable=False)
                os.close(fresh)
        if not self._forking:
            self.threads = threading.Lock()  # the thread that held the old one does not exist here
        self.after_fork_in_parent()

    def _reopen(self) -> int:
        for path in (self.path, f"/proc/self/fd/{self.fd}"):
            flags = os.O_RDWR | os.O_CLOEXEC | (os.O_NOFOLLOW if path == self.path else 0)
            with contextlib.suppress(OSError):
                fd = os.open(path, flags)
                status = os.fstat(fd)
                if (status.st_dev, status.st_ino) == self._identity:
                    return fd
                os.close(fd)
        return -1


_locks: weakref.WeakSet[ProcessLock] = weakref.WeakSet()


def _each(step: Callable[[ProcessLock], None]) -> Callable[[], None]:
    def run() -> None:
        for lock in list(_locks):
            step(lock)

    return run


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_each(ProcessLock.before_fork),
        after_in_parent=_each(ProcessLock.after_fork_in_parent),
        after_in_child=_each(ProcessLock.after_fork_in_child),
    )
