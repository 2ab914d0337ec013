"""The history for a terminal: stored runs, audits and overhead experiments, a line each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.text import Text

from sentinel.experiment import GOING_ON, Experiment
from sentinel.figures import ms
from sentinel.report.layout import laid_out
from sentinel.store import RunSummary

_RUNS, _EXPERIMENTS = 52, 48  # columns of a terminal: a table of each is no narrower


def show_runs(console: Console, runs: Sequence[RunSummary]) -> None:
    """Print a list of stored runs, as given; where it is narrow, without the figures that matter least.

    Where it is too narrow for a table each run is a block, with all of its figures again.
    """
    columns: tuple[tuple[str, int, Callable[[RunSummary], str]], ...] = (
        ("run", 0, lambda run: run.id),
        ("scenario", 0, lambda run: run.name),
        ("length", 58, lambda run: f"{run.seconds} s"),
        ("requests", 68, lambda run: f"{run.requests:,}"),
        ("p95 ms", 76, lambda run: ms(run.figures.get("p95_ms"))),
        ("errors", 86, lambda run: f"{run.figures.get('error_rate') or 0:.2%}"),
        ("state", 0, lambda run: "void" if run.void else "running" if run.running else run.status),
        ("exit", 0, lambda run: "–" if run.exit_code is None else str(run.exit_code)),
    )
    shown = [column for column in columns if console.width >= column[1] or console.width < _RUNS]
    rows = [[write(run) for _, _, write in shown] for run in runs]
    listed = laid_out([title for title, _, _ in shown], rows, text=2, fold=1)
    console.print(listed if rows else Text("no runs yet; `sentinel run` makes one"))


def show_experiments(console: Console, experiments: Sequence[Experiment]) -> None:
    """Print a list of stored audits and overhead experiments, as given; like the runs where it is narrow."""
    columns: tuple[tuple[str, int, Callable[[Experiment], str]], ...] = (
        ("experiment", 0, lambda one: one.id),
        ("of", 60, lambda one: one.target),
        ("requests", 76, lambda one: f"{one.requests:,}"),
        ("state", 0, _state),
        ("exit", 0, lambda one: "–" if one.exit_code is None else str(int(one.exit_code))),
    )
    shown = [column for column in columns if console.width >= column[1] or console.width < _EXPERIMENTS]
    rows = [[write(one) for _, _, write in shown] for one in experiments]
    folds = sum(title == "of" for title, _, _ in shown)
    console.print(laid_out([title for title, _, _ in shown], rows, text=1 + folds, fold=folds))


def _state(one: Experiment) -> str:
    """Give the first word of an experiment's verdict."""
    if one.sentence == GOING_ON:
        return "running"
    return one.sentence.partition(":")[0].partition(" ")[0].rstrip(",").lower() if one.result else one.status
