"""Fates: what the policy prescribes for each caller, held against what they met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..policy import Policy
from ..testing import worst_window
from ..verdict import Caller
from .blog import TENANTS
from .callers import ENOUGH_REFUSALS, Tally
from .crowd import Audit


@dataclass(frozen=True, slots=True)
class Fate:
    """One thing the policy prescribes for one caller."""

    caller: str
    prescribed: str
    seen: str
    met: bool


def judge(policy: Policy, tallies: dict[str, Tally], audits: Sequence[Audit] = ()) -> list[Fate]:
    """Compare every tally with what the policy prescribes.

    The first audit is that of the store in use; a second one, of a store per process, is there to show what
    sharing prevents, and must exceed the limit.
    """
    fates = [
        *_reader(tallies["reader"]),
        *_bursty(policy, tallies["bursty client"]),
        *_tenant(policy, tallies["tenant over its tier"]),
        *_scanner(policy, tallies["path scanner"]),
        *_abuser(policy, tallies["abuser"]),
    ]
    for number, audit in enumerate(audits):
        caller = f"{audit.workers} workers at once"
        if number == 0:
            fates.append(Fate(caller, f"{audit.limit} posts in any window", f"{audit.admitted}", audit.held))
        else:
            prescribed = f"more than {audit.limit}, with {audit.store}"
            fates.append(Fate(caller, prescribed, f"{audit.admitted}", audit.admitted > audit.limit))
    fates += [
        Fate(tally.name, "no server error", f"{tally.errors} errors", False)
        for tally in tallies.values()
        if tally.errors
    ]
    return fates


def _reader(tally: Tally) -> list[Fate]:
    return [
        Fate(
            tally.name,
            "every request allowed",
            f"{tally.allowed} of {tally.requests}",
            tally.allowed == tally.requests > 0,
        )
    ]


def _bursty(policy: Policy, tally: Tally) -> list[Fate]:
    most = _most(policy, Caller(address="198.51.100.20", user="bo", path="/blog"), tally)
    return [
        Fate(
            tally.name,
            f"at most {most} allowed",
            f"{tally.allowed}",
            tally.allowed <= most,
        ),
        Fate(
            tally.name,
            "one burst, one strike: a warning",
            f"{tally.warned} warned",
            1 <= tally.warned <= 2 and not tally.cooled_down,
        ),
        Fate(
            tally.name,
            "refused by the user layer alone",
            _layers(tally),
            set(tally.refused) == {"user"} and tally.refused["user"] >= ENOUGH_REFUSALS,
        ),
        Fate(
            tally.name,
            "admitted after Retry-After",
            "yes" if tally.came_back else "no",
            tally.came_back,
        ),
    ]


def _tenant(policy: Policy, tally: Tally) -> list[Fate]:
    assert policy.tiers is not None
    limit = policy.tiers.limit(TENANTS["clover-corner"], "writes")
    worst = worst_window(tally.writes, limit.window_us / 1e6) if tally.writes else 0
    return [
        Fate(tally.name, f"{limit.limit} writes in any window", f"{worst}", worst == limit.limit),
        Fate(
            tally.name, "refused by the tenant layer alone", _layers(tally), set(tally.refused) == {"tenant"}
        ),
        Fate(
            tally.name,
            "nobody struck, reading goes on",
            f"{tally.warned} warned",
            tally.came_back and not tally.warned,
        ),
    ]


def _scanner(policy: Policy, tally: Tally) -> list[Fate]:
    most = _most(policy, Caller(address="198.51.100.40", path="/wp-admin/x.php"), tally)
    return [
        Fate(tally.name, f"at most {most} unknown paths answered", f"{tally.allowed}", tally.allowed <= most),
        Fate(
            tally.name,
            "refused by address, never struck",
            f"{_layers(tally)}, {tally.warned} warned",
            set(tally.refused) == {"user"} and not tally.warned,
        ),
    ]


def _abuser(policy: Policy, tally: Tally) -> list[Fate]:
    assert policy.ladder is not None
    warnings = sum(rung.forgive for rung in policy.ladder.rungs)
    return [
        Fate(tally.name, f"{warnings} warnings", f"{tally.warned}", tally.warned == warnings),
        Fate(tally.name, "cooled down", f"{tally.cooled_down} refusals", tally.cooled_down > 0),
        Fate(tally.name, "shadow-banned: delayed", f"{tally.delayed} delayed", tally.delayed > 0),
        Fate(tally.name, "banned", f"{tally.banned} refusals", tally.banned > 0),
    ]


def _most(policy: Policy, caller: Caller, tally: Tally) -> int:
    """The most the user layer can admit between the first request sent and the last one answered."""
    plan = policy.plan(caller)
    assert plan is not None
    limit = next(rule.limit for rule in plan.rules if rule.layer == "user")
    seconds = tally.last_done - tally.first_sent
    refill = int(seconds * limit.rate.limit / limit.rate.period) + 1
    return limit.capacity + refill + tally.warned


def _layers(tally: Tally) -> str:
    return ", ".join(f"{layer} {count}" for layer, count in sorted(tally.refused.items())) or "none"
