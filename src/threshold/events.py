"""Events: what hooks and logs are told, once per transition. Frozen dataclasses; never a raw identity.

A caller appears as a keyed hash, so that two events of one caller can be matched and nobody can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from os import urandom
from typing import TYPE_CHECKING

from .errors import ConfigurationError
from .plan import Outcome, Plan
from .token_bucket import NEVER
from .verdict import Verdict

if TYPE_CHECKING:
    from logging import Logger

_INFO = 20
_WARNING = 30
_MOST_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Event:
    """Something a policy did, or that happened to it."""

    policy: str
    """Name of the policy."""


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """A request was refused by limits: the first until those limits would admit again.

    For a limit that never admits, the first in each of its windows. A refusal that the ladder forgave is no
    such event: the request was let through.
    """

    caller: str
    """Keyed hash of whoever was counted, or the identity itself where `reveal` asks for it."""
    layers: tuple[str, ...]
    violated: tuple[str, ...]
    """Names of the limits that refused."""
    retry_after: float | None
    """Seconds; None for never."""
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Struck(Event):
    """A refusal began a new episode and cost the caller a strike."""

    caller: str
    strike: int
    """Number of this strike, 1 and up."""
    forgiven: bool
    """The request was let through with a warning."""
    cooldown: float
    """Seconds of cooldown this strike brought; 0.0 for none."""
    shadow_banned: bool
    """The caller's admitted requests are delayed from now on."""
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Banned(Event):
    """A strike brought a ban."""

    caller: str
    strike: int
    duration: float
    """Seconds."""
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Unbanned(Event):
    """An operator lifted a caller's penalties and forgot the strikes."""

    caller: str


@dataclass(frozen=True, slots=True)
class Overflowed(Event):
    """The store was full of live state: newcomers share one state per limit. Told at 1, 2, 4, 8, ..."""

    decisions: int
    """Decisions so far that used shared state."""


@dataclass(frozen=True, slots=True)
class StoreFailed(Event):
    """The store stopped answering; each layer does what its `on_store_error` says."""

    error: str


@dataclass(frozen=True, slots=True)
class StoreRecovered(Event):
    """The store answers again."""


Hook = Callable[[Event], None]

_LEVELS: dict[type[Event], int] = {
    Refused: _INFO,
    Struck: _INFO,
    Unbanned: _INFO,
    StoreRecovered: _INFO,
}


@lru_cache(maxsize=1)
def _logger() -> Logger:
    """The log of this package, silent until somebody sets logging up. Late: it takes 4 ms to import."""
    import logging

    logger = logging.getLogger("threshold.events")
    logger.addHandler(logging.NullHandler())
    return logger


class Announcer:
    """Turn outcomes into events, and tell hooks and the log.

    A hook that raises is logged and does not touch the request.

    Args:
        policy: name of the policy.
        dry_run: whether its verdicts are only rehearsed.
        hooks: called with each event, in the thread or task of the request.
        reveal: put callers' identities into events instead of their hashes.
    """

    def __init__(
        self, policy: str, dry_run: bool, hooks: Iterable[Hook] = (), *, reveal: bool = False
    ) -> None:
        self._policy = policy
        self._dry_run = dry_run
        self._hooks = _checked(hooks)
        self._reveal = reveal
        self._log = _logger()
        self._secret = urandom(16)
        self._quiet_until: dict[str, int] = {}
        self.store_is_away = False
        """Whether the store's last answer was a failure."""
        self._overflowed = 0

    def named(self, key: str) -> str:
        """The name under which a key's caller appears in events.

        A hash, stable in this process and meaningless elsewhere; or what the key counts, such as
        "u:ada", "u2:t1:ada" for a user of the tenant t1, "a:203.0.113.9".
        """
        identity = key[key.index("\0") + 1 :]
        if self._reveal:
            return identity
        from hashlib import blake2b  # 2 ms of OpenSSL

        return blake2b(identity.encode("utf-8", "surrogatepass"), key=self._secret, digest_size=8).hexdigest()

    def outcome(self, plan: Plan, outcome: Outcome, verdict: Verdict) -> None:
        """Announce what an outcome changed. Called for refusals, strikes and overflows only."""
        if outcome.overflowed:
            self._overflow()
        if outcome.strike:
            self._strike(plan, outcome)
        if outcome.allowed or not outcome.found:
            return
        quiet = self._quiet_until
        at = outcome.at
        first = 0
        while not outcome.found[first][0]:
            first += 1
        key = plan.keys[first]
        if not outcome.strike and quiet.get(key, at) > at:
            return
        if len(quiet) >= _MOST_REMEMBERED:
            quiet.clear()
        refused = [
            rule.limit.window_us if answer[0] == NEVER else answer[0]
            for rule, answer in zip(plan.rules, outcome.found, strict=True)
            if answer[0]
        ]
        quiet[key] = at + max(1_000_000, *refused)
        if outcome.strike and plan.abuse is not None:
            key = plan.abuse
        shown = verdict.rehearsed or verdict
        self.tell(
            Refused(
                self._policy,
                self.named(key),
                shown.layers,
                shown.violated,
                None if shown.retry_after_us is None else shown.retry_after,
                self._dry_run,
            )
        )

    def unbanned(self, key: str) -> None:
        """Announce that an operator lifted a caller's penalties."""
        self.tell(Unbanned(self._policy, self.named(key)))

    def store_failed(self, error: BaseException) -> None:
        """Announce the first failure after the store last answered."""
        if not self.store_is_away:
            self.store_is_away = True
            self.tell(StoreFailed(self._policy, str(error) or type(error).__name__))

    def store_answered(self) -> None:
        """Announce that a store that was away answers again."""
        if self.store_is_away:
            self.store_is_away = False
            self.tell(StoreRecovered(self._policy))

    def tell(self, event: Event) -> None:
        """Hand one event to every hook and to the log."""
        level = _LEVELS.get(type(event), _WARNING)
        if self._log.isEnabledFor(level):
            name = type(event).__name__
            details = asdict(event)
            extra = {"threshold_event": name, "threshold": details}
            self._log.log(level, "%s %s", name, details, extra=extra)
        for hook in self._hooks:
            try:
                hook(event)
            except Exception:
                self._log.exception("hook %r failed on %s", hook, type(event).__name__)

    def _strike(self, plan: Plan, outcome: Outcome) -> None:
        assert plan.abuse is not None and plan.ladder is not None
        caller = self.named(plan.abuse)
        rung = plan.ladder.rung(outcome.strike)
        if outcome.banned:
            seconds = outcome.blocked_us / 1_000_000
            self.tell(Banned(self._policy, caller, outcome.strike, seconds, self._dry_run))
            return
        self.tell(
            Struck(
                self._policy,
                caller,
                outcome.strike,
                outcome.allowed,
                outcome.blocked_us / 1_000_000,
                rung.shadow_us > 0,
                self._dry_run,
            )
        )

    def _overflow(self) -> None:
        self._overflowed += 1
        if self._overflowed & (self._overflowed - 1) == 0:
            self.tell(Overflowed(self._policy, self._overflowed))


def _checked(hooks: Iterable[Hook]) -> tuple[Hook, ...]:
    listed = tuple(hooks) if isinstance(hooks, Iterable) else (hooks,)
    if not isinstance(hooks, Iterable) or not all(callable(hook) for hook in listed):
        raise ConfigurationError("hooks", hooks, "give a list of functions that take an event")
    return listed
