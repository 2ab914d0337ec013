"""Where made-up values come from: the generators of ids, words and payloads, fed by a session's draws."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

from sentinel.draws import Draws
from sentinel.errors import ConfigurationError, check_whole
from sentinel.run import Json, JsonObject

_WORDS = (
    "amber ash bark birch branch brook cedar clay creek dew dusk elm ember fern field fir fog frost "
    "glade grove hazel heath hill iris ivy lake larch leaf lichen maple marsh meadow mist moss oak "
    "path pebble pine pond rain reed ridge river root rowan sage sedge seed shade shore sky slope snow "
    "spring spruce stone storm stream thorn tide valley vine willow wind wood yew"
)
WORDS = tuple(_WORDS.split())
FEW_VALUES = 4096  # worth writing down before the run


class Source(ABC):
    """Make up one value for a session."""

    __slots__ = ()

    @abstractmethod
    def draw(self, draws: Draws) -> str:
        """Make up a value."""

    def values(self) -> Sequence[str]:
        """Give every value it can draw, if they are few, equally likely, and take one draw of 32 bits."""
        return ()

    def describe(self) -> JsonObject:
        """Describe it for the snapshot of a run."""
        fields = cast("dict[str, Json]", asdict(self))  # type: ignore[call-overload]  # all are dataclasses
        name = next(name for name, kind in SOURCES.items() if kind is type(self))
        return {"kind": name, **{key: list(v) if isinstance(v, tuple) else v for key, v in fields.items()}}


@dataclass(frozen=True, slots=True)
class Number(Source):
    """Draw a whole number from low to high, both included."""

    low: int = 1
    high: int = 1000

    def __post_init__(self) -> None:
        check_whole("low", self.low, 0, 2**31)
        check_whole("high", self.high, self.low, 2**31)

    def draw(self, draws: Draws) -> str:
        """Draw a number."""
        return str(self.low + draws.below(self.high - self.low + 1))

    def values(self) -> Sequence[str]:
        """Give the numbers in their order."""
        few = self.high - self.low < FEW_VALUES
        return [str(number) for number in range(self.low, self.high + 1)] if few else ()


@dataclass(frozen=True, slots=True)
class Choice(Source):
    """Pick one of the given texts."""

    of: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.of:
            raise ConfigurationError("a choice has nothing to choose from; give at least one text")

    def draw(self, draws: Draws) -> str:
        """Pick one."""
        return self.of[draws.below(len(self.of))]

    def values(self) -> Sequence[str]:
        """Give the texts in their order."""
        return self.of


@dataclass(frozen=True, slots=True)
class Text(Source):
    """Write this many plain words (1 to 10,000), safe inside JSON and URLs when the blanks are."""

    words: int = 8

    def __post_init__(self) -> None:
        check_whole("words", self.words, 1, 10_000)

    def draw(self, draws: Draws) -> str:
        """Write the words."""
        return " ".join(WORDS[draws.below(len(WORDS))] for _ in range(self.words))


@dataclass(frozen=True, slots=True)
class Hex(Source):
    """Write this many hexadecimal digits (1 to 10,000,000): ids, nonces, payloads of a given size."""

    digits: int = 16

    def __post_init__(self) -> None:
        check_whole("digits", self.digits, 1, 10_000_000)

    def draw(self, draws: Draws) -> str:
        """Write the digits; a long text repeats 4,096 random ones, which no limiter minds."""
        block = "".join(f"{draws.bits():016x}" for _ in range(min(-(-self.digits // 16), 256)))
        return (block * -(-self.digits // len(block)))[: self.digits]


SOURCES: dict[str, type[Source]] = {"number": Number, "choice": Choice, "text": Text, "hex": Hex}
