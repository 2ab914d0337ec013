"""A scenario as a Locust file: users who wait for answers, under Locust's own shape of load."""

from __future__ import annotations

from pprint import pformat

from sentinel.exports.plan import asset, commented, common_losses, exported_plan, points
from sentinel.scenario import Scenario


def locust_file(scenario: Scenario, target: str) -> str:
    """Write a Locust file; run it with `locust --headless -f FILE`.

    >>> from sentinel.catalog import shipped
    >>> text = locust_file(shipped("smoke"), "http://127.0.0.1:8000")
    >>> compile(text, "locustfile.py", "exec") is not None
    True
    """
    by_users = scenario.unit == "users" or scenario.model == "closed"
    pace_s = scenario.pace_s if by_users else 1.0
    return (
        asset("locustfile.txt")
        .replace("@NAME@", scenario.name)
        .replace("@LOSSES@", commented(_losses(scenario), "#"))
        .replace("@HOST@", repr(target))
        .replace("@PACE@", repr(pace_s))
        .replace("@CLOSED@", repr(scenario.model == "closed"))
        .replace("@POINTS@", pformat(points(scenario.load), width=100))
        .replace("@PLAN@", pformat(exported_plan(scenario), width=100, sort_dicts=False))
    )


def _losses(scenario: Scenario) -> list[str]:
    lost = ["pass criteria: Locust judges only by failures; check its CSV files yourself"]
    if scenario.model == "open":
        lost.insert(
            0,
            "the open model: every user waits for its answers, so a server that stalls is asked less "
            "and its stalls are under-reported",
        )
    return [*lost, *common_losses(scenario)]
