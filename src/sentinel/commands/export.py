"""`sentinel export`: a scenario for Locust, k6 or Kubernetes."""

from __future__ import annotations

import sys
import time
from ipaddress import ip_address
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
from sentinel.shapes import SHAPES

DEFAULT_TARGET = "http://127.0.0.1:8000"


@click.command()
@click.argument("scenario")
@click.option(
    "--to", "tool", required=True, type=click.Choice(["locust", "k6", "k8s"]), help="For which tool."
)
@click.option(
    "--target",
    metavar="URL",
    help=f"Where the load goes; for k8s what the pods reach.  [default: {DEFAULT_TARGET}, but for k8s]",
)
@click.option(
    "--production",
    is_flag=True,
    help="Say that you mean it: carried along, for a host with a public address.",
)
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
    target: str | None,
    production: bool,
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
    target = _destination(target, tool)
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
            "--duration": None if duration is None else f"{duration:g}s",
        }
        changes |= {"--rate": rate, "--seed": seed}
        _check_pods(host, production)
        fleet = Fleet(segments, image, time.time() + start_in, start_in)
        text = kubernetes_manifest(
            plan,
            fleet,
            arguments=[*_arguments(scenario, target, changes), *(["--production"] if production else [])],
            host=host,
            text=_carried(scenario),
        )
    if output is None:
        sys.stdout.write(text)
    else:
        options.write(output, text)


def _destination(target: str | None, tool: str) -> str:
    if target is None and tool == "k8s":
        raise ConfigurationError("a job for Kubernetes needs the URL that its pods reach; add --target")
    return target or DEFAULT_TARGET


def _check_pods(host: str, production: bool) -> None:
    """Refuse what could only fail once the pods run: a host that is each pod itself, or that needs a flag."""
    try:
        address = ip_address(host)
    except ValueError:
        if host == "localhost" or host.endswith(".localhost"):
            raise ConfigurationError(f"target {host} is each pod itself; name what the pods reach") from None
        return
    if address.is_loopback or address.is_unspecified:
        raise ConfigurationError(f"target {host} is each pod itself; name what the pods reach")
    if address.is_global and not production:
        raise ConfigurationError(
            f"target {host} is a public address; if you mean to load it, add --production"
        )


def _carried(name: str) -> str | None:
    """Give the text of the scenario's file, which travels with the job; None for one that ships."""
    path = Path(name)
    if path.suffix == ".toml":
        return path.read_text(encoding="utf-8")
    if ":" in name:
        raise ConfigurationError(f"scenario {name!r} is Python, which the pods do not have; write it as TOML")
    return None


def _arguments(name: str, target: str, changes: dict[str, object]) -> list[str]:
    arguments = ["/scenario/scenario.toml" if Path(name).suffix == ".toml" else name, "--target", target]
    for option, value in changes.items():
        if value is not None:
            arguments += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    return arguments
