"""Hold a limiter to what it announced: a Retry-After that lies, a block that was lost.

Announcements are judged only where nothing else can explain the outcome: a retry that was the key's only
traffic, a request that lies wholly inside a block. A wait that is merely longer than it need be breaks no
limit, so it is taken for a penalty only where whoever asks says that penalties are announced like that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from sentinel.findings import SHOWN, Accusation, Finding, merge, seconds
from sentinel.observations import ADMITTED, NO_RETRY_AFTER, REFUSED, IntArray, Observations
from sentinel.promise import ClockTrust, Promise, settled_ns

_PPM = 1_000_000
_SECOND = 1_000_000_000
_CROWD_NS = _SECOND  # answers this close together belong to one crowd; what is proven does not depend on it


def retry_after(
    seen: Observations, clock: ClockTrust | None = None, *, settled_ns: int | None = None
) -> Finding:
    """Prove announcements that were obeyed to the letter and still answered with a refusal.

    A pair counts where a refusal announced a wait, the key's next request was sent after the whole wait had
    passed since the refusal's answer, and nothing else of that key was under way from the refusal's sending
    to the retry's answer. With `settled_ns`, the longest honest wait for one admission, a refusal out of a
    crowd counts too: where that time has passed as well since the last answer to any of the crowd.

    >>> from sentinel.observations import Observation
    >>> rows = [Observation(0, 10, False, 2.0), Observation(2_000_100_000, 2_000_200_000, False, 2.0)]
    >>> retry_after(Observations.of(["ann"] * 2, rows)).proven
    1
    """
    trust = clock or ClockTrust()
    parts = [_obeyed(name, rows, trust, settled_ns) for name, rows in seen.by_key() if len(rows) > 1]
    return merge("retry-after", parts)


def _obeyed(name: str, rows: Observations, clock: ClockTrust, settled_ns: int | None) -> Finding:
    sent, done = rows.sent_ns, rows.done_ns
    answered = np.maximum.accumulate(done)[:-1]  # every earlier request, by the time each next one is sent
    announced = (rows.outcome == REFUSED) & (rows.retry_after_ns != NO_RETRY_AFTER)
    latest = np.maximum.accumulate(np.where(announced, np.arange(len(rows)), -1))[:-1]
    told = np.where(latest >= 0, rows.retry_after_ns[latest], 0)
    idle = sent[1:] - answered
    alone = np.concatenate([[True], answered[:-1] < sent[1:-1]]) & announced[:-1]
    alone &= idle >= _by_our_clock(told, clock)
    if settled_ns is not None:
        of_crowd = (latest >= 0) & (done[latest] >= answered - settled_ns - _CROWD_NS)
        alone |= of_crowd & (idle >= _by_our_clock(np.maximum(told, settled_ns), clock))
    quiet_after = np.concatenate([done[1:-1] < sent[2:], [True]])
    judged = alone & quiet_after & (rows.outcome[1:] >= REFUSED)
    lies = np.flatnonzero(judged & (rows.outcome[1:] == REFUSED))
    accusations = tuple(
        Accusation(
            "retry-after",
            name,
            int(sent[row]),
            int(done[row + 1]),
            1,
            f"told to wait {seconds(int(told[row]))}, refused again after {seconds(int(idle[row]))}",
        )
        for row in lies[:SHOWN]
    )
    examined = int(np.count_nonzero(judged))
    return Finding("retry-after", examined, len(lies), 0.0 if examined else None, accusations)


def _by_our_clock(wait: IntArray, clock: ClockTrust) -> IntArray:
    """Return how long to wait so that the limiter's clock has surely seen the whole wait."""
    return wait + clock.grain_ns + -(-wait * clock.drift_ppm // _PPM)


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

    def surely_until(self, clock: ClockTrust) -> int:
        """Return the instant before which the limiter's clock cannot have seen the block end."""
        length = max(0, self.until_ns - self.from_ns)
        return self.until_ns - clock.grain_ns - -(-length * clock.drift_ppm // _PPM)


def penalties(seen: Observations, promise: Promise, clock: ClockTrust | None = None) -> tuple[Block, ...]:
    """Find the penalties that refusals announced: waits longer than the promise itself can ever owe.

    A refusal that says so again, before the block it repeats can have ended, prolongs it rather than
    announcing another one.

    >>> from sentinel.observations import Observation
    >>> from sentinel.promise import Bucket
    >>> rows = [Observation(at, at + 5_000, False, 60.0) for at in (0, 1_000_000)]
    >>> penalties(Observations.of(["ann"] * 2, rows), Bucket(5, 1_000_000, burst=5))
    (Block(key='ann', from_ns=5000, until_ns=59001000000),)
    """
    trust, owed = clock or ClockTrust(), settled_ns(promise)
    found: list[Block] = []
    for name, rows in seen.by_key():
        told = rows.where((rows.outcome == REFUSED) & (rows.retry_after_ns - _SECOND > owed))
        columns = (told.done_ns, told.sent_ns, told.retry_after_ns)
        blocks: list[Block] = []
        for done, sent, wait in sorted(zip(*(column.tolist() for column in columns), strict=True)):
            block = Block.announced(name, sent, done, wait / _SECOND)
            if block.from_ns >= block.surely_until(trust):
                continue
            if blocks and block.from_ns <= blocks[-1].surely_until(trust):
                blocks[-1] = replace(blocks[-1], until_ns=max(blocks[-1].until_ns, block.until_ns))
            else:
                blocks.append(block)
        found += blocks
    return tuple(found)


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
        inside = (rows.sent_ns > block.from_ns) & (rows.done_ns < block.surely_until(trust))
        passed = np.flatnonzero(inside & (rows.outcome == ADMITTED))
        accusations = tuple(
            Accusation(
                "lost-penalty",
                block.key,
                int(rows.sent_ns[row]),
                int(rows.done_ns[row]),
                1,
                f"admitted {seconds(int(rows.done_ns[row]) - block.from_ns)} after it was told to wait, "
                f"{seconds(block.until_ns - int(rows.done_ns[row]))} before its block could end",
            )
            for row in passed[:SHOWN]
        )
        examined = int(np.count_nonzero(inside & (rows.outcome >= REFUSED)))
        parts.append(Finding("lost-penalty", examined, len(passed), 0.0 if examined else None, accusations))
    return merge("lost-penalty", parts)
