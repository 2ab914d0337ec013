"""Removing what a run created, after its traffic and however it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import NamedTuple

from sentinel.drivers.driver import Driver, Request, Response

AT_ONCE = 8
GONE = (404, 410)
LONGEST_WAIT_S = 1.0
MOST_NAMED = 20

_log = logging.getLogger(__name__)


class Cleaned(NamedTuple):
    """Tell what was removed: {"cleaned": ..., "left_behind": ...}, empty when there was nothing to remove.

    left_behind: the first of what remains, each as the request that did not remove it and why.
    """

    counters: dict[str, int]
    left_behind: tuple[str, ...]


async def clean_up(driver: Driver, requests: Sequence[Request], budget_s: float) -> Cleaned:
    """Send the removing requests, the latest creation first, for at most `budget_s` seconds.

    A refusal (429) is waited for as announced, up to a second, and tried once more. What remains is named, in
    warnings as well, so that somebody can remove it by hand.
    """
    if not requests:
        return Cleaned({}, ())
    waiting = list(requests)
    left = {id(request): "was not asked in time" for request in requests}

    async def worker() -> None:
        while waiting:
            request = waiting.pop()
            left[id(request)] = "was not answered in time"
            response = await _ask(driver, request)
            if response.status == 429:
                await asyncio.sleep(min(response.retry_after() or LONGEST_WAIT_S, LONGEST_WAIT_S))
                response = await _ask(driver, request)
            if 200 <= response.status < 300 or response.status in GONE:
                del left[id(request)]
            else:
                left[id(request)] = f"answered {response.status or response.error}"

    workers = [asyncio.ensure_future(worker()) for _ in range(AT_ONCE)]
    _, late = await asyncio.wait(workers, timeout=budget_s)
    for task in late:
        task.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    remaining = [request for request in requests if id(request) in left]
    named = tuple(f"{one.method} {one.target} {left[id(one)]}" for one in remaining[:MOST_NAMED])
    for line in named:
        _log.warning("left behind: %s", line)
    if len(remaining) > MOST_NAMED:
        _log.warning("left behind: %d more", len(remaining) - MOST_NAMED)
    return Cleaned({"cleaned": len(requests) - len(remaining), "left_behind": len(remaining)}, named)


async def _ask(driver: Driver, request: Request) -> Response:
    answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def done(response: Response) -> None:
        if not answer.done():
            answer.set_result(response)

    driver.send(request, done)
    return await answer
