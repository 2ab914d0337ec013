"""The demo itself: start the servers, let the callers play, measure, judge."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict
from secrets import token_hex

from rich.console import Console

from ..policy import Policy
from ..presets import default_policy
from .callers import Cast, Tally
from .fates import Fate, judge
from .overhead import Overhead, measure
from .server import Server
from .settings import Settings
from .show import Stage, fate_table, overhead_lines

BARE = "threshold.demo.blog:bare"
PROTECTED = "threshold.demo.blog:protected"
BUDGET_US = 5_000


def play(settings: Settings, console: Console, *, as_json: bool, pairs: int, workers: int = 1) -> bool:
    """Run the whole demo; True when every caller met the fate the policy prescribes.

    Args:
        settings: pace and store.
        console: where to show it; with as_json only the data is printed.
        pairs: pairs of requests for the overhead, 100 to 1,500.
        workers: worker processes of the protected server.
    """
    policy = default_policy(settings.pace)
    assert policy.ladder is not None
    environment = settings.environment() | {"THRESHOLD_DEMO_SECRET": token_hex(16)}
    begun = time.monotonic()
    stage = Stage(console)
    with Server(PROTECTED, environment, workers=workers) as protected, Server(BARE, environment) as bare:
        if not as_json:
            console.print(
                f"[bold]threshold demo[/bold]: a blog on {protected.url} behind the shipped policy, "
                f"{settings.pace:g} times faster than real time, state in {settings.store}"
            )
        cast = Cast(protected.url, policy.ladder, (lambda *_: None) if as_json else stage.say)
        if not as_json:
            stage.open(cast.tallies)
        try:
            tallies = asyncio.run(cast.play())
        finally:
            if not as_json:
                stage.close()
        overhead = measure(bare.port, protected.port, pairs)
    fates = judge(policy, tallies)
    met = all(fate.met for fate in fates) and overhead.high_us <= BUDGET_US
    seconds = time.monotonic() - begun
    if as_json:
        print(json.dumps(report(settings, policy, tallies, fates, overhead, seconds, met), indent=2))
    else:
        console.print(fate_table(fates))
        console.print(overhead_lines(overhead))
        verdict = "[bold green]Every caller met the fate the policy prescribes"
        if not met:
            verdict = "[bold red]Not every caller met the fate the policy prescribes"
        console.print(f"{verdict}[/] ({seconds:.0f} s).")
    return met


def report(
    settings: Settings,
    policy: Policy,
    tallies: dict[str, Tally],
    fates: list[Fate],
    overhead: Overhead,
    seconds: float,
    met: bool,
) -> dict[str, object]:
    """The same as data."""
    rows = [
        {
            "name": tally.name,
            "requests": tally.requests,
            "allowed": tally.allowed,
            "warned": tally.warned,
            "delayed": tally.delayed,
            "refused": dict(tally.refused),
            "cooled_down": tally.cooled_down,
            "banned": tally.banned,
            "errors": tally.errors,
            "came_back": tally.came_back,
        }
        for tally in tallies.values()
    ]
    return {
        "policy": policy.name,
        "pace": settings.pace,
        "store": settings.store,
        "seconds": round(seconds, 1),
        "callers": rows,
        "fates": [asdict(fate) for fate in fates],
        "overhead": asdict(overhead),
        "met": met,
    }


def serve(settings: Settings, console: Console, *, port: int, workers: int = 1) -> None:
    """Keep the protected blog up until Ctrl-C."""
    secret = token_hex(16)
    environment = settings.environment() | {"THRESHOLD_DEMO_SECRET": secret}
    with Server(PROTECTED, environment, workers=workers, port=port) as server:
        try:
            url = server.url
            console.print(
                f"The blog is on [bold]{url}[/bold], {settings.pace:g} times faster than real time. Try:"
            )
            for line in (
                f"curl -i {url}/blog -H 'X-Tenant: clover-corner'",
                f"""curl -s {url}/auth/token -d '{{"user": "you"}}'""",
                f"for i in $(seq 120); do curl -s -o /dev/null -w '%{{http_code}} ' {url}/nowhere; done",
            ):
                console.print(f"  {line}", highlight=False, soft_wrap=True)
            console.print("Ctrl-C ends it.")
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            console.print("ended")
