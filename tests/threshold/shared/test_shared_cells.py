"""States as words and back: whatever a window's state is, it comes back as it was."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from threshold import SlidingWindow
from threshold.sliding_window import COUNT_BITS, ZERO, counted, entries_of, joined
from threshold.stores.shared.cells import MASK, RING, WIDE, decode, encode

_WINDOW = SlidingWindow("1000000000/second", precision=360)

_numbers = st.lists(
    st.one_of(st.integers(0, 400), st.integers(-(2**40), 2**40), st.integers(2**31 - 3, 2**31 + 3)),
    min_size=1,
    max_size=361,
    unique=True,
)


@given(_numbers, st.data())
def test_a_state_comes_back_as_it_was(numbers: list[int], data: st.DataObject) -> None:
    counts = data.draw(
        st.lists(st.integers(1, 2**23), min_size=len(numbers), max_size=len(numbers)), label="counts"
    )
    entries = [
        ZERO + (number << COUNT_BITS) + count for number, count in zip(sorted(numbers), counts, strict=True)
    ]
    state = joined(entries)
    assert list(entries_of(state)) == entries
    assert counted(state) == sum(counts)
    kind, payload = encode(_WINDOW, state)
    fits = min(numbers) >= 0 and max(numbers) < 2**31
    assert kind == (RING if fits else WIDE)
    assert all(0 <= word <= MASK for word in payload[1:]) or kind == WIDE
    struct.pack(f"{len(payload)}q", *payload)
    assert decode(kind, payload) == state
