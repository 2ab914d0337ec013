"""`sentinel scenarios`: what ships."""

from __future__ import annotations

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sentinel.catalog import SCENARIOS
from sentinel.scenario import Scenario


@click.command()
def scenarios() -> None:
    """List the scenarios that ship, with their load, their mix and what must hold."""
    console = Console()
    for scenario in SCENARIOS.values():
        console.print(Text(scenario.name, style="bold"))
        console.print(Padding(Text(scenario.description), (0, 0, 0, 2)))
        console.print(Padding(_facts(scenario), (0, 0, 1, 2)))


def _facts(scenario: Scenario) -> Table:
    """Lay out what is done and what must hold; no word is broken where the terminal has room for it."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    table.add_row("load", Text(load_words(scenario)))
    table.add_row("mix", Text(", ".join(f"{name} {weight:g}" for name, weight in scenario.mix.items())))
    table.add_row("must hold", Text(", ".join(map(str, scenario.checks))))
    return table


def load_words(scenario: Scenario) -> str:
    """Say a load in words.

    >>> from sentinel.catalog import shipped
    >>> load_words(shipped("smoke"))
    'steady 5 users for 30 s'
    """
    unit = "users" if scenario.unit == "users" or scenario.model == "closed" else "sessions/s"
    parts = []
    for phase in scenario.load.phases():
        start = scenario.load.rate_at(phase.start_s)
        end = scenario.load.rate_at(phase.start_s + (phase.end_s - phase.start_s) * (1 - 1e-9))
        level = (
            f"{start:g}"
            if abs(end - start) < 0.01 * max(start, end, 1)
            else f"{start:g} to {round(end, 3):g}"
        )
        parts.append(f"{phase.name} {level} {unit} for {_time(phase.end_s - phase.start_s)}")
    return ", ".join(parts)


def _time(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 and seconds % 60 == 0 else f"{seconds:g} s"
