"""A driver in this process that remembers what it was asked, and plans small enough to be played at once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

from sentinel.application import Application, Step
from sentinel.drivers.driver import Done, Request, Response
from sentinel.run import RunRecord
from sentinel.scenario import Scenario
from sentinel.shapes import Sustained

Answer = Callable[[Request], tuple[int, object]]


class Recording:
    """Answer in process, after a while if asked to, and remember every request with its instant."""

    def __init__(self, answer: Answer = lambda request: (200, ""), delay_s: float = 0.0) -> None:
        self.counters: dict[str, int] = {}
        self.requests: list[tuple[int, Request]] = []
        self.closed = False
        self.most_in_flight = 0
        self._in_flight = 0
        self._waiting: dict[int, Done] = {}
        self._answer = answer
        self._delay_s = delay_s

    async def open(self) -> None:
        self.closed = False

    def send(self, request: Request, done: Done) -> None:
        self.requests.append((time.monotonic_ns(), request))
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        self._waiting[id(request)] = done
        if self._delay_s:
            asyncio.get_running_loop().call_later(self._delay_s, self._finish, request)
        else:
            self._finish(request)

    def _finish(self, request: Request) -> None:
        done = self._waiting.pop(id(request), None)
        if done is None:
            return
        self._in_flight -= 1
        status, body = self._answer(request)
        encoded = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        done(Response(status, [(b"retry-after", b"3")], encoded, time.monotonic_ns()))

    async def close(self) -> None:
        self.closed = True
        waiting, self._waiting = self._waiting, {}
        for done in waiting.values():
            done(Response(0, [], b"", time.monotonic_ns(), "the run ended"))

    def targets(self) -> list[str]:
        return [request.target for _, request in self.requests]


def app(*steps: Step, name: str = "one", requires: tuple[str, ...] = ()) -> Application:
    return Application(name, steps, requires=requires)


GET = app(Step("get", "/"))


def scenario(
    *applications: Application, sessions: int = 50, lasting_s: float = 0.1, **changes: object
) -> Scenario:
    """Start this many sessions, evenly, within a short time."""
    applications = applications or (GET,)
    given: dict[str, object] = {
        "name": "test",
        "load": Sustained(rate=sessions / lasting_s, duration_s=1).scaled(time=lasting_s),
        "mix": {applications[0].name: 1},
        "applications": applications,
    }
    return Scenario(**(given | changes))  # type: ignore[arg-type]


def counts(record: RunRecord) -> dict[str, int]:
    return {outcome: count for outcome, count in record.counts().items() if count}
