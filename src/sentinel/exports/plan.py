"""A scenario as the plain data that an exported script carries, and the words about what is lost."""

from __future__ import annotations

from importlib.resources import files
from itertools import pairwise
from math import nextafter

from sentinel.profile import Profile
from sentinel.run import JsonObject
from sentinel.scenario import Scenario

MOST_POINTS = 600


def exported_plan(scenario: Scenario) -> JsonObject:
    """Give what a script needs to play the scenario's sessions."""
    snapshot = scenario.snapshot()
    kept = ("name", "mix", "applications", "users", "variables", "timeout_s")
    return {name: snapshot[name] for name in kept}


def points(profile: Profile) -> list[tuple[float, float]]:
    """Draw a profile as points of (second, rate), two at a jump, straight between them.

    >>> from sentinel.shapes import Spike
    >>> points(Spike(rate=1, duration_s=100))
    [(0.0, 1.0), (15.0, 1.0), (15.0, 10.0), (45.0, 10.0), (45.0, 1.0), (100.0, 1.0)]
    """
    knots = list(profile.knots())
    if len(knots) > MOST_POINTS:
        knots = [profile.duration_s * place / MOST_POINTS for place in range(MOST_POINTS + 1)]
    drawn: list[tuple[float, float]] = []
    for start, end in pairwise(knots):
        for at, rate in ((start, profile.rate_at(start)), (end, profile.rate_at(nextafter(end, 0)))):
            point = (round(float(at), 6), round(rate, 6))
            if not drawn or point != drawn[-1]:
                drawn.append(point)
    return drawn


def common_losses(scenario: Scenario) -> list[str]:
    """Say what no other tool here keeps."""
    lost = [
        "the schedule: arrivals are near the plan, not at instants that a seed fixes",
        "VOID: a generator that could not keep up is not noticed, its figures look like the server's",
        "the oracle: nothing is proven about a limiter, so criteria about excess are left out",
        "made-up values come from an unseeded generator",
        "comparison: the history, baselines and per-second histograms of sentinel",
    ]
    if scenario.users.hot_share:
        lost.append(f"the hot user: {scenario.users.hot_share:.0%} of the sessions were to be user 0's")
    return lost


def asset(name: str) -> str:
    """Read a script's fixed part."""
    return (files("sentinel.exports") / "assets" / name).read_text(encoding="utf-8")


def commented(lines: list[str], mark: str) -> str:
    """Write lines as comments, one bullet each.

    >>> commented(["a", "b"], "#")
    '# - a\\n# - b'
    """
    return "\n".join(f"{mark} - {line}" for line in lines)
