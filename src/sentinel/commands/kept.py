"""Keep a run, an audit or an overhead experiment in the history, or not, as the command was told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from sentinel.commands.delivered import delivered
from sentinel.commands.written import experiment_files
from sentinel.errors import NotWritten, RecordError
from sentinel.exit_codes import ExitCode
from sentinel.experiment import Experiment
from sentinel.experiment_store import ExperimentStore
from sentinel.report.document import Report
from sentinel.report.terminal import show_experiment
from sentinel.store import RunStore

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


def conclude(
    experiment: Experiment, save: Save, paths: dict[str, Path | None], console: Console, found: ExitCode
) -> ExitCode:
    """Report an experiment that has ended, and save it; give the exit status, `found` unless that is a pass
    and something could not be written."""
    return delivered(
        found,
        lambda: show_experiment(console, experiment),
        *experiment_files(experiment, paths),
        lambda: _saved(lambda: save(experiment), experiment.id),
    )


def keep(store: RunStore, report: Report) -> None:
    """Wait until a run that was saved is in the history, and add its verdict; nothing is saved after that."""

    def end() -> None:
        store.close()
        store.save_verdict(report.record.id, report.verdict.exit_code, report.verdict.sentence)

    _saved(end, report.record.id)


def _saved(save: Callable[[], None], name: str) -> None:
    try:
        save()
    except RecordError as error:
        raise NotWritten(f"{name} is not kept as it ended: {error}") from error
