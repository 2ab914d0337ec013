"""`sentinel run`: one scenario against one target, from the first send to the verdict."""

from __future__ import annotations

import secrets
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from math import ceil
from pathlib import Path

import click
from rich.console import Console

from sentinel.checkpoints import Checkpoints
from sentinel.commands import options, values
from sentinel.commands.delivered import delivered
from sentinel.commands.kept import keep
from sentinel.commands.limited import Audited, LimitOptions, audited, excess_of, limited_options
from sentinel.commands.plan import Changes, change, find
from sentinel.commands.progress import Listeners, Progress
from sentinel.commands.written import report_files
from sentinel.exit_codes import ExitCode
from sentinel.judgement import judge_run
from sentinel.machine import fingerprint
from sentinel.options import Options, Run
from sentinel.pacer import Segment
from sentinel.profile import MAX_DURATION_S, MIN_DURATION_S
from sentinel.record_file import write_record
from sentinel.report.document import Report
from sentinel.report.terminal import show
from sentinel.run import RunRecord, plan_hash
from sentinel.runner import run as run_scenario
from sentinel.scenario import Scenario
from sentinel.shapes import SHAPES
from sentinel.store import RunStore
from sentinel.target import AppTarget, HttpTarget, parse_target
from threshold import Rate


@click.command()
@click.argument("scenario")
@click.option(
    "--target",
    required=True,
    metavar="TARGET",
    help="http://127.0.0.1:8000, unix:/path/to.sock, or module:app (ASGI or WSGI), called in this process.",
)
@options.permission
@click.option(
    "--scale",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Shrink users and time alike: 0.01 makes 1,000 users for 50 min into 10 users for 30 s.",
)
@click.option(
    "--profile", type=click.Choice(sorted(SHAPES)), help="Load this shape instead of the scenario's."
)
@click.option(
    "--duration",
    metavar="TIME",
    type=values.duration(MIN_DURATION_S, MAX_DURATION_S),
    help="Length of the run, 1 s to 1 h, like 30s; the load is stretched to it.",
)
@click.option(
    "--rate",
    metavar="RATE",
    type=values.per_second,
    help="Sessions per second (of the closed model: users): the named profile's own, else the load's peak.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), help="Seed of the schedule and of everything drawn."
)
@click.option("--closed", is_flag=True, help="Users who wait for answers, at most 500. Under-reports stalls.")
@click.option("--users", type=int, help="How many users at the peak, 1 to 500; with --closed.")
@click.option(
    "--check",
    "checks",
    multiple=True,
    metavar="CRITERION",
    help="What must hold besides the scenario's own criteria, like 'p95 < 500ms'; can be repeated.",
)
@limited_options
@click.option("--segment", metavar="I/N", type=values.segment, help="Send only share I (from 0) of N shares.")
@click.option(
    "--start-at", metavar="INSTANT", type=values.instant, help="Start at +10s, Unix time or ISO 8601."
)
@options.files("json", "html", "junit", "md")
@click.option(
    "--record",
    "record_file",
    metavar="FILE",
    type=click.Path(allow_dash=True, dir_okay=False, path_type=Path),
    callback=options.writable,
    help="Write the raw record, for `sentinel merge`; - is standard output.",
)
@options.db
@click.option("--no-save", is_flag=True, help="Keep nothing in the history.")
def run(
    scenario: str,
    target: str,
    allow_target: tuple[str, ...],
    production: bool,
    scale: float,
    profile: str | None,
    duration: float | None,
    rate: float | None,
    seed: int | None,
    closed: bool,
    users: int | None,
    checks: tuple[str, ...],
    limit: Rate | None,
    algorithm: str,
    burst: int | None,
    precision: int | None,
    limited: str | None,
    limited_by: str,
    segment: Segment | None,
    start_at: float | None,
    json_file: Path | None,
    html_file: Path | None,
    junit_file: Path | None,
    md_file: Path | None,
    record_file: Path | None,
    db: Path,
    no_save: bool,
) -> ExitCode:
    """Run a scenario against a target.

    SCENARIO is a name that ships (see `sentinel scenarios`), a TOML file, or module:attribute, a Scenario
    made in Python.

    \b
    sentinel run launch-day --target myapp:app --scale 0.01
    sentinel run my-scenario.toml --target http://127.0.0.1:8000 --profile spike --duration 30s --rate 500
    sentinel run my_scenarios:evening --target myapp:wsgi_app
    """
    plan = change(find(scenario), Changes(scale, profile, duration, rate, seed, closed, users, checks))
    asked = audited(plan, LimitOptions(limit, algorithm, burst, precision, limited, limited_by))
    goal = parse_target(target, allow_target, production=production)
    console = Console(stderr=record_file == Path("-"))
    share = segment or Segment()
    settings = Options(segment=share, start_at=start_at, columns=asked is not None, run_id=_run_id())
    paths = {"json": json_file, "html": html_file, "junit": junit_file, "md": md_file}
    with nullcontext() if no_save else RunStore(db) as store:
        result = _observed(plan, goal, settings, console, store)
        report = _judged(result, asked)
        return delivered(
            report.verdict.exit_code,
            lambda: show(console, report),
            lambda: write_record(record_file, result.record),
            *report_files(report, paths),
            lambda: None if store is None else keep(store, report),
        )


def _run_id() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def _observed(
    plan: Scenario,
    goal: HttpTarget | AppTarget,
    settings: Options,
    console: Console,
    store: RunStore | None,
) -> Run:
    """Run with somebody watching, and with a state of it saved every 30 s; the record knows its segment."""
    with Progress(console, plan, begins_at=settings.start_at) as progress:
        watched = (
            progress if store is None else Listeners(progress, Checkpoints(store, _blank(plan, settings)))
        )
        result = run_scenario(plan, goal, settings, watched)
    share = settings.segment
    if share.count > 1:
        place = {"segment": share.index, "segments": share.count}
        counters = {**result.record.counters, **place}
        result = Run(replace(result.record, counters=counters), result.columns)
    if store is not None:
        store.save(result.record)
    return result


def _blank(plan: Scenario, settings: Options) -> RunRecord:
    snapshot = plan.snapshot()
    return RunRecord(
        id=settings.run_id or _run_id(),
        scenario=snapshot,
        plan_hash=plan_hash(snapshot),
        host=fingerprint(),
        started_at=datetime.now(UTC).isoformat(),
        model=plan.model,
        status="partial",
        phases=plan.load.phases(),
        present=plan.present(ceil(plan.load.duration_s)),
    )


def _judged(result: Run, asked: Audited | None) -> Report:
    return Report.of(result.record, judge_run(result.record, excess=excess_of(result, asked)))
