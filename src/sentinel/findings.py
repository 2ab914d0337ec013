"""What a proof hands back: what it examined, what it proved, how small a fault it would have seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Proof = Literal["over-admission", "wrong-refusal", "retry-after", "lost-penalty"]

SHOWN = 10  # accusations kept per finding, worst first; the counts cover all of them


@dataclass(frozen=True, slots=True)
class Accusation:
    """Name one proven fault: the key, the interval of the evidence in nanoseconds, what it contradicts."""

    proof: Proof
    key: str
    start_ns: int
    end_ns: int
    weight: int
    statement: str


@dataclass(frozen=True, slots=True)
class Finding:
    """State the outcome of one proof over a set of observations.

    `examined` counts the requests that could have been accused, `proven` the faults that no correct limiter
    explains. `blind` is the greatest fault that could have stayed hidden, in requests: an excess (or a
    shortage) above it would have been proven. It is None where nothing was examined, and then the finding
    means nothing.

    >>> Finding("over-admission", examined=400, proven=0, blind=3.0, accusations=()).held
    True
    """

    proof: Proof
    examined: int
    proven: int
    blind: float | None
    accusations: tuple[Accusation, ...]

    @property
    def held(self) -> bool:
        """Tell whether nothing was proven against the limiter."""
        return self.proven == 0


def merge(proof: Proof, parts: list[Finding]) -> Finding:
    """Combine the findings of several keys: counts add up, the sharpest evidence stands for the whole."""
    blind = [part.blind for part in parts if part.blind is not None]
    accusations = sorted(
        (a for part in parts for a in part.accusations), key=lambda a: (-a.weight, a.start_ns, a.key)
    )
    return Finding(
        proof,
        sum(part.examined for part in parts),
        sum(part.proven for part in parts),
        min(blind, default=None),
        tuple(accusations[:SHOWN]),
    )


def seconds(nanoseconds: int) -> str:
    """Write a duration for a reader, to the microsecond.

    >>> seconds(1_500_000_000), seconds(7_900)
    ('1.5 s', '0.000008 s')
    """
    if nanoseconds < 1_000:
        return f"{nanoseconds} ns"
    return f"{nanoseconds / 1e9:.6f}".rstrip("0").rstrip(".") + " s"
