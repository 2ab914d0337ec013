"""`sentinel overhead`: what a limiter adds to a request, with an interval, against a budget."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console

from sentinel.bare import without_limiter
from sentinel.commands import options, values
from sentinel.commands.kept import conclude, kept
from sentinel.cost import conclude as conclude_costs
from sentinel.costing import CostSettings, cost
from sentinel.drivers.asgi import load_app
from sentinel.drivers.driver import Driver
from sentinel.drivers.http import HttpDriver
from sentinel.drivers.in_process import app_driver, is_wsgi
from sentinel.errors import ConfigurationError
from sentinel.exit_codes import ExitCode
from sentinel.experiment import Experiment, headers_kept, without_password
from sentinel.keyed import FORWARDED, KeyedRequests, header
from sentinel.report.parts import costs_document
from sentinel.run import JsonObject
from sentinel.target import AppTarget, parse_target

DEMO = "threshold.demo.blog:protected"
DEMO_PATH = "/blog"
DEMO_HEADERS = (("X-Tenant", "sequoia-times"),)


@click.command()
@click.option(
    "--target",
    "--with",
    metavar="TARGET",
    help=f"The app with its limiter: module:app or a URL.  [default: {DEMO}]",
)
@click.option(
    "--without",
    metavar="TARGET",
    help="The same app without its limiter; module:app can do without, ThresholdMiddleware is taken away.",
)
@click.option(
    "--store",
    metavar="STORE",
    help="Where the demo app keeps its state: memory, shared, redis (starts a server), or redis://host:port/0.",
)
@options.permission
@click.option(
    "--budget",
    metavar="TIME",
    default="5ms",
    show_default=True,
    type=values.duration(1e-6, 60),
    help="The most the limiter may add to a request.",
)
@click.option("--path", metavar="PATH", help=f"Path of the requests.  [default: /, {DEMO_PATH} of the demo]")
@click.option("--method", default="GET", show_default=True, help="Method of the requests.")
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="Sent every time; {key}, {address} tell callers apart.  [default: X-Forwarded-For: {address}]",
)
@click.option(
    "--duration",
    metavar="TIME",
    type=values.duration(8, 3600),
    help="Time for all loads together, at least 8 s each.  [default: 30s, 10s if --quick]",
)
@click.option(
    "--rate", metavar="RATE", type=values.per_second, help="Measure at this one load, not at three."
)
@click.option("--quick", is_flag=True, help="One load instead of three.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1))
@options.files("json", "html", "junit", "md")
@options.history
def overhead(
    target: str | None,
    without: str | None,
    store: str | None,
    allow_target: tuple[str, ...],
    production: bool,
    budget: float,
    path: str | None,
    method: str,
    headers: tuple[str, ...],
    duration: float | None,
    rate: float | None,
    quick: bool,
    seed: int,
    json_file: Path | None,
    html_file: Path | None,
    junit_file: Path | None,
    md_file: Path | None,
    db: Path,
    no_save: bool,
) -> ExitCode:
    """Measure what the limiter adds to allowed and to refused requests; pass only if even the upper end of
    every interval is inside the budget.

    Every request goes to the app with and without its limiter, one shortly after the other, in an order that
    a coin decides, at up to three loads below half of what the target bears. Without --target it measures
    threshold's demo app.

    \b
    sentinel overhead --target myapp:app --budget 5ms
    sentinel overhead --with http://127.0.0.1:8000 --without http://127.0.0.1:8001
    """
    single = quick or rate is not None
    settings = CostSettings(
        duration_s=duration or (10.0 if single else 30.0), loads=1 if single else 3, rate=rate, seed=seed
    )
    demo = target is None
    if store is not None and not demo:
        raise ConfigurationError("store is for the demo app; your own app knows its store, leave it out")
    given = [header(text) for text in headers] or [FORWARDED, *(DEMO_HEADERS if demo else ())]
    path = path or (DEMO_PATH if demo else "/")
    requests = KeyedRequests(method, path, given, seed=seed)
    budget_us, what = budget * 1e6, target or DEMO
    about: JsonObject = {"method": method, "path": path, "headers": headers_kept(given)}
    about |= {"without": without and without_password(without), "budget_us": budget_us}
    about |= {"store": without_password(store or "memory") if demo else None, **_settings(settings)}
    experiment = Experiment.begin("overhead", what, about)
    told = Console(stderr=True)
    stage = _demo_store(store or "memory") if demo else _nothing()
    with kept(None if no_save else db, experiment) as save, stage:
        costs, stopped = cost(
            *_arms(what, without, allow_target, production),
            requests,
            settings,
            lambda words: told.print(f"[dim]{words}[/]"),
        )
        gc.collect()  # the app was part of cycles; its store lets go with it
    code, sentence = conclude_costs(costs, budget_us, stopped=stopped)
    ended = experiment.concluded(
        costs_document(costs, budget_us),
        code,
        sentence,
        requests=sum(entry.requests for entry in costs),
        stopped=stopped,
    )
    paths = {"json": json_file, "html": html_file, "junit": junit_file, "md": md_file}
    return conclude(ended, save, paths, Console(), code)


def _settings(settings: CostSettings) -> JsonObject:
    """Give what is kept of the settings."""
    return {
        "duration_s": settings.duration_s,
        "loads": settings.loads,
        "rate": settings.rate,
        "seed": settings.seed,
    }


def _arms(text: str, bare: str | None, allow: tuple[str, ...], production: bool) -> tuple[Driver, Driver]:
    """Make the driver of the app with its limiter, and of the one without."""
    goal = parse_target(text, allow, production=production)
    if isinstance(goal, AppTarget):
        app = load_app(goal)
        if bare is None:
            return app_driver(app), app_driver(without_limiter(app))
        other = parse_target(bare, allow, production=production)
        if not isinstance(other, AppTarget):
            raise ConfigurationError("without is a URL and the target an app; give two of one kind")
        bare_app = load_app(other)
        if is_wsgi(app) != is_wsgi(bare_app):
            raise ConfigurationError(
                "without is an app of another kind: one is WSGI, one ASGI; give two of one"
            )
        return app_driver(app), app_driver(bare_app)
    if bare is None:
        raise ConfigurationError(
            f"target {goal} is a server; name the one without the limiter: --without http://..."
        )
    other = parse_target(bare, allow, production=production)
    if isinstance(other, AppTarget):
        raise ConfigurationError("without is an app and the target a URL; give two of one kind")
    return HttpDriver(goal), HttpDriver(other)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _demo_store(store: str) -> Iterator[None]:
    """Tell the demo app which store to use; what was made for this is removed again."""
    from threshold.demo.settings import Settings, stage

    with stage(Settings(store=store)) as settings:
        os.environ.update(settings.environment())
        yield
