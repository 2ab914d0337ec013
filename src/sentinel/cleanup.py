"""Removing what a run created, after its traffic and however it ended.

A caller that is told to wait (429, or a 503 that says how long) is asked nothing more until then, and one
request at a time from then on; callers nobody refused go on. When several are refused and nobody is let
through, the limit seems to be one of them all: all of them wait, and go on one at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import time
from collections import deque
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import NamedTuple, TypeAlias

from sentinel.drivers.driver import Driver, Request, Response
from sentinel.stopping import stoppable

AT_ONCE = 8
GONE = (404, 410)
MOST_NAMED = 20
UNTOLD_S = 1.0  # to wait after a 429 that does not say how long, doubled with every one in a row
UNTOLD_DOUBLINGS = 4
SHORTEST_S = 0.05  # doubled with every wait that was in vain, up to UNTOLD_S: against a Retry-After that lies
TOGETHER = 3  # callers refused with nobody let through in between: the limit is not each caller's own
DEAD = 8  # requests one after another without any answer: nothing more is asked
HOPELESS = 20  # so many of them, and nobody's wait ends in time
TELL_EVERY_S = 10.0

_log = logging.getLogger(__name__)
_Key: TypeAlias = tuple[bytes, bytes, str]


class Cleaned(NamedTuple):
    """Tell what was removed: {"cleaned": ..., "left_behind": ...}, empty when there was nothing to remove.

    left_behind: the first of what remains, each as the request that did not remove it and why.
    """

    counters: dict[str, int]
    left_behind: tuple[str, ...]


async def clean_up(driver: Driver, requests: Sequence[Request], budget_s: float) -> Cleaned:
    """Send the removing requests, the latest creation first, for at most `budget_s` seconds.

    A Retry-After is obeyed as long as it ends within that time. A Ctrl-C ends the clean-up, not the program.
    What remains is named, in warnings as well, so that somebody can remove it by hand.
    """
    if not requests:
        return Cleaned({}, ())
    left = await _CleanUp(driver, requests, budget_s).done()
    remaining = [request for request in requests if id(request) in left]
    named = tuple(f"{one.method} {one.target} {left[id(one)]}" for one in remaining[:MOST_NAMED])
    for line in named:
        _log.warning("left behind: %s", line)
    if len(remaining) > MOST_NAMED:
        _log.warning("left behind: %d more", len(remaining) - MOST_NAMED)
    return Cleaned({"cleaned": len(requests) - len(remaining), "left_behind": len(remaining)}, named)


class _Refused:
    """Be a caller that was refused: what it still has to ask, how often in a row it was refused, and whether
    it waits, or would have to wait too long."""

    __slots__ = ("again", "hopeless", "requests", "waits")

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        self.again = 0
        self.waits = False
        self.hopeless = False


class _CleanUp:
    """One clean-up on a running loop."""

    def __init__(self, driver: Driver, requests: Sequence[Request], budget_s: float) -> None:
        self._driver = driver
        self._loop = asyncio.get_running_loop()
        self._ends = self._loop.time() + budget_s
        self._fresh = list(requests)
        self._left = {id(request): "was not asked in time" for request in requests}
        self._all = len(requests)
        self._refused: dict[_Key, _Refused] = {}
        self._paused: list[tuple[float, int, _Key]] = []
        self._pauses = 0
        self._together: set[_Key] = set()
        self._under_way = 0
        self._at_once = AT_ONCE
        self._all_wait_until = 0.0
        self._unanswered = 0
        self._news = asyncio.Event()
        self._stopped = False
        self._untold = False
        self._told = float("-inf")

    async def done(self) -> dict[int, str]:
        """Remove what can be removed; give what is left, by the id of its request, and why."""
        with stoppable(self._stop):
            while not self._stopped and self._unanswered < DEAD and self._loop.time() < self._ends:
                request = self._next()
                if request is not None:
                    self._send(request)
                elif self._under_way or self._paused:
                    await self._wait()
                else:
                    break
        return dict(self._left)

    def _stop(self) -> None:
        self._stopped = True
        self._news.set()

    def _next(self) -> Request | None:
        """Choose what may be asked now: that of callers nobody refused first."""
        if self._full() or self._loop.time() < self._all_wait_until:
            return None
        while self._fresh and len(self._together) < HOPELESS:
            request = self._fresh.pop()
            key = _key(request)
            if key not in self._refused:
                return request
            self._refused[key].requests.appendleft(request)  # of later creation is what it has already
            self._pause(key, 0.0)
        if self._paused and self._paused[0][0] <= self._loop.time():
            caller = self._refused[heapq.heappop(self._paused)[2]]
            caller.waits = False
            return caller.requests.pop()
        return None

    def _full(self) -> bool:
        return self._under_way >= self._at_once

    def _send(self, request: Request) -> None:
        self._left[id(request)] = "was not answered in time"
        self._under_way += 1
        try:
            self._driver.send(request, lambda response: self._take(request, response))
        except Exception as error:
            self._take(request, Response(0, [], b"", 0, f"{type(error).__name__}: {error}"))

    def _take(self, request: Request, response: Response) -> None:
        self._under_way -= 1
        self._news.set()
        key, wait_s = _key(request), announced_s(response)
        self._unanswered = 0 if response.status else self._unanswered + 1
        if response.status == 429 or (response.status == 503 and wait_s):
            told = "" if wait_s is None else f", to be asked again in {wait_s:.0f} s"
            self._left[id(request)] = f"answered {response.status}{told}"
            self._refuse(request, wait_s)
            return
        if 200 <= response.status < 300 or response.status in GONE:
            self._left.pop(id(request), None)
            self._together.clear()
        else:
            self._left[id(request)] = f"answered {response.status or response.error}"
        if key in self._refused:
            self._refused[key].again = 0
            self._pause(key, 0.0)

    def _refuse(self, request: Request, told_s: float | None) -> None:
        """Have a caller wait before it asks again, unless that is too long."""
        key = _key(request)
        caller = self._refused.setdefault(key, _Refused())
        caller.requests.append(request)
        self._together.add(key)
        self._untold = told_s is None
        if told_s is None:
            wait_s = UNTOLD_S * 2 ** min(caller.again, UNTOLD_DOUBLINGS)
        else:
            wait_s = max(told_s, min(UNTOLD_S, SHORTEST_S * 2**caller.again))
        if not caller.waits:
            self._pause(key, wait_s)
            caller.again = min(caller.again + 1, 10)
        if len(self._together) >= TOGETHER:
            self._at_once = 1
            due = self._loop.time() + wait_s
            self._all_wait_until = max(self._all_wait_until, due if due < self._ends else 0.0)

    def _pause(self, key: _Key, wait_s: float) -> None:
        caller, due = self._refused[key], self._loop.time() + wait_s
        caller.hopeless |= due >= self._ends
        if caller.requests and not caller.waits and not caller.hopeless:
            caller.waits = True
            self._pauses += 1
            heapq.heappush(self._paused, (due, self._pauses, key))

    async def _wait(self) -> None:
        """Wait for an answer, or until somebody may ask again; say so now and then."""
        now = self._loop.time()
        due = self._paused[0][0] if self._paused and not self._full() else self._ends
        until = min(self._ends, max(due, self._all_wait_until))
        if not self._under_way and until - now >= UNTOLD_S / 2 and now >= self._told + TELL_EVERY_S:
            self._told = now
            why = "the target refuses and names no wait:" if self._untold else "the target has it wait"
            _log.warning(
                "clean-up: %d of %d removed; %s %.0f s more (it ends within %.0f s; Ctrl-C ends it now)",
                self._all - len(self._left), self._all, why, until - now, self._ends - now,
            )  # fmt: skip
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(until - now, TELL_EVERY_S)):
                await self._news.wait()


def announced_s(response: Response) -> float | None:
    """Give the wait that an answer announces, in seconds from now: a number of them, or a date (RFC 9110,
    10.2.3) by this machine's clock; None where it names neither.

    >>> announced_s(Response(429, [(b"retry-after", b"Wed, 21 Oct 2015 07:28:00 GMT")], b"", 0))
    0.0
    >>> announced_s(Response(429, [(b"retry-after", b"banana")], b"", 0)) is None
    True
    """
    wait_s = response.retry_after()
    if wait_s is None and response.status >= 400 and (text := response.header("retry-after")):
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
        except (ValueError, OverflowError):
            return None
    return wait_s


def _key(request: Request) -> _Key:
    """Tell callers apart by all that may tell a limiter who asks."""
    return request.common.wire, request.headers.wire, request.key
