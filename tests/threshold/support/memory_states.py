"""Rules of every kind, short enough to run out in a test, and a look inside a MemoryStore."""

from __future__ import annotations

from threshold import Ladder, MemoryStore, Rung, SlidingWindow, TokenBucket
from threshold.plan import Rule, State

LADDER = Ladder([Rung(forgive=True), Rung(cooldown=2), Rung(ban=5, shadow=9)], decay=20)
RULES = (
    Rule.of("quick", "user", TokenBucket("4/second", burst=2), strikes=True),
    Rule.of("steady", "endpoint", SlidingWindow("2 per 3 seconds"), strikes=True),
    Rule.of("slow", "tenant", TokenBucket("2/minute")),
    Rule.of("day", "tenant", SlidingWindow("3/day", precision=24)),
)


def shards(store: MemoryStore) -> list[dict[str, State]]:
    """The dicts in which a store keeps its states."""
    return [shard for table in store._table.scopes.values() for shard in table.shards]
