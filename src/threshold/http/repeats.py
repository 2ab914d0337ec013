"""Repeats: the answer to a refused caller, kept while it would come out the same again.

Attack traffic should cost less than what it attacks. A refused caller who asks again gets, until a figure in
the answer changes, the same bytes; nothing is decided, because the decision is certain: no limit that refused
can admit yet, and no new episode can begin. What can differ, for up to a second: another limit that starts
to refuse meanwhile is not named yet, "now" as a limit of 0 says it is a second old, and the answer to the
strike that opened a cooldown or ban still names the limit that was exceeded.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from ..headers import Field
from ..plan import Asked
from ..rate import SECOND
from ..verdict import Verdict

_MOST = 1024
_LONGEST_ACCEPT = 256


@runtime_checkable
class Timed(Protocol):
    """A store in this process that can tell its time, and whether anything was taken back."""

    generation: int

    def now(self) -> int: ...


class _Kept(NamedTuple):
    since: int
    until: int
    generation: int
    status: int
    headers: list[Field]
    body: bytes


Key = tuple[int, tuple[str, ...], int, str | None]
Answer = tuple[int, list[Field], bytes]
"""Status, header fields and body of a response. Not to be changed: it may be sent again."""


class Repeats:
    """Keep the messages that answered refused callers; bounded, and forgetful when full.

    Args:
        store: the store that decides; its clock and its generation say how long an answer holds.
    """

    __slots__ = ("_episodes", "kept", "store")

    def __init__(self, store: Timed) -> None:
        self.store = store
        self.kept: dict[Key, _Kept] = {}
        """Answers by rules, names, cost and Accept field; nothing to find while it is empty."""
        self._episodes: dict[str, int] = {}

    def find(self, asked: Asked, accept: str | None) -> Answer | None:
        """The answer to this request, if it is known for certain."""
        key = _key(asked, accept)
        kept = self.kept.get(key)
        if kept is None:
            return None
        if kept.since <= self.store.now() < kept.until and kept.generation == self.store.generation:
            return kept.status, kept.headers, kept.body
        self.kept.pop(key, None)
        return None

    def keep(
        self, asked: Asked, accept: str | None, verdict: Verdict, generation: int, answer: Answer
    ) -> None:
        """Remember how a refusal was answered; `generation` is the store's from before it decided."""
        if accept is not None and len(accept) > _LONGEST_ACCEPT:
            return
        lasts = self._lasts(asked, verdict)
        if lasts > 0:
            if len(self.kept) >= _MOST:
                self.kept.clear()
            at = verdict.outcome.at
            self.kept[_key(asked, accept)] = _Kept(at, at + lasts, generation, *answer)

    def struck(self, asked: Asked, verdict: Verdict) -> None:
        """Remember how long the episode lasts that a strike has just opened."""
        outcome = verdict.outcome
        rules, names, _, abuse_scope, _, _ = asked
        if abuse_scope is not None:
            if len(self._episodes) >= _MOST:
                self._episodes.clear()
            lengths = [
                rule.limit.episode_us(answer[0])
                for rule, answer in zip(rules, outcome.found, strict=True)
                if answer[0] > 0 and rule.strikes
            ]
            self._episodes[names[-1]] = outcome.at + max(lengths)

    def _lasts(self, asked: Asked, verdict: Verdict) -> int:
        """Microseconds for which the same request is refused in the same words; 0 when that is not sure."""
        outcome = verdict.outcome
        _, names, _, abuse_scope, _, _ = asked
        lasts = SECOND
        if outcome.found and abuse_scope is not None:
            # Once the episode is over, the next refusal is a strike and must be decided.
            lasts = min(lasts, self._episodes.get(names[-1], 0) - outcome.at)
            if lasts <= 0:
                return 0
        # A figure in whole seconds, rounded up, holds until its instant is one second nearer.
        retry = verdict.retry_after_us
        if retry:
            lasts = min(lasts, (retry - 1) % SECOND + 1)
        for answer in outcome.found:
            if answer[0]:
                if answer[1]:  # something is left, though too little for this cost: that figure may grow
                    return 0
                lasts = min(lasts, (answer[2] - 1) % SECOND + 1)
                if answer[0] > 0:
                    lasts = min(lasts, answer[0])
        return lasts


def _key(asked: Asked, accept: str | None) -> Key:
    """What tells one answer from another; a policy has each of its `Rules` once, for as long as it lives."""
    rules, names, cost, _, _, _ = asked
    return id(rules), tuple(names), cost, accept
