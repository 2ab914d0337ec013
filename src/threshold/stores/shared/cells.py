"""Cells: a state as 64-bit words, and back. Pure; knows no file, no lock, no key.

A cell is `digest, digest, meta, check, payload...`. The meta word holds the kind of state, the number of
payload words and the first extent. What the payload is depends on the kind:

    BUCKET   low 62 bits of the drain instant, the bits above, units drained per microsecond
    RING     the instant it rests, then one word per sub-window: number << 32 | count
    WIDE     the instant it rests, then two words per sub-window, for numbers that need more than 31 bits
    ABUSE    the instant it rests, then the six fields of `AbuseState`

The check word makes a cell that was written by half, or by somebody else, stand out. What is then believed
is never milder than what was there: see `mend`.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from ...errors import ConfigurationError
from ...escalation import AbuseState, Ladder
from ...memo import Memo
from ...plan import Limit, State
from ...sliding_window import COUNT, COUNT_BITS, ENTRY, ENTRY_BITS, ZERO, SlidingWindow, entries_of, joined
from ...token_bucket import TokenBucket

META: Final = 2
CHECK: Final = 3
PAYLOAD: Final = 4
INLINE: Final = 12
"""Payload words that fit into the cell itself."""
PER_EXTENT: Final = 15
"""Payload words that fit into an extent, after its link."""

BUCKET: Final = 1
RING: Final = 2
WIDE: Final = 3
ABUSE: Final = 4

KIND_BITS: Final = 3
KIND: Final = (1 << KIND_BITS) - 1
LENGTH: Final = 1023
EXTENT_SHIFT: Final = 16
SHAPE: Final = (1 << EXTENT_SHIFT) - 1
"""The part of the meta word that the check covers: kind and length."""

LOW_BITS: Final = 62
TOP: Final = 1 << LOW_BITS
LOW: Final = TOP - 1
MASK: Final = (1 << 63) - 1

Payload = tuple[int, ...]


def shape(kind: int, length: int) -> int:
    """The meta word of a cell without extents."""
    return kind | length << KIND_BITS


BUCKET_META: Final = shape(BUCKET, 3)


def check(meta: int, payload: Payload, digest: int) -> int:
    """The check word: of a bucket such that the state can be told from it, of the rest a sum."""
    if meta & KIND == BUCKET:
        return payload[0] ^ payload[1] ^ payload[2] ^ digest
    return (((meta & SHAPE) + sum(payload)) & MASK) ^ digest


def encode(limit: Limit | Ladder, state: State) -> tuple[int, Payload]:
    """The kind and the payload of a state.

    >>> encode(TokenBucket("60/minute"), 5_000_000)
    (1, (5000000, 0, 1))
    """
    if isinstance(limit, TokenBucket):
        return BUCKET, (state & LOW, state >> LOW_BITS, limit.drain)
    rests = limit.rests_at(state)
    if isinstance(limit, Ladder):
        return ABUSE, (rests, *state)
    if next(entries_of(state)) >= ZERO and (state & ENTRY) - ZERO <= MASK:
        return RING, (rests, *_words_of(state))
    words = (entry - ZERO for entry in entries_of(state))
    return WIDE, (rests, *(part for word in words for part in (word >> COUNT_BITS, word & COUNT)))


def decode(kind: int, payload: Payload) -> State:
    """The state that a payload stands for; None for a kind that is not known.

    >>> window = SlidingWindow("5/minute")
    >>> _, _, _, state = window.step(None, 0, 1)
    >>> decode(*encode(window, state)) == state
    True
    """
    if kind == BUCKET:
        return payload[1] << LOW_BITS | payload[0]
    if kind == RING:
        return ring_of(payload, sum(payload))
    if kind == WIDE:
        pairs = zip(payload[1::2], payload[2::2], strict=True)
        return joined(ZERO + (number << COUNT_BITS) + count for number, count in pairs)
    if kind == ABUSE:
        return AbuseState(*payload[1:])
    return None


def ring_of(payload: Payload, total: int) -> int:
    """`decode` for a RING whose words have that `total`: all of them become one integer at once.

    >>> payload = (0, 3 << 32 | 1, 7 << 32 | 4)
    >>> ring_of(payload, sum(payload)) == joined([ZERO + (3 << 32) + 1, ZERO + (7 << 32) + 4])
    True
    """
    youngest = payload[-1]
    if len(payload) == 2:
        return youngest + ZERO
    layout, zeros = _LAYOUTS[len(payload) - 2]
    written = layout.pack(youngest, total - payload[0] - youngest & COUNT, *payload[1:-1])
    return int.from_bytes(written, "little") + zeros


def _words_of(state: int) -> tuple[int, ...]:
    """The words of a RING, after the first: the other way round."""
    if state <= ENTRY:
        return (state - ZERO,)
    layout, zeros = _LAYOUTS[state.bit_length() // ENTRY_BITS - 1]
    youngest, _, *older = layout.unpack((state - zeros).to_bytes(layout.size, "little"))
    return *older, youngest


def _layout(older: int) -> tuple[Struct, int]:
    """How a youngest word, a sum and the older words stand in a state, less what the state has besides."""
    return Struct(f"<q{_GAP}xI" + f"q{_GAP}x" * older), joined([ZERO] * (older + 1))


_GAP: Final = ENTRY_BITS // 8 - 8
_LAYOUTS: Final = Memo(_layout, LENGTH)


def rests_at(kind: int, payload: Payload) -> int:
    """The first microsecond at which forgetting the state changes nothing any more."""
    if kind == BUCKET:
        return -(-(payload[1] << LOW_BITS | payload[0]) // max(1, payload[2]))
    return payload[0]


def exhausted(limit: Limit | Ladder, now: int) -> State:
    """The strictest state this limit, or this ladder, can be in at `now`.

    >>> exhausted(SlidingWindow("5 per 5 minutes"), 0) == ZERO + 5
    True
    """
    if isinstance(limit, TokenBucket):
        return now * limit.drain + limit.full
    if isinstance(limit, Ladder):
        worst = max(limit.rungs, key=lambda rung: rung.block_us)
        return AbuseState(
            strikes=len(limit.rungs),
            struck_at=now,
            blocked_until=now + limit.longest_us,
            banned=1 if worst.ban_us else 0,
            shadow_until=now + max(rung.shadow_us for rung in limit.rungs),
            episode_until=now,
        )
    if isinstance(limit, SlidingWindow) and limit.limit:
        return ZERO + (now // limit.width << COUNT_BITS) + limit.limit
    return None


def charged_by_half(
    limit: Limit | Ladder, meta: int, found_check: int, payload: Payload, digest: int
) -> bool:
    """Tell whether a cell looks like that of a process that died between the two words of a quick charge.

    Then one copy of a bucket's instant is later than the other by no more than a charge can be, or a ring
    counts more than its check says by no more than its limit.
    """
    if isinstance(limit, TokenBucket) and meta == BUCKET_META:
        other = found_check ^ payload[1] ^ payload[2] ^ digest
        return payload[2] == limit.drain and 0 < other - payload[0] <= limit.full
    if isinstance(limit, SlidingWindow) and meta & KIND == RING and len(payload) > 1:
        excess = (meta & SHAPE) + sum(payload) - (found_check ^ digest)
        return 0 < excess & MASK <= limit.limit and min(payload[1:]) > 0
    return False


def mend(
    limit: Limit | Ladder, meta: int, found_check: int, payload: Payload, digest: int, now: int
) -> State:
    """What to believe of a cell whose check does not hold: nothing milder than any word of it says.

    A charge by half is read as the whole charge. Of a bucket the later of its two copies is believed. Of
    anything else the strictest is assumed.
    """
    if isinstance(limit, TokenBucket) and meta == BUCKET_META and payload[2] == limit.drain:
        other = found_check ^ payload[1] ^ payload[2] ^ digest
        return payload[1] << LOW_BITS | max(payload[0], other if 0 <= other < TOP else LOW)
    if charged_by_half(limit, meta, found_check, payload, digest):
        return decode(RING, payload)
    return exhausted(limit, now)


def coarsen(state: int, most: int) -> int:
    """Merge the oldest sub-windows into younger ones until `most` entries are left (1 or more).

    Nothing is forgotten earlier than before, only later: the promise holds.

    >>> one, two, three = (ZERO + (number << 32) for number in (1, 2, 3))
    >>> coarsen(joined([one + 1, two + 2, three + 3]), 2) == joined([two + 3, three + 3])
    True
    """
    entries = list(entries_of(state))
    surplus = len(entries) - most
    if surplus <= 0:
        return state
    merged = sum(entry & COUNT for entry in entries[:surplus])
    return joined([entries[surplus] + merged, *entries[surplus + 1 :]])


def refuse_unknown(limit: Limit) -> None:
    """Raise `ConfigurationError` for an algorithm whose state has no layout here."""
    if not isinstance(limit, (TokenBucket, SlidingWindow)):
        raise ConfigurationError(
            "limit",
            limit,
            "SharedMemoryStore holds TokenBucket and SlidingWindow; use MemoryStore for others",
        )
