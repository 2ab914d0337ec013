"""Sessions as flows: which step follows which, what is repeated, skipped or not waited for.

Flows yield commands and never touch a clock, a socket or a loop; the engine carries the commands out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import Protocol

from sentinel.scenario import Scenario
from sentinel.script import OK, Line, Script
from sentinel.sender import Call, Sender
from sentinel.sources import Draws
from sentinel.strand import FAILED, AllOf, Command, Flow
from sentinel.users import Session, Users

NS = 1_000_000_000


class Stage(Protocol):
    """Carry out what flows ask for: the engine's side."""

    def launch(self, flow: Flow, ended: Callable[[int], None] | None = None) -> None:
        """Run another flow beside the one that asks."""

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
        self._seed = scenario.seed
        self._sources = scenario.variables
        self._mix = [scripts[name] for name in scenario.mix]
        weights = list(accumulate(scenario.mix.values()))
        self._shares = [weight / weights[-1] for weight in weights]

    def session(self, number: int, at_ns: int) -> Flow:
        """Play one whole session: its user and application follow from the seed and its number alone."""
        draws = Draws(self._seed, number)
        script = self._mix[min(bisect_right(self._shares, draws.share()), len(self._mix) - 1)]
        session = Session(number, self._users.of_session(number, draws), draws, self._sources)
        if script.single is not None:
            return self._once(script.single, session, at_ns)
        return self._play(script, session, at_ns)

    def _once(self, line: Line, session: Session, at_ns: int) -> Flow:
        """Play an application of one plain step: most requests of most mixes, so worth a shorter way."""
        outcome, done_ns = yield Call(self._sender, line, session, at_ns)
        return done_ns if outcome == OK else FAILED

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
        if step.probability < 1 and session.draws.share() >= step.probability:
            return at_ns
        if step.pause_s:
            at_ns += round(session.draws.about(step.pause_s, step.pause_variance_s) * NS)
            yield self._stage.pause(at_ns)
        begun = at_ns
        for turn in range(repeat.times):
            if turn and repeat.every_s:
                due = begun + round(session.draws.about(repeat.every_s, repeat.variance_s) * NS)
                if due > at_ns:
                    at_ns = due
                    yield self._stage.pause(at_ns)
            begun = at_ns
            outcome, at_ns = yield Call(self._sender, line, session, begun)
            if outcome != OK:
                return FAILED
        return at_ns


def closed_user(
    player: Player,
    stage: Stage,
    number: int,
    count: int,
    start_ns: int,
    think_ns: int,
    wait: Callable[[int], int],
) -> Flow:
    """Be one user of the closed model: sessions one after another, with a pause between them, until it is
    over.

    number, count: which user of how many. start_ns: when to begin. wait: given the number, says until when to
    stay away: 0 to start a session at once, FAILED to leave for good.
    """
    at_ns, turn = start_ns, 0
    yield stage.pause(at_ns)
    while (until := wait(number)) != FAILED:
        if until:
            at_ns = until
            yield stage.pause(until)
            continue
        yield from player.session(turn * count + number, at_ns)
        turn += 1
        at_ns = stage.now()
        if think_ns:
            at_ns += think_ns
            yield stage.pause(at_ns)
    return at_ns
