"""A quiet process: nothing of Python's own doing holds up the loop while traffic flows."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator

SWITCH_S = 0.0005  # how long another thread may keep the interpreter when the loop wants it
GARBAGE_LIMIT = 100_000


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Stop the garbage collector and let threads take turns quickly; undo it all afterwards."""
    interval, enabled = sys.getswitchinterval(), gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.unfreeze()
        if enabled:
            gc.enable()


def sweep() -> None:
    """Collect young garbage, but only when there is much: an application in this process may make cycles."""
    if gc.get_count()[0] > GARBAGE_LIMIT:
        gc.collect(1)
