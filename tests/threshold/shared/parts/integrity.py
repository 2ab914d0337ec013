"""An inspection of a whole shared file, from the outside: everything that must add up, adds up."""

from __future__ import annotations

from collections import Counter

from threshold.sliding_window import COUNT as COUNT_MASK
from threshold.stores.shared import SharedMemoryStore, cells
from threshold.stores.shared.layout import CELL, COMMIT, COUNT, FREE, FRESH


def problems(store: SharedMemoryStore) -> list[str]:
    """Say what is wrong with the file of this store; nobody may be using it. Empty when all is well.

    A charge of one limit by half is no problem: it says of itself that it is one, and how to read it.
    """
    words = store._words
    geometry = store._file.header.geometry
    if words[COMMIT]:
        return ["a journal waits to be applied"]
    found: list[str] = []
    chained: Counter[int] = Counter()
    digests: Counter[tuple[int, int]] = Counter()
    used = 0
    for cell in range(geometry.table, geometry.chain, CELL):
        meta = words[cell + cells.META]
        if not meta:
            if words[cell] or words[cell + 1]:
                found.append(f"cell {cell} is free and has a digest")
            continue
        first, second = words[cell], words[cell + 1]
        digests[first, second] += 1
        start, rows = geometry.table, geometry.rows
        if cell >= geometry.overflow:
            start, rows = geometry.overflow, geometry.overflow_rows
        else:
            used += 1
        if (cell - start) // geometry.stride not in (first % rows, second % rows):
            found.append(f"cell {cell} stands in a row that is not its own")
        meta, check, payload = store._table.read(cell)
        length = meta >> cells.KIND_BITS & cells.LENGTH
        if len(payload) != length:
            found.append(f"cell {cell} has {len(payload)} words instead of {length}")
        bucket = meta == cells.BUCKET_META
        excess = 0 if bucket else (cells.check(meta, payload, first) ^ first) - (check ^ first)
        if not 0 <= excess <= (COUNT_MASK if meta & cells.KIND == cells.RING else 0):
            found.append(f"cell {cell} of kind {meta & cells.KIND} does not fit its check ({excess})")
        chain = store._table.extents.chain(meta, {})
        if len(chain) != max(0, -(-(length - cells.INLINE) // cells.PER_EXTENT)):
            found.append(f"cell {cell} has {len(chain)} extents for {length} words")
        chained.update(chain)
    found += [f"extent {extent} has {n} owners" for extent, n in chained.items() if n > 1]
    found += [f"digest {digest} stands in {n} cells" for digest, n in digests.items() if n > 1]
    free: set[int] = set()
    extent = words[FREE]
    while extent and extent not in free:
        free.add(extent)
        extent = words[store._table.extents.word(extent)]
    if extent:
        found.append("the free list runs in a circle")
    if free & set(chained):
        found.append(f"extents {free & set(chained)} are free and used")
    if len(free) + len(chained) != words[FRESH]:
        found.append(f"{words[FRESH]} extents were made, {len(free)} are free and {len(chained)} used")
    if used != words[COUNT]:
        found.append(f"{used} cells are used, {words[COUNT]} are counted")
    return found
