"""Newcomers: find a place for every key of a plan that has none, or let it share. Runs under the lock."""

from __future__ import annotations

from ...plan import Plan, State
from . import cells
from .layout import COUNT
from .place import Place
from .table import Table

_ROWS_WHEN_FULL = 2


class Newcomers:
    """The keys of a plan that are new to the table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def house(
        self, plan: Plan, places: list[Place], states: list[State], rooms: dict[Place, int], now: int
    ) -> int:
        """Find cells for the keys that have none; where there is none either, turn to the overflow state.

        Changes `places` and `states` for the latter, and says how many they are.
        """
        table = self._table
        overflowed = 0
        for i, state in enumerate(states):
            place = places[i]
            if state is not None or place in rooms:
                continue
            room = self.room(place, places, rooms, now)
            if room:
                rooms[place] = room
                continue
            rule = plan.rules[i]
            overflowed += 1
            places[i] = place = table.places.of_overflow(rule.scope)
            states[i] = table.load(place, rule.limit, now)
            if states[i] is None:
                rooms[place] = table.rooms.room(place, now, self._taken(places, rooms))
                if not rooms[place]:
                    states[i] = cells.exhausted(rule.limit, now)
        return overflowed

    def room(self, place: Place, places: list[Place], rooms: dict[Place, int], now: int) -> int:
        """A cell for a new key, within the number of keys asked for; 0 when there is none."""
        table = self._table
        taken = self._taken(places, rooms)
        most = table.geometry.max_keys - len(rooms)
        if table.words[COUNT] >= most:
            table.rooms.sweep(now, _ROWS_WHEN_FULL, taken)
        if table.words[COUNT] >= most:
            return 0
        return table.rooms.room(place, now, taken)

    @staticmethod
    def _taken(places: list[Place], rooms: dict[Place, int]) -> set[int]:
        return {place.cell for place in places if place.cell} | set(rooms.values())
