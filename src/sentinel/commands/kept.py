"""Keep an audit or an overhead experiment in the history, or not, as the command was told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sentinel.experiment import Experiment
from sentinel.experiment_store import ExperimentStore


@contextmanager
def kept(db: Path | None, experiment: Experiment) -> Iterator[Callable[[Experiment], None]]:
    """Keep an experiment from its beginning in `db`, or nowhere; the block is given what saves its end."""
    if db is None:
        yield lambda ended: None
        return
    with ExperimentStore(db).keeping(experiment) as save:
        yield save
