"""The users of the closed model: each plays its sessions one after another, as fast as the answers come."""

from __future__ import annotations

from sentinel.agenda import Agenda
from sentinel.draws import Draws, opening, opening_blocks
from sentinel.pacer import Segment
from sentinel.scenario import Scenario
from sentinel.sender import Call
from sentinel.strand import Flow
from sentinel.turns import Targets, Turns

NS = 1_000_000_000
ASK_NS = NS // 100  # how often the load is asked how many users it wants
LOOK_NS = NS // 20  # how often a user who is not wanted looks again
OPENINGS = 1 << 16  # worked out ahead for all users together


class Crowd:
    """Be the users that a load wants, as their number rises and falls."""

    def __init__(self, scenario: Scenario, segment: Segment, targets: Targets, agenda: Agenda) -> None:
        self._scenario = scenario
        self._segment = segment
        self._targets = targets
        self._agenda = agenda
        self._think_ns = round(scenario.pace_s * NS)
        self._start_ns = 0
        self._wanted = 0.0
        self._ask_ns = 0

    def enter(self, start_ns: int) -> None:
        """Launch every user, each at a moment of its own that follows from the seed."""
        scenario, segment = self._scenario, self._segment
        self._start_ns = self._ask_ns = start_ns
        count = round(scenario.concurrency)
        at_once = max(8, min(OPENINGS // max(count, 1), 128))
        spread_ns = min(max(self._think_ns, NS // 10), round(scenario.load.duration_s * NS) // 10)
        for number in range(segment.index, count, segment.count):
            begin_ns = start_ns + round(Draws(opening(scenario.seed, -1 - number)).share() * spread_ns)
            self._agenda.launch_session(self._user(number, count, at_once, begin_ns))

    def _user(self, number: int, count: int, at_once: int, at_ns: int) -> Flow:
        """Be one user, from an instant on and until it is over."""
        agenda = self._agenda
        turns = Turns(self._targets, opening_blocks(self._scenario.seed, number, count, at_once))
        yield agenda.pause(at_ns, between=True)
        while not agenda.over:
            if at_ns >= self._ask_ns:
                if at_ns >= agenda.end_ns:
                    break
                self._ask(at_ns)
            if number >= self._wanted:
                at_ns += LOOK_NS
                yield agenda.pause(at_ns, between=True)
                continue
            session = turns.session(at_ns)
            if isinstance(session, Call):
                _, ended_ns = yield session
            else:
                ended_ns = yield from session
            at_ns = ended_ns if ended_ns > at_ns else agenda.now()  # it failed, or nothing was sent
            if self._think_ns:
                at_ns += self._think_ns
                yield agenda.pause(at_ns, between=True)
        return at_ns

    def _ask(self, now: int) -> None:
        """Ask the load how many users it wants."""
        self._wanted = self._scenario.load.rate_at((now - self._start_ns) / NS)
        self._ask_ns = min(now + ASK_NS, self._agenda.end_ns)
