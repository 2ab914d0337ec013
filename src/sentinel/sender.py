"""Requests on their way: sent, or held back while too many are unanswered; judged and recorded."""

from __future__ import annotations

import time
from collections import deque

from sentinel.agenda import Agenda
from sentinel.drivers.driver import Driver, Request, Response
from sentinel.recorder import Recorder
from sentinel.run import ErrorSample
from sentinel.script import ERROR, OK, Line
from sentinel.strand import Waiting
from sentinel.users import Session, Users

MOST_ERROR_SAMPLES = 50


class Call(Request):
    """Be one request of a session: the command a strand yields, resumed with (outcome, done)."""

    __slots__ = ("intended", "line", "sender", "sent", "session", "strand")

    def __init__(self, sender: Sender, line: Line, session: Session, intended: int) -> None:
        self.sender = sender
        self.line = line
        self.session = session
        self.intended = intended
        self.sent = 0
        self.strand: Waiting | None = None
        line.fill(self, session, sender.users)

    def start(self, strand: Waiting) -> None:
        """Send it."""
        self.strand = strand
        self.sender.issue(self)

    def done(self, response: Response) -> None:
        """Take the answer."""
        try:
            self.sender.answered(self, response)
        except Exception as error:
            self.sender.agenda.fail(error)


class Sender:
    """Send calls, at most `max_in_flight` unanswered ones at a time, and record every answer."""

    def __init__(
        self,
        driver: Driver,
        recorder: Recorder,
        users: Users,
        agenda: Agenda,
        max_in_flight: int,
        *,
        columns: bool,
        capture: str | None,
    ) -> None:
        self.users = users
        self.in_flight = 0
        self.held_back = 0
        self.undo: list[Request] = []
        self.captured: list[str | None] = []
        self.closed = False
        self._driver = driver
        self.agenda = agenda
        self._recorder = recorder
        self._rows = recorder.rows
        self._block = recorder.block
        self._max = max_in_flight
        self._columns = columns
        self._capture = capture
        self._waiting: deque[Call] = deque()
        self._leaving: list[Call] = []
        self._errors: dict[tuple[str, str, int, str], list[int]] = {}

    def issue(self, call: Call) -> None:
        """Send a call, or hold it back until another one is answered; its lag will show that."""
        if self.in_flight >= self._max or self._waiting:  # whoever waits already goes first
            self.held_back += 1
            self._waiting.append(call)
            return
        self._leave(call)

    def _leave(self, call: Call) -> None:
        self.in_flight += 1
        self._leaving.append(call)
        if len(self._leaving) == 1:
            self.agenda.soon(self.flush)

    def flush(self) -> None:
        """Send the calls that are ready.

        One after another, once the answers at hand have been dealt with: taking turns with those would cost
        both their place in the processor's caches, and wake the server for each of them.
        """
        if self.closed or not self._leaving:
            return
        leaving, self._leaving = self._leaving, []
        try:
            for call in leaving:
                call.sent = time.monotonic_ns()
                self._driver.send(call, call.done)
        except Exception as error:
            self.agenda.fail(error)

    def _release(self) -> None:
        """Let held-back calls leave as far as there is room."""
        while self._waiting and self.in_flight < self._max:
            self._leave(self._waiting.popleft())

    def answered(self, call: Call, response: Response) -> None:
        """Judge and record an answer, let the next call go, and resume the session."""
        self.in_flight -= 1
        done, sent, line, rows = response.done_ns, call.sent, call.line, self._rows
        if done >= self.agenda.next_ns:
            self.agenda.wake()  # do not let a burst of answers hold up what is due
        if done < sent:
            done = sent
        outcome = OK if line.fine(response) else self._judge(call, response)
        if self._columns:
            rows += (line.code + outcome, call.intended, sent, done, *self._extra(call, response))
        else:
            rows += (line.code + outcome, call.intended, sent, done)
        if len(rows) >= self._block:
            self._recorder.take()
        if self._waiting:
            self._release()
        strand, call.strand = call.strand, None
        if strand is not None:
            strand.resume((outcome, done))

    def _judge(self, call: Call, response: Response) -> int:
        """Give the outcome of an answer that needs a closer look, or that values are taken from."""
        line = call.line
        outcome, problem = line.judge(response)
        if outcome == OK and line.step.extract:
            problem = line.extract(response, call.session)
            outcome = ERROR if problem else OK
        if outcome == OK and line.step.undo is not None:
            undo = line.undo(call.session, self.users)
            if undo is not None:
                self.undo.append(undo)
        if problem:
            self._note(call, response, problem)
        return outcome

    def _extra(self, call: Call, response: Response) -> tuple[int, int, int]:
        """Give what only audits ask for: status, user, announced wait."""
        if self._capture is not None:
            self.captured.append(response.header(self._capture))
        wait = response.retry_after()
        return response.status, call.session.user.number, -1 if wait is None else round(wait * 1e9)

    def _note(self, call: Call, response: Response, problem: str) -> None:
        application, step = self._recorder.series[call.line.code // 4]
        key = (application, step, response.status, problem)
        known = self._errors.get(key)
        if known is not None:
            known[1] += 1
        elif len(self._errors) < MOST_ERROR_SAMPLES:
            self._errors[key] = [(call.intended - self._recorder.start_ns) // 1_000_000_000, 1]

    def errors(self) -> tuple[ErrorSample, ...]:
        """Give the kinds of errors seen, the most frequent first."""
        samples = (
            ErrorSample(second, application, step, status, message, count)
            for (application, step, status, message), (second, count) in self._errors.items()
        )
        return tuple(sorted(samples, key=lambda sample: -sample.count))

    def unsent(self) -> list[int]:
        """Give the intended instants of the calls that never left."""
        return [call.intended for call in (*self._leaving, *self._waiting)]
