"""One audit or one overhead experiment, as it is kept: how it was made, on what machine, what it came to.

Plain values only; the result is the document its report is written from. Storing and showing live elsewhere.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlsplit

from sentinel.exit_codes import ExitCode
from sentinel.machine import fingerprint
from sentinel.run import Json, JsonObject, Status, plan_hash
from sentinel.template import placeholders

Kind = Literal["audit", "overhead"]
GOING_ON = "still going on; it has come to nothing yet"


@dataclass(frozen=True, slots=True)
class Experiment:
    """Hold one audit or overhead experiment.

    id: unique, beginning with its kind. target: what it was about, without passwords. config: snapshot of
    every setting, JSON-able. host: fingerprint of the machine. started_at: UTC, ISO 8601. status: "partial"
    until it has ended by itself, and for good when it was stopped or killed. seconds: how long it took.
    requests: how many were sent. exit_code, sentence, result: the verdict and what it rests on, if there is
    one.
    """

    id: str
    kind: Kind
    target: str
    config: JsonObject
    host: dict[str, str | int]
    started_at: str
    status: Status = "partial"
    seconds: float = 0.0
    requests: int = 0
    exit_code: ExitCode | None = None
    sentence: str = "stopped before it came to anything; it proves nothing"
    result: JsonObject = field(default_factory=dict)

    @classmethod
    def begin(cls, kind: Kind, target: str, settings: JsonObject) -> Experiment:
        """Start one now, on this machine.

        >>> begun = Experiment.begin("audit", "redis://:secret@127.0.0.1/0", {"seed": 0})
        >>> begun.target, begun.status, begun.id.startswith("audit-"), begun.config["seed"]
        ('redis://***@127.0.0.1/0', 'partial', True, 0)
        """
        now, shown = datetime.now(UTC), without_password(target)
        name = f"{kind}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        # Read back from its own text, so that it is the same to the letter before and after it was kept.
        config = json.loads(json.dumps({"kind": kind, "target": shown, **settings}, sort_keys=True))
        return cls(name, kind, shown, config, fingerprint(), now.isoformat())

    @property
    def config_hash(self) -> str:
        """Return the SHA-256 of the settings: the same for the same experiment made again."""
        return plan_hash(self.config)

    def concluded(
        self,
        result: JsonObject,
        exit_code: ExitCode,
        sentence: str,
        *,
        requests: int,
        stopped: bool = False,
    ) -> Experiment:
        """Return it with what it came to, ended now, by itself or because somebody stopped it."""
        took = (datetime.now(UTC) - datetime.fromisoformat(self.started_at)).total_seconds()
        return replace(
            self,
            status="partial" if stopped else "complete",
            seconds=round(max(took, 0.0), 3),
            requests=requests,
            exit_code=exit_code,
            sentence=sentence,
            result=result,
        )


def without_password(target: str) -> str:
    """Give a target as it may be shown and kept: whoever logs in there stays unnamed.

    >>> without_password("rediss://ann:pw@cache:6380/0"), without_password("myapp:app")
    ('rediss://***@cache:6380/0', 'myapp:app')
    """
    network = urlsplit(target).netloc if "://" in target else ""
    user, at, host = network.rpartition("@")
    return target.replace(network, f"***@{host}", 1) if at and user else target


def headers_kept(headers: Iterable[tuple[str, str]]) -> list[Json]:
    """Give header lines as they are kept: a value without a placeholder may be a secret, and stays out.

    >>> headers_kept([("Authorization", "Bearer abc"), ("X-Forwarded-For", "{address}")])
    ['Authorization: ***', 'X-Forwarded-For: {address}']
    """
    return [f"{name}: {value if placeholders(value) else '***'}" for name, value in headers]
