"""What a person sees while a run goes on: a live line on a terminal, one plain line per second elsewhere.

The engine's recorder tells of every second on a thread of its own; nothing here runs on the engine's loop.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from sentinel.figures import latency, ms
from sentinel.recorder import Listener, SecondReport
from sentinel.run import Phase
from sentinel.scenario import Scenario

PER_SECOND = 4
_BAR = 16
_ROOM_FOR_BAR = 60


class Progress:
    """Show how a run goes, as a listener; use it as a context manager around the run."""

    def __init__(self, console: Console, scenario: Scenario, *, begins_at: float | None = None) -> None:
        self._console = console
        self._phases: Sequence[Phase] = scenario.load.phases()
        self._length_s = scenario.load.duration_s
        self._sent = 0
        self._answered = 0
        self._begins_at = begins_at
        self._begun: float | None = None
        self._last = -1
        self._words = "connecting"
        self._live: Live | None = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self._line,
                refresh_per_second=PER_SECOND,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def second(self, report: SecondReport) -> None:
        """Take note of one second."""
        if self._begun is None:
            self._begun = time.monotonic() - report.second - 1
        if report.second <= self._last:  # late answers to earlier seconds
            return
        self._last = report.second
        self._words = self._sentence(report)
        if self._live is None:
            self._console.print(f"{report.second + 1:>5} s  {self._words}", highlight=False, soft_wrap=True)

    def _sentence(self, report: SecondReport) -> str:
        second = report.second
        phase = next((p.name for p in self._phases if p.start_s <= second < p.end_s), "waiting for answers")
        count = dict.fromkeys(("ok", "denied", "shed", "error"), 0)
        for tick in report.ticks:
            count[tick.outcome] += tick.count
        # A request is recorded when it is answered; what was sent is known of all that were sent so far. All
        # of it is what came since the line before: as many as failed were answered, and so many were sent.
        answered_so_far = sum(report.done)
        begun = answered_so_far + report.under_way
        sent, self._sent = begun - self._sent, begun
        answered, self._answered = answered_so_far - self._answered, answered_so_far
        times = latency(report.ticks)
        slowest = f"max {ms(times.max / 1e6)} ms" if times.count else "no answers"
        median = f"p50 {ms(times.value_at(max(1, times.count // 2)) / 1e6)} ms, " if times.count else ""
        return (
            f"{phase}: {sent:,} sent, {answered:,} answered, "
            f"{count['error'] + count['shed']} failed, {count['denied']} refused, {median}{slowest}"
            + (f", {report.in_flight:.0f} in flight" if report.in_flight >= 0.5 else "")
        )

    def _line(self) -> Text:
        """Draw the line as of now: a bar that moves, and what the last second brought."""
        if self._begun is None:
            wait = (self._begins_at or 0.0) - time.time()
            return Text(f"starts in {wait:.0f} s" if wait > 1 else self._words, style="dim")
        elapsed = time.monotonic() - self._begun
        bar = _BAR if self._console.width >= _ROOM_FOR_BAR else 0
        full = round(bar * min(1.0, elapsed / self._length_s))
        since = f" {min(elapsed, self._length_s):.0f}/{self._length_s:.0f} s  "
        return Text.assemble(
            ("━" * full, "cyan"),
            ("─" * (bar - full), "bright_black"),
            since,
            whole_parts(self._words, self._console.width - bar - len(since)),
            no_wrap=True,
        )


def whole_parts(words: str, room: int) -> str:
    """Give as many parts of a list as there is room for: half a figure is another figure.

    >>> whole_parts("peak: 1,000 sent, 998 answered, 0 failed", 32)
    'peak: 1,000 sent, 998 answered'
    """
    parts = words.split(", ")
    while parts and len(", ".join(parts)) > room:
        parts.pop()
    return ", ".join(parts)


class Listeners:
    """Tell several listeners of every second."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def second(self, report: SecondReport) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.second(report)
