"""The demo itself: start the servers, let the callers play, measure, judge."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

from rich.console import Console

from ..policy import Policy
from ..presets import default_policy
from .callers import Cast, Tally
from .crowd import Audit, audit
from .fates import Fate, judge
from .overhead import Overhead, measure
from .server import Server
from .settings import Settings
from .settings import stage as prepared
from .show import Stage

BARE = "threshold.demo.blog:bare"
PROTECTED = "threshold.demo.blog:protected"
BUDGET_US = 5_000


def play(settings: Settings, console: Console, *, as_json: bool, pairs: int, workers: int = 1) -> bool:
    """Run the whole demo; True when every caller met the fate the policy prescribes.

    Args:
        settings: pace and store.
        console: where to show it; with as_json only the data is printed.
        pairs: pairs of requests for the overhead, 100 to 1,500.
        workers: worker processes of the protected server, 1 to 16. More than one: the run ends with an audit
            of one caller who asks all of them at once, beside the same with a store per process.
    """
    policy = default_policy(settings.pace)
    assert policy.ladder is not None
    begun = time.monotonic()
    show = Stage(console)
    with prepared(settings) as ready:
        environment = ready.environment()
        with Server(PROTECTED, environment, workers=workers) as protected, Server(BARE, environment) as bare:
            if not as_json:
                show.title(protected.url, settings, workers)
                show.open(cast := Cast(protected.url, policy.ladder, show.say))
            else:
                cast = Cast(protected.url, policy.ladder, lambda *_: None)
            try:
                tallies = asyncio.run(cast.play())
            finally:
                show.close()
            overhead = measure(bare.port, protected.port, pairs)
            audits = (
                [asyncio.run(audit(protected.url, policy, settings.store, workers))] if workers > 1 else []
            )
    if audits and settings.store != "memory":
        divided = replace(settings, store="memory")
        with Server(PROTECTED, divided.environment(), workers=workers) as server:
            audits.append(asyncio.run(audit(server.url, policy, "a memory store per process", workers)))
    fates = judge(policy, tallies, audits)
    met = all(fate.met for fate in fates) and overhead.high_us <= BUDGET_US
    seconds = time.monotonic() - begun
    if as_json:
        print(json.dumps(report(settings, policy, tallies, fates, overhead, audits, seconds, met), indent=2))
    else:
        show.end(fates, overhead, met, seconds)
    return met


def report(
    settings: Settings,
    policy: Policy,
    tallies: dict[str, Tally],
    fates: list[Fate],
    overhead: Overhead,
    audits: list[Audit],
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
        "audits": [asdict(audit) for audit in audits],
        "met": met,
    }


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Let a plain kill or the end of the terminal end the demo as Ctrl-C does, its servers included."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def serve(settings: Settings, console: Console, *, port: int, workers: int = 1) -> None:
    """Keep the protected blog up until Ctrl-C or a plain kill."""
    with (
        prepared(settings) as ready,
        Server(PROTECTED, ready.environment(), workers=workers, port=port) as server,
    ):
        try:
            url = server.url
            console.print(
                f"The blog is on [bold]{url}[/bold], {settings.pace:g} times faster than real time. Try:"
            )
            for line in (
                f"curl -i {url}/blog -H 'X-Tenant: clover-corner'",
                f"""curl -s {url}/auth/token -d '{{"user": "you"}}'""",
                f"curl -s -o /dev/null -w '%{{http_code}} ' '{url}/nowhere?[1-300]'",
            ):
                console.print(f"  {line}", highlight=False, soft_wrap=True)
            console.print("Ctrl-C ends it.")
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            console.print("ended")
