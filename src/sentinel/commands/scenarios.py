"""`sentinel scenarios`: what ships."""

from __future__ import annotations

import click
from rich import box
from rich.console import Console
from rich.table import Table

from sentinel.catalog import SCENARIOS
from sentinel.scenario import Scenario


@click.command()
def scenarios() -> None:
    """List the scenarios that ship, with their load, their mix and what must hold."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("scenario", no_wrap=True, style="bold")
    for title in ("what", "load", "mix", "must hold"):
        table.add_column(title, overflow="fold")
    for scenario in SCENARIOS.values():
        mix = ", ".join(f"{name} {weight:g}" for name, weight in scenario.mix.items())
        checks = ", ".join(map(str, scenario.checks))
        table.add_row(scenario.name, scenario.description, load_words(scenario), mix, checks)
    Console().print(table)


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
