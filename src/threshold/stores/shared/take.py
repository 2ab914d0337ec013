"""The quick way through a decision: one rule, one key, no plan. The same lock, table and steps, spelled out.

`Limiter` lives on this. What is not the common case is left to `SharedMemoryStore.decide`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from ...plan import Found, Outcome, Plan, Rule
from ...sliding_window import COUNT as COUNT_MASK
from ...sliding_window import SlidingWindow
from ...token_bucket import TokenBucket
from ..base import Clock, Take
from .cells import CHECK, KIND, MASK, PAYLOAD, RING, TOP, ring_of
from .journal import Writes
from .layout import COMMIT, COUNT, WORD
from .lock import TRY, UNLOCK, ProcessLock, flock
from .rooms import BUCKET_WORDS
from .table import RING_WORDS, Table

write_check_and_low: Final = struct.Struct("2q").pack_into
"""Write the two words of a charge, the check first: a death in between leaves the later instant there."""


def _another_shape(memory: object, offset: int) -> tuple[int, ...]:
    """Words that fit no place: what is not in a quick shape goes the other way."""
    return 0, 0, 0, 0


def take_from_bucket(
    bucket: TokenBucket, scope: str, table: Table, lock: ProcessLock, nanoseconds: Clock, other: Take
) -> Take:
    """Take from a bucket that stands where it stood last; anything else goes the `other` way."""
    words, memory, known = table.words, table.memory, table.places.known[scope].get
    step, drain = bucket.step, bucket.drain

    def take(name: str, cost: int) -> Found:
        place = known(name)
        if place is None or not place.cell:
            return other(name, cost)
        with lock.threads:
            try:
                if flock(lock.fd, TRY):
                    lock.wait()
                cell = place.cell * WORD
                first, _, check, low, high, _ = BUCKET_WORDS(memory, cell)
                seal = first ^ drain
                if first == place.first and check == low ^ seal and not high and not words[COMMIT]:
                    found = step(low, nanoseconds() // 1000, cost)
                    after = found[3]
                    if after is None or after == low:
                        return found
                    if 0 <= after < TOP:
                        write_check_and_low(memory, cell + CHECK * WORD, after ^ seal, after)
                        return found
            finally:
                flock(lock.fd, UNLOCK)
        return other(name, cost)

    return take


def take_from_ring(
    window: SlidingWindow, scope: str, table: Table, lock: ProcessLock, nanoseconds: Clock, other: Take
) -> Take:
    """Take from a ring that stands where it stood, in the shape it had; else go the `other` way."""
    words, memory, step = table.words, table.memory, window.step
    known = table.places.known[scope].get

    def take(name: str, cost: int) -> Found:
        place = known(name)
        if place is None or not place.cell or place.meta not in RING_WORDS:
            return other(name, cost)
        with lock.threads:
            try:
                if flock(lock.fd, TRY):
                    lock.wait()
                cell, shape, first = place.cell, place.meta, place.first
                # Another thread may have chained an extent since we looked: the shape is read again here.
                content = RING_WORDS.get(shape, _another_shape)(memory, cell << 3)
                payload = content[3:]
                total = sum(payload)
                if (
                    content[0] == first
                    and content[1] == shape
                    and content[2] == (shape + total & MASK) ^ first
                    and not words[COMMIT]
                ):
                    state = ring_of(payload, total)
                    found = step(state, nanoseconds() // 1000, cost)
                    after = found[3]
                    if after is state or after is None:
                        return found
                    if after > state and after ^ state <= COUNT_MASK:  # see Table.bump
                        grown = after - state
                        words[cell + PAYLOAD - 1 + len(payload)] = payload[-1] + grown
                        words[cell + CHECK] = (shape + total + grown & MASK) ^ first
                        return found
                    place.payload = payload
                    place.shape_and_sum = shape + total
                    place.state = state
                    writes: Writes = {}
                    table.save(writes, place, window, after)
                    table.journal.commit(writes)
                    return found
            finally:
                flock(lock.fd, UNLOCK)
        return other(name, cost)

    return take


def take_any(
    rule: Rule, table: Table, lock: ProcessLock, nanoseconds: Clock, decide: Callable[[Plan], Outcome]
) -> Take:
    """Take from any limit; a new key in a crowded table is left to `decide`."""
    words, rooms, place_of = table.words, table.rooms, table.places.under
    limit, step, rules, most = rule.limit, rule.limit.step, (rule,), table.geometry.max_keys
    scope = rule.scope
    ring = isinstance(limit, SlidingWindow)

    def take(name: str, cost: int) -> Found:
        place = place_of(scope, name)
        with lock.threads:
            try:
                if flock(lock.fd, TRY):
                    lock.wait()
                if words[COMMIT]:
                    table.journal.recover()
                now = nanoseconds() // 1000
                state = table.load(place, limit, now)
                if state is not None:
                    found = step(state, now, cost)
                    after = found[3]
                    if after is not state and not (
                        ring and place.meta & KIND == RING and table.bump(place, after)
                    ):
                        writes: Writes = {}
                        table.save(writes, place, limit, after)
                        table.journal.commit(writes)
                    return found
                if words[COUNT] < most and not rooms.crowded():
                    cell = rooms.room(place, now, ())
                    if cell:
                        return table.first(place, cell, limit, step(None, now, cost))
            finally:
                flock(lock.fd, UNLOCK)
        return decide(Plan(rules, (name,), cost, group=name)).found[0]

    return take
