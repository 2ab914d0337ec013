"""What one virtual user does in one session: steps, and what each expects, extracts, repeats and undoes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal

from sentinel.errors import ConfigurationError, check_range, check_whole
from sentinel.run import JsonObject

Mode = Literal["then", "parallel", "background"]
Refusals = Literal["allowed", "forbidden", "required"]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HALVES = re.compile(r"[\ud800-\udfff]")  # halves of characters, which UTF-8 cannot write


def check_headers(owner: str, headers: tuple[tuple[str, str], ...]) -> None:
    """Refuse headers that no HTTP request may have: a name that is no word, a value of several lines."""
    for name, value in headers:
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or re.search(
            r"[\0\r\n\ud800-\udfff]", value
        ):
            raise ConfigurationError(
                f"{owner}: header {name!r}: {value!r} cannot be sent; a name is one word, a value one line"
            )


@dataclass(frozen=True, slots=True)
class Expect:
    """Say what a good answer looks like.

    status: the statuses that are right; none given means any 2xx. contains: a text the body must hold.
    refusals: what a 429 is: "allowed" (counted as denied, no error), "forbidden" (an error) or "required"
    (anything
        else is an error: a positive control). p95_ms: bound on the step's 95th percentile, milliseconds.

    >>> Expect(status=(200,)).judge(404, b"")
    'status 404, expected 200'
    """

    status: tuple[int, ...] = ()
    contains: str | None = None
    refusals: Refusals = "allowed"
    p95_ms: float | None = None

    def __post_init__(self) -> None:
        for status in self.status:
            check_whole("expect.status", status, 100, 599)
        if self.refusals not in ("allowed", "forbidden", "required"):
            raise ConfigurationError(
                f"expect.refusals is {self.refusals!r}; it must be allowed, forbidden or required"
            )
        if self.p95_ms is not None:
            check_range("expect.p95_ms", self.p95_ms, 0.001, 3_600_000, "ms")

    def judge(self, status: int, body: bytes) -> str:
        """Say what is wrong with an answer that is no called-for refusal; an empty text when nothing is."""
        if self.refusals == "required":
            return f"status {status}, expected a refusal (429)"
        if status not in self.status if self.status else not 200 <= status < 300:
            wanted = " or ".join(map(str, self.status)) or "2xx"
            return f"status {status}, expected {wanted}"
        if self.contains is not None and self.contains.encode() not in body:
            return f"the body does not contain {self.contains!r}"
        return ""


@dataclass(frozen=True, slots=True)
class Extract:
    """Take a value out of an answer, for later steps to use as {name}.

    Give exactly one of: json, a path of keys and indexes ("data.0.id"); header, its name; pattern, a regular
    expression with one group, searched in the body. An answer without it is an error unless `required` is
    false.
    """

    name: str
    json: str | None = None
    header: str | None = None
    pattern: str | None = None
    required: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", self.name):
            raise ConfigurationError(f"extract.name is {self.name!r}; use small letters, digits and _")
        if sum(part is not None for part in (self.json, self.header, self.pattern)) != 1:
            raise ConfigurationError(f"extract {self.name!r} needs exactly one of json, header and pattern")
        if self.pattern is not None:
            try:
                groups = re.compile(self.pattern).groups
            except re.error as error:
                raise ConfigurationError(f"extract {self.name!r}: the pattern is broken: {error}") from None
            if groups != 1:
                raise ConfigurationError(f"extract {self.name!r}: the pattern has {groups} groups, not one")


@dataclass(frozen=True, slots=True)
class Repeat:
    """Do a step `times` times (1 to 10,000), every `every_s` seconds give or take `variance_s`."""

    times: int
    every_s: float = 0.0
    variance_s: float = 0.0

    def __post_init__(self) -> None:
        check_whole("repeat.times", self.times, 1, 10_000)
        check_range("repeat.every_s", self.every_s, 0, 3600, "s")
        check_range("repeat.variance_s", self.variance_s, 0, 3600, "s")


@dataclass(frozen=True, slots=True)
class Undo:
    """Name the request that removes what a step created; it is sent after the run, however the run ended.

    The path is a template; when a value in it was not extracted there is nothing to remove.
    """

    path: str
    method: str = "DELETE"


@dataclass(frozen=True, slots=True)
class Step:
    """Describe one request of a session.

    path, headers and body are templates: {post_id} is filled in from the scenario's variables, extracted
    values or the user. payload_bytes: size (0 to 100,000,000) of a body of zeros instead of `body`.
    mode: "then" waits for the answer, neighbouring "parallel" steps go out together, "background" ones are
    not waited for. probability: of being sent at all (0 to 1). pause_s, pause_variance_s: wait before it, in
    seconds.
    """

    name: str
    path: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    payload_bytes: int = 0
    expect: Expect = field(default_factory=Expect)
    extract: tuple[Extract, ...] = ()
    mode: Mode = "then"
    probability: float = 1.0
    repeat: Repeat = field(default_factory=lambda: Repeat(1))
    pause_s: float = 0.0
    pause_variance_s: float = 0.0
    undo: Undo | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigurationError(
                f"step {self.name!r}: method is {self.method!r}; use {', '.join(METHODS)}"
            )
        for path in (self.path, *([self.undo.path] if self.undo else [])):
            if not path.startswith("/") or re.search(r"[\s\x00-\x1f\x7f\ud800-\udfff]", path):
                raise ConfigurationError(
                    f"step {self.name!r}: path is {path!r}; it starts with / and has no blanks"
                )
        if HALVES.search(self.body):
            raise ConfigurationError(
                f"step {self.name!r}: body is {self.body!r}; UTF-8 has no halves of characters"
            )
        check_headers(f"step {self.name!r}", self.headers)
        if self.mode not in ("then", "parallel", "background"):
            raise ConfigurationError(
                f"step {self.name!r}: mode is {self.mode!r}; use then, parallel or background"
            )
        check_range(f"step {self.name!r}: probability", self.probability, 0, 1)
        check_whole(f"step {self.name!r}: payload_bytes", self.payload_bytes, 0, 100_000_000)
        check_range(f"step {self.name!r}: pause_s", self.pause_s, 0, 3600, "s")
        check_range(f"step {self.name!r}: pause_variance_s", self.pause_variance_s, 0, 3600, "s")
        if self.body and self.payload_bytes:
            raise ConfigurationError(f"step {self.name!r} has both a body and payload_bytes; keep one")

    def requested(self) -> tuple[str, ...]:
        """Give the templates of the request; the one that undoes it apart."""
        return (self.path, self.body, *(value for _, value in self.headers))

    def scaled(self, time: float) -> Step:
        """Shrink every wait by a factor."""
        repeat = replace(
            self.repeat, every_s=self.repeat.every_s * time, variance_s=self.repeat.variance_s * time
        )
        pauses = (self.pause_s * time, self.pause_variance_s * time)
        return replace(self, repeat=repeat, pause_s=pauses[0], pause_variance_s=pauses[1])

    def snapshot(self) -> JsonObject:
        """Describe the step in JSON-able values."""
        expect, undo = self.expect, self.undo
        return {
            "name": self.name,
            "method": self.method,
            "path": self.path,
            "headers": [list(pair) for pair in self.headers],
            "body": self.body,
            "payload_bytes": self.payload_bytes,
            "expect": {
                "status": list(expect.status),
                "contains": expect.contains,
                "refusals": expect.refusals,
                "p95_ms": expect.p95_ms,
            },
            "extract": [[one.name, one.json, one.header, one.pattern, one.required] for one in self.extract],
            "mode": self.mode,
            "probability": self.probability,
            "repeat": [self.repeat.times, self.repeat.every_s, self.repeat.variance_s],
            "pause": [self.pause_s, self.pause_variance_s],
            "undo": [undo.method, undo.path] if undo else None,
        }


@dataclass(frozen=True, slots=True)
class Application:
    """Name a sequence of steps.

    requires: applications that a user must have gone through once before, such as logging in; their extracted
    values stay with the user. A session ends at the first step whose answer is not ok.
    """

    name: str
    steps: tuple[Step, ...]
    requires: tuple[str, ...] = ()
    description: str = ""

    def __post_init__(self) -> None:
        if not self.steps:
            raise ConfigurationError(f"application {self.name!r} has no steps; give at least one")
        names = [step.name for step in self.steps]
        for name in names:
            if names.count(name) > 1:
                raise ConfigurationError(
                    f"application {self.name!r} has two steps named {name!r}; rename one"
                )

    def scaled(self, time: float) -> Application:
        """Shrink every wait by a factor."""
        return replace(self, steps=tuple(step.scaled(time) for step in self.steps))

    def snapshot(self) -> JsonObject:
        """Describe the application in JSON-able values."""
        return {
            "name": self.name,
            "requires": list(self.requires),
            "steps": [step.snapshot() for step in self.steps],
        }
