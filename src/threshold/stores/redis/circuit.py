"""Circuit: after a failure, ask again once per interval instead of every time.

Knows time and failure; knows nothing of servers, plans or sockets.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock

from ...errors import StoreUnavailable

logger = logging.getLogger("threshold")

OnTrouble = Callable[[str, str], None]
"""Called with ("opened" | "closed" | "warning", what happened)."""


class Circuit:
    """Keep a dead server from costing every caller the whole time budget.

    While open, one caller per interval is let through to see whether the server is back; the others are
    refused at once.

    Args:
        interval: seconds between probes.
        on_trouble: told when the circuit opens and closes; a hook that raises is logged.
        clock: seconds, for tests.

    >>> circuit = Circuit(1.0, clock=lambda: 0.0)
    >>> circuit.failed("no answer within 50 ms")
    >>> circuit.enter()
    Traceback (most recent call last):
    threshold.errors.StoreUnavailable: not asked: no answer within 50 ms; next attempt in 1.0 s
    """

    def __init__(
        self,
        interval: float,
        on_trouble: OnTrouble | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.closed = True
        """The server answered when it was last asked."""
        self._interval = interval
        self._on_trouble = on_trouble
        self._clock = clock
        self._lock = Lock()
        self._probe_at = 0.0
        self._reason = ""

    def enter(self) -> None:
        """Go on, or raise `StoreUnavailable` at once; while open, whoever goes on is the probe."""
        if self.closed:
            return
        with self._lock:
            wait = self._probe_at - self._clock()
            if wait > 0:
                raise StoreUnavailable(f"not asked: {self._reason}; next attempt in {wait:.1f} s")
            self._probe_at = self._clock() + self._interval

    def failed(self, reason: str) -> None:
        """The server did not answer: open."""
        with self._lock:
            was_closed, self.closed = self.closed, False
            self._reason = reason
            self._probe_at = self._clock() + self._interval
        if was_closed:
            self.tell("opened", reason)

    def answered(self) -> None:
        """The server answered: close."""
        if self.closed:
            return
        with self._lock:
            was_closed, self.closed = self.closed, True
        if not was_closed:
            self.tell("closed", "the server answers again")

    def tell(self, what: str, why: str) -> None:
        """Tell the log and the hook."""
        logger.log(logging.INFO if what == "closed" else logging.WARNING, "store %s: %s", what, why)
        if self._on_trouble is not None:
            try:
                self._on_trouble(what, why)
            except Exception:
                logger.exception("hook %r failed on %s", self._on_trouble, what)
