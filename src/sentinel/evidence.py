"""A run's single requests as evidence for the oracle, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import Literal

import numpy as np
import numpy.typing as npt

from sentinel.observations import ADMITTED, REFUSED, UNKNOWN, Observations
from sentinel.oracle import over_admission
from sentinel.promise import Promise
from sentinel.recorder import Columns
from sentinel.run import OUTCOMES

Caller = Literal["user", "tenant", "everyone"]

# What was shed or went wrong may have been counted by the limiter or not: nobody can know from outside.
_OUTCOMES = {"ok": ADMITTED, "denied": REFUSED, "shed": UNKNOWN, "error": UNKNOWN}


@dataclass(frozen=True, slots=True)
class Limited:
    """Say whose requests one limit counts (None: all applications, all steps), and who has one of their own.

    caller: "user" and "tenant" of the scenario's users, or "everyone" together.
    """

    application: str | None = None
    step: str | None = None
    caller: Caller = "user"


@dataclass(frozen=True, slots=True)
class ExcessFound:
    """State what was proven over a limit, and what that rests on.

    `proven` requests of `requests`, by `callers`, were over it; `refused` of them were refused. `found_from`
    is the smallest excess that would have been proven, None when no request was admitted.

    >>> print(ExcessFound(0, 400, 30, 20, "user", 3))
    0 proven over 400 requests of 20 users, 30 refused; 3 or more at one user would have been proven
    """

    proven: int
    requests: int
    refused: int
    callers: int
    caller: Caller
    found_from: int | None

    def __str__(self) -> str:
        who = {"user": "user", "tenant": "tenant", "everyone": "key"}[self.caller]
        callers = f"{self.callers:,} {who}{'s' * (self.callers != 1)}"
        text = (
            f"{self.proven:,} proven over {self.requests:,} requests of {callers}, {self.refused:,} refused"
        )
        if self.proven or self.found_from is None:
            return text
        return f"{text}; {self.found_from:,} or more at one {who} would have been proven"


def evidence(columns: Columns, limited: Limited | None = None, tenants: int = 1) -> Observations:
    """Turn a run's columns into observations, one key per caller; users belong to `tenants` in turn.

    >>> one = np.array([1], np.int64)
    >>> columns = Columns(one, one, one + 5, one * 0, one, one * 429, one, one * -1, (("blog", "list"),))
    >>> seen = evidence(columns, Limited("blog"))
    >>> seen.names, seen.count(REFUSED), len(evidence(columns, Limited("shop")))
    (('user-1',), 1, 0)
    """
    limited = limited or Limited()
    chosen = np.array(
        [
            limited.application in (None, name[0]) and limited.step in (None, name[1])
            for name in columns.names
        ],
        dtype=np.bool_,
    )
    rows = np.flatnonzero(chosen[columns.series]) if len(columns.names) else np.empty(0, np.int64)
    callers, key = np.unique(_callers(columns.user[rows], limited.caller, tenants), return_inverse=True)
    meaning = np.array([_OUTCOMES[outcome] for outcome in OUTCOMES], np.int8)
    return Observations(
        columns.sent[rows],
        columns.done[rows],
        meaning[columns.outcome[rows]],
        key.astype(np.int64),
        columns.retry_after[rows],
        tuple(f"{limited.caller}-{caller}" for caller in callers.tolist()),
    )


def _callers(users: npt.NDArray[np.int64], caller: Caller, tenants: int) -> npt.NDArray[np.int64]:
    if caller == "everyone":
        return users * 0
    return users % tenants if caller == "tenant" else users


def excess_found(columns: Columns, promise: Promise, limited: Limited, tenants: int = 1) -> ExcessFound:
    """Prove what a run's own requests show against a promise."""
    seen = evidence(columns, limited, tenants)
    finding = over_admission(seen, promise)
    return ExcessFound(
        finding.proven,
        len(seen),
        seen.count(REFUSED),
        len(seen.names),
        limited.caller,
        None if finding.blind is None else floor(finding.blind) + 1,
    )
