from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

import pytest

from sentinel.runner import new_loop
from sentinel.timer import LoopTimer, Timer, TimerFd, make_timer

Make = Callable[[asyncio.AbstractEventLoop, Callable[[], None]], Timer]
KINDS = [LoopTimer, *([TimerFd] if sys.platform == "linux" else [])]
LOOPS = [asyncio.new_event_loop, new_loop]


async def woken(make: Make, delays_ms: list[float]) -> list[float]:
    """Set the timer to one instant after the other; give how late it woke for each, in milliseconds."""
    loop = asyncio.get_running_loop()
    start = time.monotonic_ns()
    due = [start + round(delay * 1e6) for delay in delays_ms]
    late: list[float] = []
    finished = asyncio.Event()

    def wake() -> None:
        late.append((time.monotonic_ns() - due[len(late)]) / 1e6)
        if len(late) < len(due):
            timer.wake_at(due[len(late)])
        else:
            finished.set()

    timer = make(loop, wake)
    timer.wake_at(due[0])
    await asyncio.wait_for(finished.wait(), 10)
    timer.close()
    return late


@pytest.mark.parametrize("loop_factory", LOOPS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_wakes_for_every_instant_and_never_much_too_early(
    kind: Make, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        late = runner.run(woken(kind, [1, 2, 2, 5, 30, 30.1, 0]))
    assert len(late) == 7
    early = 1.0 if kind is LoopTimer else 0.0  # a loop counts in whole milliseconds
    assert all(lateness >= -early for lateness in late)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_instant_replaces_the_old_one_and_a_cancelled_timer_is_silent(kind: Make) -> None:
    async def main() -> list[int]:
        heard: list[int] = []
        loop = asyncio.get_running_loop()
        timer = kind(loop, lambda: heard.append(1))
        now = time.monotonic_ns()
        timer.wake_at(now + 5_000_000)
        timer.wake_at(now + 40_000_000)
        await asyncio.sleep(0.02)
        early = len(heard)
        await asyncio.sleep(0.05)
        timer.wake_at(time.monotonic_ns() + 5_000_000)
        timer.cancel()
        await asyncio.sleep(0.02)
        timer.close()
        timer.close()
        return [early, len(heard)]

    with asyncio.Runner() as runner:
        assert runner.run(main()) == [0, 1]


def test_the_most_punctual_timer_of_the_platform_is_used() -> None:
    async def main() -> Timer:
        timer = make_timer(asyncio.get_running_loop(), lambda: None)
        timer.close()
        return timer

    with asyncio.Runner() as runner:
        assert isinstance(runner.run(main()), TimerFd if sys.platform == "linux" else LoopTimer)
