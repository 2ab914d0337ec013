"""What is due when: arrivals from the schedule, and sessions that pause, all woken by one timer."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Callable, Iterator
from heapq import heappop, heappush

from sentinel.draws import Opening
from sentinel.drivers.driver import NEVER, Due
from sentinel.pacer import Schedule
from sentinel.strand import Command, Flow, Strand, Waiting
from sentinel.timer import Timer, make_timer

ARRIVALS_A_TURN = 32  # overdue arrivals that start before the loop gets to read answers


class Agenda:
    """Start sessions at their instants and resume strands at theirs.

    session: given an arrival's opening and instant, launches its session. started: called when all that were
    due have been. due: the instant of what comes next. `sessions` and `strands` count what is under way,
    `cut` the strands that were ended in the middle of a session.
    """

    def __init__(self, session: Callable[[Opening, int], None], started: Callable[[], None]) -> None:
        self.sessions = 0
        self.strands = 0
        self.cut = 0
        self.over = False
        self.end_ns = 0
        self.due = Due()
        self.failure: Exception | None = None
        self._waking = False
        self._session = session
        self._started = started
        self._single = _Single(self)
        self._instants: array[int] = array("q")
        self._openings: Iterator[Opening] = iter(())
        self._next = 0
        self._pauses: list[tuple[int, int, Waiting, bool]] = []
        self._pause_number = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: Timer | None = None
        self._timer_ns = NEVER

    def begin(self, plan: Schedule | None, openings: Iterator[Opening], start_ns: int, end_ns: int) -> None:
        """Take in the arrivals (none in the closed model) and set the timer for the first.

        Where the load was ended before it began, nothing of it is due.
        """
        self.end_ns = start_ns if self.over else end_ns
        if plan is not None:
            self._instants = array("q", (plan.instants + start_ns).tobytes())
            self._openings = openings
        self._loop = asyncio.get_running_loop()
        self._timer = make_timer(self._loop, self._timer_fired)
        self._set_timer()

    # ---- what flows ask for

    def now(self) -> int:
        """Give the instant, monotonic nanoseconds."""
        return time.monotonic_ns()

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back when the loop has dealt with what is at hand."""
        assert self._loop is not None, "flows run between begin() and finish()"
        self._loop.call_soon(callback)

    def launch(self, flow: Flow, ended: Callable[[int], None] | None = None) -> None:
        """Run a flow beside the others."""
        assert self._loop is not None, "flows run between begin() and finish()"
        self.strands += 1

        def over(result: int) -> None:
            self.strands -= 1
            if ended is not None:
                ended(result)

        Strand(flow, over, self.fail, self._loop).resume()

    def launch_session(self, flow: Flow) -> None:
        """Run a flow that counts as a session."""
        self.sessions += 1
        self.launch(flow, self._session_over)

    def launch_single(self, command: Command) -> None:
        """Run a session that is a single command."""
        self.sessions += 1
        self.strands += 1
        try:
            command.start(self._single)
        except Exception as error:
            self.fail(error)
            self._single.close()

    def pause(self, until_ns: int, *, between: bool = False) -> Pause:
        """Build the command that waits until an instant; `between` two sessions, there is nothing to cut."""
        return Pause(self, until_ns, between)

    def hold(self, strand: Waiting, until_ns: int, between: bool) -> None:
        """Resume a strand at an instant; end it when that lies after the end of the load."""
        if self.over or until_ns >= self.end_ns:
            self.cut += not between
            strand.close()
            return
        self._pause_number += 1
        heappush(self._pauses, (until_ns, self._pause_number, strand, between))
        if self._pauses[0][0] == until_ns:
            self._set_timer()

    def fail(self, error: Exception) -> None:
        """Take note of something that must not happen, such as a driver that raises, and end the load."""
        self.failure = self.failure or error
        if not self.over:
            self.end_ns = min(self.end_ns, time.monotonic_ns())
            self.finish()

    # ---- the end

    @property
    def exhausted(self) -> bool:
        """Tell whether every arrival has started."""
        return self._next >= len(self._instants)

    def finish(self) -> None:
        """Start nothing more; strands that pause end here."""
        self.over = True
        self.due.ns = NEVER
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        pauses, self._pauses = self._pauses, []
        for _, _, strand, between in pauses:
            self.cut += not between
            strand.close()

    def unstarted(self) -> list[int]:
        """Give the instants of the arrivals that were due and never started."""
        return [at for at in self._instants[self._next :] if at < self.end_ns]

    # ---- the timer

    def wake(self) -> None:
        """Start the sessions and resume the strands that are due.

        The timer calls this; so does whoever notices that `due` has passed. When hundreds of answers arrive
        at once, the timer's turn comes after all of them, and the load would wait for the server after all.
        """
        if self.over or self._waking:
            return
        self._waking = True
        try:
            through = self._start_what_is_due()
            self._started()
        finally:
            self._waking = False
        self._set_timer()
        if not through:
            self.due.ns = NEVER  # the rest waits for the timer: answers, and the end of the run, have a turn

    def _timer_fired(self) -> None:
        self._timer_ns = NEVER
        self.wake()

    def _start_what_is_due(self) -> bool:
        """Start a turn's arrivals, and whatever pauses no longer; tell whether nothing is left over."""
        now, instants = time.monotonic_ns(), self._instants
        for _ in range(ARRIVALS_A_TURN):
            place = self._next
            through = place >= len(instants) or instants[place] > now
            if through:
                break
            self._next = place + 1
            self._session(next(self._openings), instants[place])
        while self._pauses and self._pauses[0][0] <= now:
            heappop(self._pauses)[2].resume()
        return through

    def _set_timer(self) -> None:
        """Note what comes next; have the timer set when it would not go off by then anyway.

        Setting it is a call of the system that takes up to 20 µs: in a burst of answers it is left as it is.
        """
        due = self._instants[self._next] if self._next < len(self._instants) else NEVER
        if self._pauses:
            due = min(due, self._pauses[0][0])
        self.due.ns = due
        if due < self._timer_ns and self._timer is not None and not self._waking:
            self._timer_ns = due
            self._timer.wake_at(due)

    def _session_over(self, _: int) -> None:
        self.sessions -= 1


class _Single:
    """Stand in for the strand of a session that is one command: nothing follows its result."""

    __slots__ = ("_agenda",)

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda

    def resume(self, result: object = None) -> None:
        """Count the session as over."""
        self._agenda.sessions -= 1
        self._agenda.strands -= 1

    def close(self) -> None:
        """Count the session as over."""
        self.resume()


class Pause:
    """Wait until an instant."""

    __slots__ = ("_agenda", "_between", "_until_ns")

    def __init__(self, agenda: Agenda, until_ns: int, between: bool) -> None:
        self._agenda = agenda
        self._until_ns = until_ns
        self._between = between

    def start(self, strand: Waiting) -> None:
        """Begin waiting."""
        self._agenda.hold(strand, self._until_ns, self._between)
