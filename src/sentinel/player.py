"""Sessions as flows: which step follows which, what is repeated, skipped or not waited for.

Flows yield commands and never touch a clock, a socket or a loop; the engine carries the commands out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import Protocol

from sentinel.draws import Opening
from sentinel.scenario import Scenario
from sentinel.script import OK, Line, Script
from sentinel.sender import Call, Sender
from sentinel.strand import FAILED, AllOf, Command, Flow
from sentinel.users import Session, Users

NS = 1_000_000_000


class Stage(Protocol):
    """Carry out what flows ask for: the engine's side."""

    def launch(self, flow: Flow, ended: Callable[[int], None] | None = None) -> None:
        """Run another flow beside the one that asks."""

    def launch_session(self, flow: Flow) -> None:
        """Run a flow that counts as a session."""

    def launch_single(self, command: Command) -> None:
        """Run a session that is a single command."""

    def pause(self, until_ns: int) -> Command:
        """Build the command that waits until an instant."""

    def now(self) -> int:
        """Give the instant, monotonic nanoseconds."""


class Player:
    """Turn arrivals into sessions of a scenario's applications."""

    def __init__(
        self, scenario: Scenario, scripts: dict[str, Script], users: Users, sender: Sender, stage: Stage
    ) -> None:
        self._scripts = scripts
        self._users = users
        self._sender = sender
        self._stage = stage
        self._sources = scenario.variables
        self._mix = [scripts[name] for name in scenario.mix]
        weights = list(accumulate(scenario.mix.values()))
        self.borders = [round(weight / weights[-1] * 2**32) for weight in weights[:-1]]

    def arrive(self, opening: Opening, at_ns: int) -> None:
        """Launch a session of the schedule."""
        session = self.session(opening, at_ns)
        if isinstance(session, Call):
            self._stage.launch_single(session)
        else:
            self._stage.launch_session(session)

    def begin(self, opening: Opening) -> Session:
        """Make a session: who it is of, and what it draws from."""
        return Session(opening, self._users, self._sources)

    def session(self, opening: Opening, at_ns: int) -> Flow | Call:
        """Play one whole session: its user and application follow from the seed and its number alone.

        An application of one plain step needs no flow: it is a single call.
        """
        session = Session(opening, self._users, self._sources)
        script = self._mix[bisect_right(self.borders, opening[1] >> 32)]
        if script.single is not None:
            return Call(self._sender, script.single, session, at_ns)
        return self._play(script, session, at_ns)

    def _play(self, script: Script, session: Session, at_ns: int) -> Flow:
        for name in script.application.requires:
            if name not in session.user.completed:
                at_ns = yield from self._play(self._scripts[name], session, at_ns)
                if at_ns == FAILED:
                    return FAILED
                session.user.completed.add(name)
        for group in script.groups:
            line = group[0]
            if line.step.mode == "background":
                self._stage.launch(self._step(line, session, at_ns))
            elif len(group) == 1:
                at_ns = yield from self._step(line, session, at_ns)
            else:
                at_ns = yield AllOf([self._step(one, session, at_ns) for one in group], self._stage.launch)
            if at_ns == FAILED:
                return FAILED
        return at_ns

    def _step(self, line: Line, session: Session, at_ns: int) -> Flow:
        step, repeat = line.step, line.step.repeat
        if step.probability < 1 and session.share() >= step.probability:
            return at_ns
        if step.pause_s:
            at_ns += round(session.about(step.pause_s, step.pause_variance_s) * NS)
            yield self._stage.pause(at_ns)
        begun = at_ns
        for turn in range(repeat.times):
            if turn and repeat.every_s:
                due = begun + round(session.about(repeat.every_s, repeat.variance_s) * NS)
                if due > at_ns:
                    at_ns = due
                    yield self._stage.pause(at_ns)
            begun = at_ns
            outcome, at_ns = yield Call(self._sender, line, session, begun)
            if outcome != OK:
                return FAILED
        return at_ns
