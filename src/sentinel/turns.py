"""The sessions of a user of the closed model, worked out a block at a time.

A session of one plain step whose path takes at most one value, one of a few, differs from the user's others
of its kind in its target alone. Which target follows from the session's opening, for a whole block by a few
operations on arrays, and the user has one call of each kind, used again and again. All other sessions are
played as in the open model. Either way a session sends the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sentinel.draws import HALF, Block
from sentinel.player import Player
from sentinel.scenario import Scenario
from sentinel.script import Line, Script, in_path
from sentinel.sender import Call, Sender
from sentinel.strand import Flow
from sentinel.users import LASTING, Users

IRREGULAR = -1


class Targets:
    """Know which applications are regular, and every target of those.

    lines: of the regular ones. entries: (index of the line, target); those of the mix's i-th application are
    `count[i]` from `first[i]` on, or a single one that says IRREGULAR.
    """

    def __init__(
        self, scenario: Scenario, scripts: dict[str, Script], sender: Sender, player: Player
    ) -> None:
        self.sender = sender
        self.player = player
        self.lines: list[Line] = []
        self.entries: list[tuple[int, str]] = []
        self._scenario = scenario
        self._extracted = {
            extract.name
            for name in scenario.reachable()
            for step in scenario.application(name).steps
            for extract in step.extract
        }
        steady = sender.batches is not None and self._steady_users()
        first, count = [], []
        for name in scenario.mix:
            line = scripts[name].single
            targets = self._targets(line) if line is not None and steady else []
            first.append(len(self.entries))
            count.append(max(1, len(targets)))
            if line is not None and targets:
                self.entries += [(len(self.lines), target) for target in targets]
                self.lines.append(line)
            else:
                self.entries.append((IRREGULAR, ""))
        self._first = np.array(first)
        self._count = np.array(count, np.uint64)
        self._borders = np.array(player.borders, np.uint64)

    def _steady_users(self) -> bool:
        """Tell whether each user of the crowd stays who it is, with the same common headers throughout."""
        scenario, users = self._scenario, self._scenario.users
        return (
            not users.hot_share
            and scenario.user_count == round(scenario.concurrency)
            and self._extracted.isdisjoint(LASTING)
            and Users(users, 1).fixed
        )

    def _targets(self, line: Line) -> list[str]:
        """Give every target of a line, in the order of the draws that lead to them; none if irregular."""
        names = line.path.names
        if not line.steady or len(names) > 1:
            return []
        if not names:
            return [line.path.text]
        source = self._scenario.variables.get(names[0])
        if source is None or names[0] in self._extracted | LASTING:
            return []
        return [line.path.format % in_path(value) for value in source.values()]

    def look_up(self, block: Block) -> list[tuple[int, str]]:
        """Give the entry of every session of a block."""
        _, bits = block
        half = np.uint64(HALF)
        application = np.searchsorted(self._borders, bits >> np.uint64(32), side="right")
        place = ((bits & half) * self._count[application] >> np.uint64(32)).astype(np.int64)
        entries = self.entries
        return [entries[at] for at in (place + self._first[application]).tolist()]


class Turns:
    """Be the sessions of one user, one after another."""

    def __init__(self, targets: Targets, blocks: Iterator[Block]) -> None:
        self._targets = targets
        self._blocks = blocks
        self._calls: list[Call] = []
        self._entries: list[tuple[int, str]] = []
        self._block: Block = (range(0), np.empty(0, np.uint64))

    def session(self, at_ns: int) -> Flow | Call:
        """Begin the next session."""
        if not self._entries:
            self._next_block()
        place, target = self._entries.pop()
        if place == IRREGULAR:
            numbers, bits = self._block
            at = len(numbers) - 1 - len(self._entries)
            return self._targets.player.session((numbers[at], int(bits[at])), at_ns)
        call = self._calls[place]
        call.target = target
        call.intended = at_ns
        call.wire = None
        return call

    def _next_block(self) -> None:
        block = self._block = next(self._blocks)
        self._entries = self._targets.look_up(block)
        self._entries.reverse()
        if not self._calls and self._targets.lines:
            session = self._targets.player.begin((block[0][0], int(block[1][0])))
            self._calls = [Call(self._targets.sender, line, session, 0) for line in self._targets.lines]
