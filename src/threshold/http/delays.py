"""Delays: how many requests may be held back at once. Counts only; the shells do the waiting.

A shadow ban slows its callers down, and must not slow anybody else: a request beyond a bound goes on
undelayed. Nothing queues for a place.
"""

from __future__ import annotations

from threading import Lock

from ..errors import ConfigurationError


class Delays:
    """Places for requests that are being held back.

    Args:
        most: requests delayed at once, all callers together; 0 delays nobody.
        most_per_key: requests of one caller delayed at once.

    >>> delays = Delays(most=3, most_per_key=2)
    >>> [delays.enter("u1") for _ in range(3)], delays.active
    ([True, True, False], 2)
    >>> delays.leave("u1"); delays.active
    1
    """

    __slots__ = ("_by_key", "_lock", "_most", "_most_per_key", "active")

    def __init__(self, most: int, most_per_key: int) -> None:
        if type(most) is not int or not 0 <= most <= 1_000_000:
            raise ConfigurationError("max_delayed", most, "give a whole number of requests, 0 to 1,000,000")
        if type(most_per_key) is not int or not 0 <= most_per_key <= 1_000_000:
            remedy = "give a whole number of requests, 0 to 1,000,000"
            raise ConfigurationError("max_delayed_per_key", most_per_key, remedy)
        self._most = most
        self._most_per_key = most_per_key
        self._by_key: dict[str, int] = {}
        self._lock = Lock()
        self.active = 0
        """Requests held back now."""

    def enter(self, key: str) -> bool:
        """Take a place for a caller; False when there is none. Each place taken is given back by `leave`."""
        with self._lock:
            mine = self._by_key.get(key, 0)
            if self.active >= self._most or mine >= self._most_per_key:
                return False
            self.active += 1
            self._by_key[key] = mine + 1
            return True

    def leave(self, key: str) -> None:
        """Give a place back."""
        with self._lock:
            self.active -= 1
            mine = self._by_key[key] - 1
            if mine:
                self._by_key[key] = mine
            else:
                del self._by_key[key]


def quarter(threads: int | None, wanted: int | None) -> int:
    """How many threads of a WSGI server may wait at once: one by default, never more than a quarter.

    Raises:
        ConfigurationError: for more than a quarter of the threads, or of an unknown number of them.

    >>> quarter(None, None), quarter(8, None), quarter(2, None), quarter(16, 4)
    (1, 1, 0, 4)
    """
    if threads is not None and (type(threads) is not int or threads < 1):
        raise ConfigurationError("threads", threads, "give the number of threads of one server process")
    if wanted is None:
        return 1 if threads is None else min(1, threads // 4)
    if type(wanted) is int and wanted > 1 and threads is None:
        raise ConfigurationError("max_delayed", wanted, "say threads= too: at most a quarter may wait")
    if type(wanted) is int and threads is not None and wanted > threads // 4:
        remedy = f"a waiting thread serves nobody: give at most {threads // 4}, a quarter of the threads"
        raise ConfigurationError("max_delayed", wanted, remedy)
    return wanted
