"""A run's single requests as evidence for the oracle."""

from __future__ import annotations

import numpy as np

from sentinel.observations import ADMITTED, REFUSED, UNKNOWN, Observations
from sentinel.recorder import Columns
from sentinel.run import OUTCOMES

# What was shed or went wrong may have been counted by the limiter or not: nobody can know from outside.
_OUTCOMES = {"ok": ADMITTED, "denied": REFUSED, "shed": UNKNOWN, "error": UNKNOWN}


def evidence(columns: Columns, application: str | None = None, step: str | None = None) -> Observations:
    """Turn a run's columns into observations, one key per virtual user.

    `application` and `step` select the requests that one limit counts; None is all of them.

    >>> one = np.array([1], np.int64)
    >>> columns = Columns(one, one, one + 5, one * 0, one, one * 429, one, one * -1, (("blog", "list"),))
    >>> seen = evidence(columns, "blog")
    >>> seen.names, seen.count(REFUSED), len(evidence(columns, "shop"))
    (('user-1',), 1, 0)
    """
    chosen = np.array(
        [application in (None, name[0]) and step in (None, name[1]) for name in columns.names], dtype=np.bool_
    )
    rows = np.flatnonzero(chosen[columns.series]) if len(columns.names) else np.empty(0, np.int64)
    users, key = np.unique(columns.user[rows], return_inverse=True)
    meaning = np.array([_OUTCOMES[outcome] for outcome in OUTCOMES], np.int8)
    return Observations(
        columns.sent[rows],
        columns.done[rows],
        meaning[columns.outcome[rows]],
        key.astype(np.int64),
        columns.retry_after[rows],
        tuple(f"user-{user}" for user in users.tolist()),
    )
