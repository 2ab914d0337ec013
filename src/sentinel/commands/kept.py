"""Keep an audit or an overhead experiment in the history, or not, as the command was told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from sentinel.commands.written import write_experiment
from sentinel.experiment import Experiment
from sentinel.experiment_store import ExperimentStore
from sentinel.report.terminal import show_experiment

Save = Callable[[Experiment], None]


@contextmanager
def kept(db: Path | None, experiment: Experiment) -> Iterator[Save]:
    """Keep an experiment from its beginning in `db`, or nowhere; the block is given what saves its end.

    Within the block the experiment is made. Save its end after the block: what raises inside never was.
    """
    if db is None:
        yield lambda ended: None
        return
    with ExperimentStore(db).keeping(experiment) as save:
        yield save


def conclude(experiment: Experiment, save: Save, paths: dict[str, Path | None], console: Console) -> None:
    """Save an experiment that has ended, and report it even where it cannot be saved."""
    try:
        save(experiment)
    finally:
        write_experiment(experiment, paths)
        show_experiment(console, experiment)
