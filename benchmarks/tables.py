"""Figures as tables (rich where it is installed, plain text otherwise) and as data."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from sampling import Series, added, ratio
from verdicts import Promise


def data(series: Sequence[Series], calibration: int) -> dict[str, Any]:
    """One section as data, in nanoseconds."""
    return {
        "calibration_ns": calibration,
        "series": [
            {
                "name": each.name,
                "role": each.role,
                "median_ns": round(each.median()),
                "p99_ns": round(each.p99()),
                "mean_ns": round(each.mean()),
                "samples": len(each.samples),
                "dropped": each.dropped,
            }
            for each in series
        ],
    }


def verdicts(found: Sequence[Promise]) -> list[dict[str, Any]]:
    """The promises as data."""
    return [
        {
            "promise": each.text,
            "bound": each.bound,
            "at_least": each.at_least,
            "value": round(each.measured.value, 3),
            "low": round(each.measured.low, 3),
            "high": round(each.measured.high, 3),
            "met": each.met,
        }
        for each in found
    ]


def show(title: str, series: Sequence[Series]) -> None:
    """Print one section: compared with a bare app where there is one, else with ours."""
    bare = next((each for each in series if each.role == "bare"), None)
    ours = next(each for each in series if each.role == "ours")
    compared = "added, us" if bare else "times ours"
    rows = []
    for each in series:
        if bare is not None:
            gap = added(each, bare)
            told = f"{gap.value / 1000:+.2f} [{gap.low / 1000:+.2f}, {gap.high / 1000:+.2f}]"
        else:
            times = ratio(ours, each)
            told = f"{times.value:.2f} [{times.low:.2f}, {times.high:.2f}]"
        figures = (f"{value / 1000:.2f}" for value in (each.median(), each.p99(), each.mean()))
        rows.append([each.name, *figures, told, f"{len(each.samples)} ({each.dropped})"])
    _table(title, ["", "median, us", "p99, us", "mean, us", compared, "samples (dropped)"], rows)


def show_threads(figures: Sequence[dict[str, Any]]) -> None:
    """Print what several threads get out of one limiter."""
    rows = [
        [each["name"], str(each["threads"]), f"{each['per_second']:,.0f}", f"{each['p99_us']:.1f}"]
        for each in figures
    ]
    _table("threads on one limiter", ["", "threads", "decisions/s", "p99, us"], rows)


def show_promises(found: Sequence[Promise]) -> None:
    """Print what was promised beside what was measured."""
    rows = []
    for each in found:
        sign = ">=" if each.at_least else "<="
        measured = each.measured
        state = "met" if each.met else "MISSED" if each.clearly_missed else "missed, within noise"
        told = f"{measured.value:.2f} [{measured.low:.2f}, {measured.high:.2f}]"
        rows.append([each.text, f"{sign} {each.bound:g}", told, state])
    _table("promises", ["", "bound", "measured", ""], rows)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if find_spec("rich"):
        from rich.console import Console
        from rich.table import Table

        table = Table(title=title, title_justify="left")
        for i, column in enumerate(columns):
            table.add_column(column, justify="right" if i else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        Console(width=None if Console().is_terminal else 160).print(table)
        return
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    print(f"\n{title}")
    for row in [columns, *rows]:
        print(
            "  ".join(
                cell.rjust(width) if i else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )
