"""`sentinel audit`: prove what a limiter admits and refuses, over HTTP, in process, or on a store."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.status import Status

from sentinel.auditing import AuditSettings, audit
from sentinel.commands import options, values
from sentinel.commands.kept import conclude, kept
from sentinel.commands.promised import promised, promised_options
from sentinel.direct import THREADS, DirectLimiter
from sentinel.drivers.asgi import load_app
from sentinel.drivers.driver import Driver, Request
from sentinel.drivers.http import HttpDriver
from sentinel.drivers.in_process import app_driver
from sentinel.errors import ConfigurationError
from sentinel.exit_codes import ExitCode
from sentinel.experiment import Experiment, headers_kept
from sentinel.keyed import KeyedRequests, header
from sentinel.probe import ADMITTED
from sentinel.promise import ClockTrust
from sentinel.report.parts import audit_document, promise_settings
from sentinel.run import JsonObject
from sentinel.target import AppTarget, parse_target
from sentinel.witness import Witness
from threshold import Rate

Progress = Callable[[int, int], None]
SPREAD = 16
STRANGERS_DRIFT_PPM = 500  # what NTP may do to one clock beside another


@click.command("audit")
@click.option("--target", metavar="TARGET", help="http://127.0.0.1:8000, unix:/path/to.sock, or module:app.")
@click.option(
    "--limiter",
    metavar="STORE",
    help="Audit threshold's limiter right on a store: memory:, shared:NAME or redis://host:port/0.",
)
@options.permission
@promised_options('What the limiter promises, like "500/s" or "5 per 5 minutes".', required=True)
@click.option(
    "--path", default="/", show_default=True, help="Path of the requests; reading, without effects."
)
@click.option("--method", default="GET", show_default=True, help="Method of the requests.")
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="Sent every time; {key} and {address} tell callers apart, as in 'X-Forwarded-For: {address}'.",
)
@click.option(
    "--admitted",
    multiple=True,
    metavar="STATUS",
    type=click.IntRange(200, 599),
    help="A status that only requests get which the limiter let through; repeatable.  [default: all 2xx]",
)
@click.option(
    "--duration",
    metavar="TIME",
    default="60s",
    show_default=True,
    type=values.duration(2, 3600),
    help="Time allowed, 2 s to 1 h. What does not fit is left out, by name and reason.",
)
@click.option(
    "--rate",
    metavar="RATE",
    default="2000/s",
    show_default=True,
    type=values.per_second,
    help="The most to send per second, so that the target is not overloaded.",
)
@click.option(
    "--only-over-admission",
    is_flag=True,
    help="Judge no refusals, because other limits or penalties may refuse as well.",
)
@click.option(
    "--penalties",
    is_flag=True,
    help="A Retry-After beyond what the limit can owe announces a penalty: prove that none is cut short.",
)
@click.option(
    "--witness-secret",
    metavar="SECRET",
    envvar="SENTINEL_WITNESS_SECRET",
    show_envvar=True,
    help="Believe the instants of decision that the target tells and signs by this, and insist on them.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1))
@options.files("json", "html", "junit", "md")
@options.history
def audit_command(
    target: str | None,
    limiter: str | None,
    allow_target: tuple[str, ...],
    production: bool,
    limit: Rate,
    algorithm: str,
    burst: int | None,
    precision: int | None,
    path: str,
    method: str,
    headers: tuple[str, ...],
    admitted: tuple[int, ...],
    duration: float,
    rate: float,
    only_over_admission: bool,
    penalties: bool,
    witness_secret: str | None,
    seed: int,
    json_file: Path | None,
    html_file: Path | None,
    junit_file: Path | None,
    md_file: Path | None,
    db: Path,
    no_save: bool,
) -> ExitCode:
    """Prove that nothing was admitted over the limit and nothing refused below it.

    The traffic is made to provoke: shares of the limit from 50 to 400 %, bursts after silence, crowds at one
    instant, bursts astride window boundaries, many keys beside a hot one, obedience to Retry-After; and a
    positive control that must be refused, else the audit is VOID.

    \b
    sentinel audit --target http://127.0.0.1:8000 --limit "500/s" --burst 50 --path /api
    sentinel audit --limiter redis://127.0.0.1 --limit "5 per 5 minutes" --algorithm sliding-window
    """
    promise = promised(limit, algorithm, burst, precision)
    if (target is None) == (limiter is None):
        raise ConfigurationError("give either --target, an app, or --limiter, a store")
    given = [header(text) for text in headers]
    requests = KeyedRequests(method, path, given, seed=time.time_ns())
    direct = None if limiter is None else DirectLimiter(limiter, limit, promise)
    if direct is not None:
        driver: Driver = direct.driver()
        local, single = direct.local, False
        make: Callable[[str], Request] = _by_key
    else:
        driver, local, in_process = _driver(target or "", allow_target, production)
        make = requests
        single = not (in_process or requests.tells_keys_apart)
    settings = AuditSettings(
        budget_s=duration,
        max_rate=rate,
        single_key=single,
        fresh=not single,
        judge_refusals=not (only_over_admission or penalties),
        judge_penalties=penalties,
        clock=ClockTrust() if local else ClockTrust(drift_ppm=STRANGERS_DRIFT_PPM),
        seed=seed,
        witness=_witness(witness_secret, told=target is not None and local),
        admitted=frozenset(admitted) or ADMITTED,
    )
    what = target or limiter or ""
    about: JsonObject = {"method": method, "path": path, "headers": headers_kept(given)} if target else {}
    about = {"promise": promise_settings(promise), **about, **_settings(settings)}
    experiment = Experiment.begin("audit", what, about)
    console = Console()
    with kept(None if no_save else db, experiment) as save, _Shown(console, experiment.target) as shown:
        result = audit(promise, driver, make, settings, shown, None if direct is None else direct.driver)
    ended = experiment.concluded(
        audit_document(result),
        result.exit_code,
        result.sentence,
        requests=result.requests,
        stopped=result.stopped,
    )
    paths = {"json": json_file, "html": html_file, "junit": junit_file, "md": md_file}
    return conclude(ended, save, paths, console, result.exit_code)


def _witness(secret: str | None, *, told: bool) -> Witness | None:
    if secret is None:
        return None
    if not told:
        raise ConfigurationError(
            "witness secret is for an app on this machine, whose answers can tell and whose clock is ours; "
            "leave it out"
        )
    return Witness(secret)


def _settings(settings: AuditSettings) -> JsonObject:
    """Give what is kept of the settings."""
    return {
        "duration_s": settings.budget_s,
        "max_rate": settings.max_rate,
        "single_key": settings.single_key,
        "judge_refusals": settings.judge_refusals,
        "judge_penalties": settings.judge_penalties,
        "drift_ppm": settings.clock.drift_ppm if settings.clock else 0,
        "admitted": None if settings.admitted == ADMITTED else [*sorted(settings.admitted)],
        "witnessed": settings.witness is not None,
        "seed": settings.seed,
    }


def _by_key(key: str) -> Request:
    return Request("GET", "/", key=key)


def _driver(text: str, allow: tuple[str, ...], production: bool) -> tuple[Driver, bool, bool]:
    """Make the driver; tell whether the clock is this machine's and whether the app runs in this process."""
    goal = parse_target(text, allow, production=production)
    if isinstance(goal, AppTarget):
        return app_driver(load_app(goal), threads=THREADS), True, True
    local = goal.socket_path is not None or goal.host not in allow
    return HttpDriver(goal, spread=SPREAD), local, False


class _Shown:
    """Tell how far an audit is: a live line on a terminal, a plain line every second elsewhere."""

    def __init__(self, console: Console, what: str) -> None:
        self._console = console
        self._what = what
        self._status: Status | None = None
        self._told_at = time.monotonic()

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._status = self._console.status(f"auditing {self._what}")
            self._status.start()
        return self._tell

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def _tell(self, done: int, planned: int) -> None:
        now = time.monotonic()
        pause = 0.25 if self._status is not None else 1.0
        if now - self._told_at < pause:
            return
        self._told_at = now
        line = f"{done:,} of {planned:,} requests answered"
        if self._status is not None:
            self._status.update(f"auditing {self._what}: {line}")
        else:
            sys.stderr.write(line + "\n")
