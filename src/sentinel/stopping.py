"""The first Ctrl-C, plain kill or end of the terminal asks work to stop; the second one ends it at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

_waiting: list[Callable[[], None]] = []  # for a signal, the innermost last
STOPPING = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


@contextlib.contextmanager
def stoppable(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at the first signal within the block, in a running loop; the next has its usual effect.

    A block within a block has a first signal of its own; after it the outer one's counts again, unless it
    came before. Does nothing outside the main thread, where signals never arrive.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()

    def let_go() -> None:
        for number in STOPPING:
            with contextlib.suppress(RuntimeError, ValueError):
                loop.remove_signal_handler(number)

    came = False

    def stopped() -> None:
        nonlocal came
        came = True
        let_go()
        stop()

    def listen() -> None:
        for number in STOPPING if not came else ():
            loop.add_signal_handler(number, stopped)

    listen()
    _waiting.append(listen)
    try:
        yield
    finally:
        let_go()
        _waiting.pop()
        if _waiting:
            _waiting[-1]()
