"""Strands: generators driven by callbacks, the lightest way to have thousands of sessions under way.

A strand yields a command (send this, pause until then, do these at once) and is resumed with its result. No
task, no future and no trip through the loop's queue per request: that is most of what an asyncio client
costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Protocol, TypeAlias

Flow: TypeAlias = Generator["Command", Any, int]  # returns an instant (ns), FAILED when it went wrong
FAILED = -1
RUN_AT_ONCE = 64  # results in a row that came back at once before the loop gets a turn


class Waiting(Protocol):
    """Wait for a command's result."""

    def resume(self, result: object = None) -> None:
        """Go on with the result."""

    def close(self) -> None:
        """Give up: there will be no result."""


class Command(Protocol):
    """Be something a strand waits for."""

    def start(self, strand: Waiting) -> None:
        """Begin; resume the strand once, now or later."""


class Strand:
    """Drive one generator; `ended` is called once with what it returned, FAILED if closed early.

    An exception in the flow or in a command ends the strand too, after `failed` has been told of it.
    """

    __slots__ = ("_busy", "_ended", "_failed", "_flow", "_loop", "_ready", "_result")

    def __init__(
        self,
        flow: Flow,
        ended: Callable[[int], None],
        failed: Callable[[Exception], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._flow = flow
        self._ended: Callable[[int], None] | None = ended
        self._failed = failed
        self._loop = loop
        self._busy = False
        self._ready = False
        self._result: object = None

    def resume(self, result: object = None) -> None:
        """Go on with the result of the last command."""
        if self._busy:  # the command finished before it returned: the loop below goes on with it
            self._ready, self._result = True, result
            return
        self._busy = True
        turns = RUN_AT_ONCE
        try:
            self._flow.send(result).start(self)
            while self._ready:
                self._ready = False
                turns -= 1
                if not turns:
                    self._loop.call_soon(self.resume, self._result)
                    break
                self._flow.send(self._result).start(self)
        except StopIteration as stop:
            self._busy = False
            self._end(stop.value)
        except Exception as error:
            self._fail(error)
        else:
            self._busy = False

    def _fail(self, error: Exception) -> None:
        self._busy = False
        self._failed(error)
        self.close()

    def close(self) -> None:
        """Stop where it is."""
        self._flow.close()
        self._end(FAILED)

    def _end(self, value: int) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(value)


class AllOf:
    """Run several flows at once; resume with the instant the last one ended, FAILED when one of them did."""

    __slots__ = ("_flows", "_latest", "_launch", "_left", "_strand", "_well")

    def __init__(self, flows: list[Flow], launch: Callable[[Flow, Callable[[int], None]], None]) -> None:
        self._flows = flows
        self._launch = launch
        self._left = len(flows)
        self._well = True
        self._latest = 0
        self._strand: Waiting | None = None

    def start(self, strand: Waiting) -> None:
        """Launch every flow."""
        self._strand = strand
        flows, self._flows = self._flows, []
        for flow in flows:
            self._launch(flow, self._one_ended)

    def _one_ended(self, at_ns: int) -> None:
        self._left -= 1
        self._well = self._well and at_ns != FAILED
        self._latest = max(self._latest, at_ns)
        if not self._left and self._strand is not None:
            strand, self._strand = self._strand, None
            strand.resume(self._latest if self._well else FAILED)
