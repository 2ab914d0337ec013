"""Hold a limiter to what it announced: a Retry-After that lies, a block that was lost.

Announcements are judged only where nothing else can explain the outcome: a retry that was the key's only
traffic, a request that lies wholly inside a block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sentinel.findings import SHOWN, Accusation, Finding, merge, seconds
from sentinel.observations import ADMITTED, NO_RETRY_AFTER, REFUSED, Observations
from sentinel.promise import ClockTrust

_PPM = 1_000_000
_SECOND = 1_000_000_000


def retry_after(seen: Observations, clock: ClockTrust | None = None) -> Finding:
    """Prove announcements that were obeyed to the letter and still answered with a refusal.

    A pair counts where a refusal announced a wait, the key's next request was sent after the whole wait had
    passed since the refusal's answer, and nothing else of that key was under way from the refusal's sending
    to the retry's answer.

    >>> from sentinel.observations import Observation
    >>> rows = [Observation(0, 10, False, 2.0), Observation(2_000_100_000, 2_000_200_000, False, 2.0)]
    >>> retry_after(Observations.of(["ann"] * 2, rows)).proven
    1
    """
    trust = clock or ClockTrust()
    return merge("retry-after", [_obeyed(name, rows, trust) for name, rows in seen.by_key() if len(rows) > 1])


def _obeyed(name: str, rows: Observations, clock: ClockTrust) -> Finding:
    sent, done, wait = rows.sent_ns, rows.done_ns, rows.retry_after_ns
    earlier = np.maximum.accumulate(done)
    alone_before = np.concatenate([[True], earlier[:-1] < sent[1:]])[:-1]
    alone_after = np.concatenate([done[1:-1] < sent[2:], [True]])
    due = wait[:-1] + clock.grain_ns + wait[:-1] // _PPM * clock.drift_ppm + bool(clock.drift_ppm)
    waited = sent[1:] - done[:-1] >= due
    asked = (rows.outcome[:-1] == REFUSED) & (wait[:-1] != NO_RETRY_AFTER)
    judged = asked & waited & alone_before & alone_after & (rows.outcome[1:] >= REFUSED)
    lies = np.flatnonzero(judged & (rows.outcome[1:] == REFUSED))
    accusations = tuple(
        Accusation(
            "retry-after",
            name,
            int(sent[row]),
            int(done[row + 1]),
            1,
            f"told to wait {seconds(int(wait[row]))}, refused again after "
            f"{seconds(int(sent[row + 1] - done[row]))}",
        )
        for row in lies[:SHOWN]
    )
    examined = int(np.count_nonzero(judged))
    return Finding("retry-after", examined, len(lies), 0.0 if examined else None, accusations)


@dataclass(frozen=True, slots=True)
class Block:
    """State that a key was blocked from `from_ns`, when it was told so, until at least `until_ns`."""

    key: str
    from_ns: int
    until_ns: int

    @classmethod
    def announced(
        cls, key: str, sent_ns: int, done_ns: int, seconds: float, *, resolution_s: float = 1.0
    ) -> Block:
        """Build the shortest block that an announced wait can mean.

        The wait was rounded up to `resolution_s` (HTTP: whole seconds) and counted from the decision, which
        fell no earlier than `sent_ns`.

        >>> Block.announced("ann", 0, 5_000, 60.0)
        Block(key='ann', from_ns=5000, until_ns=59000000000)
        """
        return cls(key, done_ns, sent_ns + round((seconds - resolution_s) * _SECOND))


def lost_penalty(seen: Observations, blocks: Iterable[Block], clock: ClockTrust | None = None) -> Finding:
    """Prove admissions of a key that lie wholly inside a block announced for it.

    >>> from sentinel.observations import Observation
    >>> rows = [Observation(10_000_000_000, 10_001_000_000, True)]
    >>> lost_penalty(Observations.of(["ann"], rows), [Block("ann", 0, 59_000_000_000)]).proven
    1
    """
    trust = clock or ClockTrust()
    parts = []
    rows_of = dict(seen.by_key())
    for block in blocks:
        rows = rows_of.get(block.key)
        if rows is None:
            continue
        length = block.until_ns - block.from_ns
        until = block.until_ns - trust.grain_ns - -(-length * trust.drift_ppm // _PPM)
        inside = (rows.sent_ns > block.from_ns) & (rows.done_ns < until)
        passed = np.flatnonzero(inside & (rows.outcome == ADMITTED))
        accusations = tuple(
            Accusation(
                "lost-penalty",
                block.key,
                int(rows.sent_ns[row]),
                int(rows.done_ns[row]),
                1,
                f"admitted {seconds(block.until_ns - int(rows.done_ns[row]))} before its block could end",
            )
            for row in passed[:SHOWN]
        )
        examined = int(np.count_nonzero(inside & (rows.outcome >= REFUSED)))
        parts.append(Finding("lost-penalty", examined, len(passed), 0.0 if examined else None, accusations))
    return merge("lost-penalty", parts)
