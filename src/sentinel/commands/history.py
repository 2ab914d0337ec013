"""Commands about runs that were kept: history, baseline, compare, report, merge."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.core import ParameterSource
from rich.console import Console

from sentinel.baseline import Comparison
from sentinel.baseline import compare as compare_figures
from sentinel.commands import options
from sentinel.commands.delivered import delivered
from sentinel.commands.kept import keep
from sentinel.commands.written import EXPERIMENT_FORMS, FORMS, report_files
from sentinel.errors import RecordError
from sentinel.exit_codes import ExitCode
from sentinel.experiment_store import ExperimentStore
from sentinel.judgement import judge_run
from sentinel.record_file import read_record, write_record
from sentinel.report.document import Report
from sentinel.report.listing import show_experiments, show_runs
from sentinel.report.terminal import show, show_comparison, show_experiment
from sentinel.run import RunRecord
from sentinel.segments import merge_records
from sentinel.store import RunStore
from sentinel.writer import key_figures


@click.command()
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="The latest so many."
)
@options.db
def history(limit: int, db: Path) -> ExitCode:
    """List the runs, audits and overhead experiments that were kept, newest first."""
    context = click.get_current_context()
    if not db.exists() and context.get_parameter_source("db") is not ParameterSource.COMMANDLINE:
        show_runs(Console(), ())
        return ExitCode.PASS
    with RunStore(options.existing(db)) as store:
        runs, named = store.runs(limit=limit), store.baselines()
    experiments = ExperimentStore(db).latest(limit=limit)
    newest = sorted([*(r.started_at for r in runs), *(e.started_at for e in experiments)])[-limit:]
    since = newest[0] if newest else ""
    runs = tuple(run for run in runs if run.started_at >= since)
    experiments = tuple(one for one in experiments if one.started_at >= since)
    console = Console()
    if runs or not experiments:
        show_runs(console, runs)
    if experiments:
        show_experiments(console, experiments)
    for name, run in named.items():
        click.echo(f"baseline {name}: {run}")
    return ExitCode.PASS


@click.group()
def baseline() -> None:
    """Name runs to compare others with."""


@baseline.command("save")
@click.argument("name")
@click.argument("run")
@options.db
def baseline_save(name: str, run: str, db: Path) -> ExitCode:
    """Call RUN (an id, its beginning, or last) the baseline NAME; a name that is taken moves."""
    with RunStore(options.existing(db)) as store:
        before = store.baselines().get(name)
        now = store.save_baseline(name, run)
    moved = f", and no longer {before}" if before not in (None, now) else ""
    click.echo(f"baseline {name} is run {now}{moved}")
    return ExitCode.PASS


@baseline.command("list")
@options.db
def baseline_list(db: Path) -> ExitCode:
    """List the baselines."""
    with RunStore(options.existing(db)) as store:
        for name, run in store.baselines().items():
            click.echo(f"{name}  {run}")
    return ExitCode.PASS


def compared(store: RunStore, record: RunRecord, name: str | None) -> Comparison:
    """Compare a run with the comparable ones before it, or with those of a baseline's time."""
    earlier = [(run.id, run.figures) for run in store.comparable(record, baseline=name)]
    return compare_figures(record.id, key_figures(record), earlier)


@click.command()
@click.argument("run")
@click.option("--baseline", "name", help="Hold it against this baseline and the runs of its time.")
@options.files("json", "html", "junit", "md")
@options.db
def compare(
    run: str,
    name: str | None,
    json_file: Path | None,
    html_file: Path | None,
    junit_file: Path | None,
    md_file: Path | None,
    db: Path,
) -> ExitCode:
    """Tell whether RUN (an id, its beginning, a baseline's name, or last) is worse than those before it.

    Comparable are earlier complete runs of the same plan on the same host. One run that stands out is a
    warning and exits with 0: run again at once. A regression, with 3, is the latest five runs above the
    twenty before them, by rank and by at least 5 %.
    """
    with RunStore(options.existing(db)) as store:
        record = store.load(run)
        if record.void or record.status == "partial":
            state = "VOID" if record.void else "partial"
            raise RecordError(f"run {record.id} is {state} and compares with nothing; make it again")
        comparison = compared(store, record, name)
    report = Report.of(record, judge_run(record, comparison=comparison))
    show_comparison(Console(), comparison)
    paths = {"json": json_file, "html": html_file, "junit": junit_file, "md": md_file}
    status = ExitCode.REGRESSION if comparison.state == "regression" else ExitCode.PASS
    return delivered(status, *report_files(report, paths))


@click.command()
@click.argument("run")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", *FORMS]),
    default="text",
    show_default=True,
    help="Which form.",
)
@click.option("--output", type=options.FILE, help="A file to write it to; standard output by default.")
@options.db
def report(run: str, form: str, output: Path | None, db: Path) -> ExitCode:
    """Report again, in any form, what was kept: a run (an id, its beginning, a baseline's name), an audit or
    an overhead experiment (an id or its beginning), or the last of all of them."""
    experiment = ExperimentStore(options.existing(db)).find(run)
    if experiment is not None:
        if form == "text":
            show_experiment(Console(), experiment)
        else:
            _out(EXPERIMENT_FORMS[form](experiment), output)
        return ExitCode.PASS
    whole = _reported(db, run)
    if form == "text":
        show(Console(), whole)
    else:
        _out(FORMS[form](whole), output)
    return ExitCode.PASS


def _reported(db: Path, run: str) -> Report:
    with RunStore(db) as store:
        record = store.load(run)
        earlier = store.comparable(record)
        stands = not record.void and record.status == "complete"
        comparison = compared(store, record, None) if earlier and stands else None
    return Report.of(record, judge_run(record, comparison=comparison))


def _out(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
    else:
        options.write(output, text)


def _segment(store: RunStore, name: str) -> RunRecord:
    path = Path(name)
    if path.is_file():
        return read_record(path)
    try:
        return store.load(name)
    except RecordError:
        if path.suffix or len(path.parts) > 1:
            raise RecordError(f"there is no file {name}, and no run of that id in the history") from None
        raise


@click.command()
@click.argument("segments", nargs=-1, required=True)
@click.option(
    "--record", "record_file", type=options.FILE, callback=options.writable, help="Write the merged record."
)
@options.files("json", "html", "junit", "md")
@options.db
@click.option("--no-save", is_flag=True, help="Keep nothing in the history.")
def merge(
    segments: tuple[str, ...],
    record_file: Path | None,
    json_file: Path | None,
    html_file: Path | None,
    junit_file: Path | None,
    md_file: Path | None,
    db: Path,
    no_save: bool,
) -> ExitCode:
    """Put the SEGMENTS of one run together, files of `run --record` or ids in the history, and judge the
    whole."""
    with RunStore(db) as store:
        records = [_segment(store, name) for name in segments]
        whole = merge_records(records)
        verdict = judge_run(whole)
        if not no_save:
            store.save(whole)
        result = Report.of(whole, verdict)
        paths = {"json": json_file, "html": html_file, "junit": junit_file, "md": md_file}
        return delivered(
            verdict.exit_code,
            lambda: show(Console(), result),
            lambda: write_record(record_file, whole),
            *report_files(result, paths),
            lambda: None if no_save else keep(store, result),
        )
