"""`sentinel export`: a scenario for Locust, k6 or Kubernetes."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import click

from sentinel.commands import options, values
from sentinel.commands.plan import Changes, change, find
from sentinel.errors import ConfigurationError
from sentinel.exports.k6 import k6_script
from sentinel.exports.kubernetes import Fleet, kubernetes_manifest
from sentinel.exports.locust import locust_file
from sentinel.profile import MAX_DURATION_S, MIN_DURATION_S
from sentinel.scenario import Scenario
from sentinel.shapes import SHAPES


@click.command()
@click.argument("scenario")
@click.option(
    "--to", "tool", required=True, type=click.Choice(["locust", "k6", "k8s"]), help="For which tool."
)
@click.option("--target", default="http://127.0.0.1:8000", show_default=True, help="URL the load goes to.")
@click.option("--scale", default=1.0, show_default=True, type=click.FloatRange(0, 1, min_open=True))
@click.option(
    "--profile", type=click.Choice(sorted(SHAPES)), help="Load this shape instead of the scenario's."
)
@click.option("--duration", metavar="TIME", type=values.duration(MIN_DURATION_S, MAX_DURATION_S))
@click.option("--rate", metavar="RATE", type=values.per_second, help="Sessions per second.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1))
@click.option(
    "--segments", default=4, show_default=True, type=int, help="Pods of the Kubernetes job, 2 to 1,000."
)
@click.option("--image", default="sentinel:latest", show_default=True, help="Image of the Kubernetes job.")
@click.option(
    "--start-in",
    metavar="TIME",
    default="2min",
    show_default=True,
    type=values.duration(1, 86_400),
    help="When the pods begin, from now.",
)
@click.option("--output", type=options.FILE, help="A file to write it to; standard output by default.")
def export(
    scenario: str,
    tool: str,
    target: str,
    scale: float,
    profile: str | None,
    duration: float | None,
    rate: float | None,
    seed: int | None,
    segments: int,
    image: str,
    start_in: float,
    output: Path | None,
) -> None:
    """Write SCENARIO (a name that ships, or a TOML file) for another tool; what that loses is said at its
    head."""
    plan = change(find(scenario), Changes(scale, profile, duration, rate, seed))
    host = urlsplit(target).hostname
    if urlsplit(target).scheme not in ("http", "https") or not host:
        raise ConfigurationError(f"target is {target!r}; other tools need a URL, like http://127.0.0.1:8000")
    if tool == "locust":
        text = locust_file(plan, target)
    elif tool == "k6":
        text = k6_script(plan, target)
    else:
        changes: dict[str, object] = {
            "--scale": scale if scale != 1 else None,
            "--profile": profile,
            "--duration": duration,
        }
        changes |= {"--rate": rate, "--seed": seed}
        text = _manifest(
            scenario, plan, target, host, Fleet(segments, image, time.time() + start_in, start_in), changes
        )
    if output is None:
        sys.stdout.write(text)
    else:
        options.write(output, text)


def _manifest(
    name: str, plan: Scenario, target: str, host: str, fleet: Fleet, changes: dict[str, object]
) -> str:
    path = Path(name)
    carried = path.read_text(encoding="utf-8") if path.suffix == ".toml" else None
    if carried is None and ":" in name:
        raise ConfigurationError(f"scenario {name!r} is Python, which the pods do not have; write it as TOML")
    arguments = ["/scenario/scenario.toml" if carried is not None else name, "--target", target]
    for option, value in changes.items():
        arguments += (
            [] if value is None else [option, f"{value:g}" if isinstance(value, float) else str(value)]
        )
    return kubernetes_manifest(plan, fleet, arguments=arguments, host=host, text=carried)
