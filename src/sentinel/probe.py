"""One request at a time through a driver, seen as the oracle needs it: sent, answered, admitted or
refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection

from sentinel.drivers.driver import Driver, Request, Response
from sentinel.observations import Observation
from sentinel.witness import Narrow

REFUSED = frozenset({429})
ADMITTED = frozenset(range(200, 300))


class Probe:
    """Send requests for a key through a driver and observe them; audits and overhead experiments are run
    with it.

    `request` makes the request of a key; `admitted` are the statuses that only a request gets which the
    limiter let through (2xx), `refused` those that mean a refusal (429). Whether the limiter ever saw a
    request that was answered by any other status, or not at all, nobody can tell: a login, a redirect or the
    HTTP server itself may have stood before it. A driver that had to send something twice may have spent two
    admissions on one: `doubtful` lists the extra observations that account for it, and belongs to the rows of
    an audit. `narrow` brings an observation closer to the decision by what the answer tells.
    """

    def __init__(
        self,
        driver: Driver,
        request: Callable[[str], Request],
        *,
        admitted: Collection[int] = ADMITTED,
        refused: Collection[int] = REFUSED,
        narrow: Narrow | None = None,
    ) -> None:
        self.doubtful: list[tuple[str, Observation]] = []
        self._driver = driver
        self._request = request
        self._admitted = frozenset(admitted)
        self._refused = frozenset(refused)
        self._narrow = narrow

    async def __call__(self, key: str) -> Observation:
        """Send one request and wait for its answer."""
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        request = self._request(key)
        retries = self._driver.counters.get("retries", 0)
        sent_ns = time.monotonic_ns()
        self._driver.send(request, lambda response: None if answer.done() else answer.set_result(response))
        response = await answer
        done_ns = max(sent_ns, response.done_ns)
        if (
            self._driver.counters.get("retries", 0) != retries
        ):  # perhaps another's; counted for the limiter either way
            self.doubtful.append((key, Observation(sent_ns, done_ns, None)))
        if response.status in self._refused:
            seen = Observation(sent_ns, done_ns, False, response.retry_after(), response.status)
        else:
            passed = True if response.status in self._admitted else None
            seen = Observation(sent_ns, done_ns, passed, None, response.status)
        return seen if self._narrow is None else self._narrow(seen, response)
