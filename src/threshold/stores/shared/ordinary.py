"""The quick way through a plan: what `engine.decide` finds and charges for an ordinary request, sooner.

Ordinary is a request that every limit admits, whose keys all have a cell and against whose caller nothing is
held. Its limits are asked one after the other, with no list of states, and no outcome, in between. Runs under
the lock.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...plan import Found, Rule
from ...sliding_window import COUNT as COUNT_MASK
from .cells import BUCKET_META, CHECK, MASK, PAYLOAD, TOP, ring_of
from .journal import Writes
from .place import Place
from .rooms import BUCKET_WORDS
from .table import RING_WORDS, Table

_ring_words = RING_WORDS.get


def charge_ordinary(
    table: Table, rules: Sequence[Rule], places: list[Place], culprit: Place | None, cost: int, now: int
) -> list[Found] | None:
    """Charge an ordinary request, and answer what its limits said. Of any other charge nothing: None.

    The two words of a charge go into `writes` in the order in which half of it is the strict reading.
    """
    memory = table.memory
    writes: Writes = {}
    found: list[Found] = []
    quick = 0
    for rule, place in zip(rules, places):  # noqa: B905 (0.1 us)
        cell, shape, first = place.cell, place.meta, place.first
        if shape == BUCKET_META:
            digest, meta, check, low, high, drain = BUCKET_WORDS(memory, cell << 3)
            seal = drain ^ first
            if digest == first and meta == shape and check == low ^ seal and not high:
                answer = rule.step(low, now, cost)
                if answer[0]:
                    return None
                after = answer[3]
                if 0 <= after < TOP:
                    writes[cell + CHECK] = after ^ seal
                    writes[cell + PAYLOAD] = after
                    found.append(answer)
                    quick += 1
                    continue
        elif (words_of := _ring_words(shape)) is not None:
            content = words_of(memory, cell << 3)
            payload = content[3:]
            total = sum(payload)
            if content[0] == first and content[1] == shape and content[2] == (shape + total & MASK) ^ first:
                before = ring_of(payload, total)
                answer = rule.step(before, now, cost)
                if answer[0]:
                    return None
                after = answer[3]
                if after > before and after ^ before <= COUNT_MASK:  # see Table.bump
                    grown = after - before
                    writes[cell + (PAYLOAD - 1) + len(payload)] = payload[-1] + grown
                    writes[cell + CHECK] = (shape + total + grown & MASK) ^ first
                    found.append(answer)
                    quick += 1
                    continue
        state = table.load(place, rule.limit, now)
        if state is None:
            return None
        answer = rule.step(state, now, cost)
        if answer[0]:
            return None
        if answer[3] is not state:
            table.save(writes, place, rule.limit, answer[3])
        found.append(answer)
    if culprit is not None and table.find(culprit):
        return None
    if quick == 1 == len(found):
        words = table.words
        for word, value in writes.items():
            words[word] = value
    else:
        table.journal.commit(writes)
    return found
