"""Escalation: strikes in, penalty out. A pure function of (abuse state, now, ladder).

A caller who keeps running into a limit climbs the ladder one rung per episode, and is forgotten `decay`
after the last strike. Knows nothing of limits, keys, stores or HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from .errors import ConfigurationError
from .rate import DAY, SECOND

Seconds = float | timedelta

MAX_PENALTY_US = 366 * DAY
MAX_DELAY_US = 5 * SECOND


class AbuseState(NamedTuple):
    """What is remembered of a caller who has struck. All instants in the store's microseconds."""

    strikes: int
    struck_at: int
    """Instant of the last strike."""
    blocked_until: int
    """Refused outright before this instant."""
    banned: int
    """1 when the block is a ban, 0 when it is a cooldown."""
    shadow_until: int
    """Admitted requests are delayed before this instant."""
    episode_until: int
    """Refusals before this instant belong to the last strike."""


@dataclass(frozen=True, slots=True)
class Rung:
    """Say what one strike brings. Durations in seconds or as timedelta, up to 366 days.

    Args:
        forgive: let the striking request through, with a warning.
        cooldown: refuse everything for this long.
        shadow: delay admitted requests for this long.
        ban: refuse everything for this long, and say that it is a ban.

    >>> Rung(cooldown=60).cooldown_us
    60000000
    """

    forgive: bool = False
    cooldown: Seconds = 0
    shadow: Seconds = 0
    ban: Seconds = 0
    cooldown_us: int = field(init=False, repr=False, compare=False)
    shadow_us: int = field(init=False, repr=False, compare=False)
    ban_us: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.forgive, bool):
            raise ConfigurationError("forgive", self.forgive, "give True or False")
        for name in ("cooldown", "shadow", "ban"):
            object.__setattr__(self, f"{name}_us", _micros(name, getattr(self, name), MAX_PENALTY_US))
        if self.cooldown_us and self.ban_us:
            raise ConfigurationError("ban", self.ban, "a rung bans or cools down, not both: drop one")
        if self.forgive and self.block_us:
            raise ConfigurationError("forgive", True, "a rung that forgives cannot also block: drop one")

    @property
    def block_us(self) -> int:
        """Microseconds during which everything is refused."""
        return self.ban_us or self.cooldown_us


@dataclass(frozen=True, slots=True)
class Ladder:
    """Say what each strike brings, and when all is forgotten.

    Args:
        rungs: one `Rung` per strike; the last one holds for every further strike. 1 to 100 of them.
        decay: seconds (or timedelta) after the last strike at which all strikes are forgotten.
        delay: shortest and longest delay of a shadow-banned request, in seconds, up to 5.

    >>> ladder = Ladder([Rung(forgive=True), Rung(ban=3600)], decay=86_400)
    >>> ladder.rung(7).ban
    3600
    """

    rungs: Sequence[Rung]
    decay: Seconds = 86_400
    delay: tuple[float, float] = (1.0, 3.0)
    decay_us: int = field(init=False, repr=False, compare=False)
    delay_us: tuple[int, int] = field(init=False, repr=False, compare=False)
    longest_us: int = field(init=False, repr=False, compare=False)
    """The longest block any rung imposes."""

    def __post_init__(self) -> None:
        rungs = tuple(self.rungs) if isinstance(self.rungs, Iterable) else ()
        if not 1 <= len(rungs) <= 100 or not all(isinstance(rung, Rung) for rung in rungs):
            raise ConfigurationError("rungs", self.rungs, "give 1 to 100 Rung objects, one per strike")
        object.__setattr__(self, "rungs", rungs)
        object.__setattr__(self, "decay_us", _micros("decay", self.decay, MAX_PENALTY_US))
        if self.decay_us < SECOND:
            raise ConfigurationError("decay", self.decay, "give at least one second")
        remedy = "give (shortest, longest) in seconds, 0 to 5"
        if not isinstance(self.delay, (tuple, list)) or len(self.delay) != 2:
            raise ConfigurationError("delay", self.delay, remedy)
        low, high = (_micros("delay", value, MAX_DELAY_US) for value in self.delay)
        if low > high:
            raise ConfigurationError("delay", self.delay, remedy)
        object.__setattr__(self, "delay", tuple(self.delay))
        object.__setattr__(self, "delay_us", (low, high))
        object.__setattr__(self, "longest_us", max(rung.block_us for rung in rungs))

    @classmethod
    def default(cls) -> Ladder:
        """The shipped ladder: two warnings, 1 minute, 5 minutes and a shadow ban, then 24 hours.

        >>> [rung.block_us // 1_000_000 for rung in Ladder.default().rungs]
        [0, 0, 60, 300, 86400]
        """
        return cls(
            rungs=(
                Rung(forgive=True),
                Rung(forgive=True),
                Rung(cooldown=60),
                Rung(cooldown=300, shadow=86_400),
                Rung(ban=86_400),
            ),
            decay=86_400,
            delay=(1.0, 3.0),
        )

    def rung(self, strikes: int) -> Rung:
        """The rung that strike number `strikes` (1 and up) stands on."""
        return self.rungs[min(strikes, len(self.rungs)) - 1]

    def strike(self, state: AbuseState | None, now: int, episode_us: int) -> AbuseState:
        """Record one strike at `now` and apply the penalty of its rung."""
        remembered = state is not None and now - state.struck_at < self.decay_us
        strikes = state.strikes + 1 if state is not None and remembered else 1
        rung = self.rung(strikes)
        shadow_until = now + rung.shadow_us if rung.shadow_us else 0
        if state is not None and state.shadow_until > now:
            shadow_until = max(shadow_until, state.shadow_until)
        return AbuseState(
            strikes=strikes,
            struck_at=now,
            blocked_until=now + rung.block_us if rung.block_us else 0,
            banned=1 if rung.ban_us else 0,
            shadow_until=shadow_until,
            episode_until=now + episode_us,
        )

    def clamp(self, state: AbuseState, now: int) -> AbuseState:
        """Shorten a block that reaches further than any rung could reach from now: the clock stepped back.

        Only for a state whose block exceeds `longest_us`; strikes and shadow ban stay as they are.
        """
        return state._replace(blocked_until=now + self.longest_us)

    def rests_at(self, state: AbuseState) -> int:
        """The first microsecond at which forgetting the state changes nothing any more."""
        return max(
            state.struck_at + self.decay_us, state.blocked_until, state.shadow_until, state.episode_until
        )


def _micros(name: str, value: Seconds, most: int) -> int:
    remedy = f"give seconds or a timedelta, 0 to {most // SECOND:,} s"
    if isinstance(value, timedelta):
        micros = value // timedelta(microseconds=1)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and value == value:
        micros = round(value * SECOND) if abs(value) <= most else most + 1
    else:
        raise ConfigurationError(name, value, remedy)
    if not 0 <= micros <= most:
        raise ConfigurationError(name, value, remedy)
    return micros
