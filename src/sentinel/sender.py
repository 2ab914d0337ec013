"""Requests on their way: sent, or held back while too many are unanswered; judged and recorded."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator

from sentinel.agenda import Agenda
from sentinel.drivers.driver import Answer, BatchDriver, Driver, Parcel, Request, Response, response
from sentinel.drivers.heads import Head
from sentinel.recorder import Recorder
from sentinel.run import ErrorSample
from sentinel.script import ERROR, OK, Line
from sentinel.strand import Waiting
from sentinel.users import Session, Users

MOST_ERROR_SAMPLES = 50


class Call(Parcel):
    """Be one request of a session: the command a strand yields, resumed with (outcome, done)."""

    __slots__ = ("intended", "line", "sender", "session", "strand")

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

    def __call__(self, response: Response) -> None:
        """Take the answer."""
        head = Head(b"", response.status, response.headers, 0)
        self.sender.take(iter(((self, head, response.body, response.done_ns),)), response)


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
        self.batches = driver if isinstance(driver, BatchDriver) else None
        if self.batches is not None:
            self.batches.deliver, self.batches.due = self.take, agenda.due
        self.agenda = agenda
        self._recorder = recorder
        self._rows = recorder.rows
        self._block = recorder.block
        self._max = max_in_flight
        self._columns = columns
        self._capture = capture
        self._waiting: deque[Call] = deque()
        self._given_up: list[int] = []
        self._leaving: list[Call] = []
        self._errors: dict[tuple[str, str, int, str], list[int]] = {}

    def issue(self, call: Call) -> None:
        """Send a call, or hold it back until another one is answered; its lag will show that."""
        if self.in_flight >= self._max or self._waiting:  # whoever waits already goes first
            self.held_back += 1
            self._waiting.append(call)
            return
        self.in_flight += 1
        if not self._leaving:
            self.agenda.soon(self.flush)
        self._leaving.append(call)

    def flush(self) -> None:
        """Send the calls that are ready.

        One after another, once the answers at hand have been dealt with: taking turns with those would cost
        both their place in the processor's caches, and wake the server for each of them.
        """
        if self.closed or not self._leaving:
            return
        leaving, self._leaving = self._leaving, []
        try:
            if self.batches is not None:
                self.batches.send_all(leaving)
                return
            for call in leaving:
                call.sent = time.monotonic_ns()
                self._driver.send(call, call)
        except Exception as error:
            self.agenda.fail(error)

    def _release(self) -> None:
        """Let held-back calls leave as far as there is room."""
        while self._waiting and self.in_flight < self._max:
            self.in_flight += 1
            if not self._leaving:
                self.agenda.soon(self.flush)
            self._leaving.append(self._waiting.popleft())

    def take(self, answers: Iterator[Answer], whole: Response | None = None) -> None:
        """Judge and record answers, let the next calls go, and resume the sessions.

        whole: the answer as a driver gave it, if it did; others are put together for a closer look only.
        """
        rows, block, columns, agenda = self._rows, self._block, self._columns, self.agenda
        due = agenda.due
        for call, head, data, done in answers:
            if not isinstance(call, Call):  # not of the load: a clean-up, say
                call(response(head, data, done))
                continue
            try:
                self.in_flight -= 1
                sent, line = call.sent, call.line
                if done >= due.ns:
                    agenda.wake()  # do not let a burst of answers hold up what is due
                if done < sent:
                    done = sent
                fine = head.status in line.fine and data.find(line.contains, head.size) >= 0
                if fine and not columns:
                    outcome = OK
                    rows += (line.code, call.intended, sent, done)
                else:
                    answer = whole or response(head, data, done)
                    outcome = OK if fine else self._judge(call, answer)
                    rows += (line.code + outcome, call.intended, sent, done)
                    if columns:
                        rows += self._extra(call, answer)
                if len(rows) >= block:
                    self._recorder.take()
                if self._waiting:
                    self._release()
                strand = call.strand
                if strand is not None:
                    call.strand = None
                    strand.resume((outcome, done))
            except Exception as error:
                agenda.fail(error)

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

    def give_up(self) -> None:
        """Never send what is held back now, and end the sessions that it belongs to."""
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            self._given_up.append(call.intended)
            strand, call.strand = call.strand, None
            if strand is not None:
                strand.close()

    def unsent(self) -> list[int]:
        """Give the intended instants of the calls that never left."""
        return self._given_up + [call.intended for call in (*self._leaving, *self._waiting)]
