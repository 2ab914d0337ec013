"""Show: what a person sees while the demo runs, and the tables at its end."""

from __future__ import annotations

import time

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .callers import Cast, Tally
from .fates import Fate
from .overhead import Overhead
from .settings import Settings

_COLORS = {
    "calm": "green",
    "warned": "yellow",
    "refused": "red",
    "cooldown": "magenta",
    "delayed": "cyan",
    "banned": "bold red",
    "odd": "bold white on red",
}


class Stage:
    """Print events as they happen, above a table that keeps up with them.

    On a terminal the table is live; anywhere else only the events are printed.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = time.monotonic()
        self._tallies: dict[str, Tally] = {}
        self._live: Live | None = None

    def title(self, url: str, settings: Settings, workers: int) -> None:
        """Say what is about to happen."""
        several = f", {workers} worker processes" if workers > 1 else ""
        self._console.print(
            f"[bold]threshold demo[/bold]: a blog on {url} behind the shipped policy, {settings.pace:g} "
            f"times faster than real time, state in {settings.store}{several}"
        )

    def open(self, cast: Cast) -> None:
        """Start showing the callers' tallies."""
        self._begun = time.monotonic()
        self._tallies = cast.tallies
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=8)
            self._live.start()

    def close(self) -> None:
        """Stop; the last state of the table stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        elif self._tallies:
            self._console.print(self._table())

    def end(self, fates: list[Fate], overhead: Overhead, met: bool, seconds: float) -> None:
        """Print the verdict and what it rests on."""
        self._console.print(fate_table(fates))
        self._console.print(overhead_lines(overhead))
        verdict = "[bold green]Every caller met the fate the policy prescribes"
        if not met:
            verdict = "[bold red]Not every caller met the fate the policy prescribes"
        self._console.print(f"{verdict}[/] ({seconds:.0f} s).")

    def say(self, caller: str, kind: str, sentence: str) -> None:
        """Print one event."""
        seconds = time.monotonic() - self._begun
        cells = (
            Text(f"{seconds:5.1f} s  ", "dim"),
            Text(f"{caller:<22}", "bold"),
            Text(f"{kind:<10}", _COLORS.get(kind, "")),
            Text(sentence),
        )
        if self._console.is_terminal:  # a long sentence goes on below itself
            event = Table.grid()
            event.add_row(*cells)
            self._console.print(event)
        else:
            self._console.print(Text.assemble(*cells), soft_wrap=True)

    def _table(self) -> RenderableType:
        return tally_table(self._tallies)


def tally_table(tallies: dict[str, Tally]) -> Table:
    """One row per caller: what became of their requests."""
    table = _titled("What became of their requests")
    table.add_column("caller", no_wrap=True)
    for name in ("sent", "allowed", "warned", "delayed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("refused by")
    table.add_column("banned", justify="right", no_wrap=True)
    for tally in tallies.values():
        figures = [_figure(value) for value in (tally.requests, tally.allowed, tally.warned, tally.delayed)]
        refused = ", ".join(f"{layer} {count:,}" for layer, count in sorted(tally.refused.items()))
        table.add_row(tally.name, *figures, refused or Text("0", "dim"), _figure(tally.banned))
    return table


def fate_table(fates: list[Fate]) -> Table:
    """One row per prescription: prescribed, seen, met or not."""
    table = _titled("What the policy prescribes")
    table.add_column("caller", no_wrap=True)
    table.add_column("prescribed")
    table.add_column("seen")
    table.add_column("met", justify="center")
    last = ""
    for fate in fates:
        mark = Text("yes", "green") if fate.met else Text("NO", "bold red")
        table.add_row("" if fate.caller == last else fate.caller, fate.prescribed, fate.seen, mark)
        last = fate.caller
    return table


def overhead_lines(overhead: Overhead) -> RenderableType:
    """What the middleware costs, in a few lines."""
    table = _titled("Overhead per request, over real sockets")
    table.add_column("request")
    table.add_column("median", justify="right")
    table.add_row("POST /api/posts without the middleware", f"{overhead.bare_us:,.0f} µs")
    table.add_row("POST /api/posts with it, through all four layers", f"{overhead.protected_us:,.0f} µs")
    table.add_row("POST /api/posts with it, refused", f"{overhead.refused_us:,.0f} µs")
    note = Text.assemble(
        "The middleware adds ",
        (f"{overhead.added_us:,.0f} µs", "bold"),
        f" (median of {overhead.pairs:,} pairs, 99 % interval {overhead.low_us:,.0f} to"
        f" {overhead.high_us:,.0f} µs); the budget is 5,000 µs.",
    )
    return Group(table, note)


def _titled(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD)


def _figure(value: int) -> Text:
    return Text(f"{value:,}", "" if value else "dim")
