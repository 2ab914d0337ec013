"""Instants of decision that a limiter under test reports and signs: believed only when they can be true.

The field is `Threshold-Decided: BEGIN;END;SIGNATURE`, nanoseconds of CLOCK_MONOTONIC. That clock is one for
all processes of one boot of one machine, so the signature covers the boot's id; and a decision cannot have
been made before its request was sent or after it was answered. The code shares nothing with the limiter's.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from pathlib import Path

from sentinel.drivers.driver import Response
from sentinel.errors import ConfigurationError
from sentinel.observations import Observation

FIELD = "threshold-decided"
SHORTEST_SECRET = 16
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Name this boot of this machine; raise ConfigurationError where the system does not tell."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError as error:
        raise ConfigurationError(
            f"witness secret: the clocks of two processes are only known to be one on Linux ({error}); "
            "audit without it"
        ) from None


class Witness:
    """Narrow an observation down to the signed instants in its answer.

    `narrowed` counts the answers that had them, `untold` those that had none, `refused` those that cannot be
    believed: a signature by another secret or from another machine, or instants outside the request's own.
    `widest_ns` is the longest stretch that was left. Raises ConfigurationError for a secret shorter than 16
    characters.

    >>> witness = Witness("for this test only", boot="b")
    >>> field = (FIELD.encode(), witness.sign(100, 140).encode())
    >>> seen = Observation(90, 900, True)
    >>> closer = witness.narrow(seen, Response(200, [field], b"", 900))
    >>> closer.sent_ns, closer.done_ns, closer.left_ns
    (100, 140, 90)
    >>> witness.narrow(Observation(120, 900, True), Response(200, [field], b"", 900)).sent_ns, witness.refused
    (120, 1)
    """

    def __init__(self, secret: str, *, boot: str | None = None) -> None:
        if len(secret) < SHORTEST_SECRET:
            raise ConfigurationError(
                f"witness secret has {len(secret)} characters; it must have at least {SHORTEST_SECRET}"
            )
        self.narrowed = 0
        self.untold = 0
        self.refused = 0
        self.widest_ns = 0
        self._key = secret.encode()
        self._boot = boot_id() if boot is None else boot

    def sign(self, begin_ns: int, end_ns: int) -> str:
        """Write the field as a limiter that knows the secret writes it."""
        signed = hmac.digest(self._key, f"{begin_ns};{end_ns};{self._boot}".encode(), "sha256").hex()
        return f"{begin_ns};{end_ns};{signed}"

    def narrow(self, seen: Observation, answer: Response) -> Observation:
        """Return what was seen with the decision's own instants, or as it was if it has none to believe."""
        told = answer.header(FIELD)
        if told is None:
            self.untold += 1
            return seen
        instants = self._instants(told)
        if instants is None or not seen.sent_ns <= instants[0] <= instants[1] <= seen.done_ns:
            self.refused += 1
            return seen
        self.narrowed += 1
        self.widest_ns = max(self.widest_ns, instants[1] - instants[0])
        return seen._replace(sent_ns=instants[0], done_ns=instants[1], left_ns=seen.sent_ns)

    def _instants(self, told: str) -> tuple[int, int] | None:
        first, _, rest = told.partition(";")
        second, _, _ = rest.partition(";")
        if not all(part.isascii() and part.isdigit() and len(part) < 20 for part in (first, second)):
            return None
        begin, end = int(first), int(second)
        return (begin, end) if hmac.compare_digest(self.sign(begin, end).encode(), told.encode()) else None

    def check(self) -> None:
        """Raise ConfigurationError when anything was not to be believed, or nothing was told at all."""
        if self.refused:
            raise ConfigurationError(
                f"not to be believed in {self.refused} of the answers: their {FIELD} field is not signed by "
                "this witness secret on this boot of this machine, or lies outside its request; share the "
                "secret and run both here"
            )
        if not self.narrowed:
            raise ConfigurationError(
                f"no answer carries a {FIELD} field; wrap the app and its store with "
                "threshold.testing.Witness, or audit without the witness secret"
            )

    @property
    def words(self) -> str:
        """Say how much was narrowed down."""
        total = self.narrowed + self.untold
        return (
            f"instants: the limiter told and signed when it decided {self.narrowed} of {total} requests, "
            f"each to within {self.widest_ns / 1e3:.0f} µs"
        )


Narrow = Callable[[Observation, Response], Observation]
