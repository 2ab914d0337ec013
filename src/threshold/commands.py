"""The subcommands of `threshold`: arguments in, exit codes out; the work is done elsewhere."""

from __future__ import annotations

import sys
from itertools import groupby

import click
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from .errors import ConfigurationError
from .layers import Listed
from .policy import Policy
from .sliding_window import SlidingWindow


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="threshold")
def cli() -> None:
    """Exact rate limits for ASGI and WSGI apps."""


@cli.command()
@click.option(
    "--pace",
    default=30.0,
    show_default=True,
    type=click.FloatRange(10, 600),
    help="Run windows and penalties this many times faster than real time.",
)
@click.option(
    "--pairs",
    default=1000,
    show_default=True,
    type=click.IntRange(100, 1500),
    help="Pairs of requests that measure the overhead.",
)
@click.option(
    "--store",
    default="memory",
    show_default=True,
    help="memory, shared, redis (starts the bundled Valkey), or the URL of a Redis or Valkey server.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 16),
    help="Worker processes; with more than one, an audit shows what they share.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON and nothing else.")
@click.option("--serve", is_flag=True, help="Keep the protected blog up for you to try, until Ctrl-C.")
@click.option(
    "--port",
    default=0,
    show_default="chosen by the system",
    type=click.IntRange(0, 65535),
    help="Port on 127.0.0.1, with --serve.",
)
def demo(pace: float, pairs: int, store: str, workers: int, as_json: bool, serve: bool, port: int) -> None:
    """Protect a small blog with the shipped policy and watch five callers meet it.

    Exits 0 only if each caller met the fate the policy prescribes and the overhead is within budget.
    """
    from .demo import run
    from .demo.settings import Settings

    settings = Settings(pace, store)
    console = Console()
    try:
        with run.ending_in_order():
            if serve:
                run.serve(settings, console, port=port, workers=workers)
                return
            met = run.play(settings, console, as_json=as_json, pairs=pairs, workers=workers)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    sys.exit(0 if met else 1)


@cli.command()
@click.argument("file", type=click.Path(dir_okay=False))
def check(file: str) -> None:
    """Check a policy file and show the limits it sets, one a line, layer by layer."""
    try:
        policy = Policy.from_toml(file)
    except (ConfigurationError, OSError) as error:
        raise click.ClickException(str(error)) from None
    listed = policy.listed
    steps = len(policy.ladder.rungs) if policy.ladder else 0
    click.echo(f"{file}: ok, {len(listed)} limits, a ladder of {steps} rungs")
    console = Console(highlight=False)
    rows = [(entry.layer, _cells(entry)) for entry in listed]
    widths = [max((cell_len(cells[i]) for _, cells in rows), default=0) for i in range(3)]
    for layer, group in groupby(rows, key=lambda row: row[0]):
        console.print(Text(layer, "bold"))
        for _, cells in group:
            padded = [set_cell_size(*pair) for pair in zip(cells, widths, strict=False)]
            console.print(Text("  ".join(("", *padded, cells[-1]))), soft_wrap=True)  # one line, however long


def _cells(entry: Listed) -> tuple[str, str, str, str]:
    """What is shown of a limit: name, rate, algorithm, and burst or precision."""
    limit = entry.limit
    name = "".join(letter if letter.isprintable() else "?" for letter in entry.name)
    if limit.limit == 0:
        more = "admits nothing"
    elif isinstance(limit, SlidingWindow):
        more = f"precision {limit.precision}"
    else:
        more = f"burst {limit.limit}"
    return name, str(limit.rate), limit.algorithm, more
