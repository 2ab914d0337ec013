"""The contract between the engine and whatever carries its requests: values in, one callback out.

A driver knows connections and bytes. It knows nothing of schedules, sessions, expectations or outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeAlias, runtime_checkable

from sentinel.drivers.heads import Head

NEVER = 1 << 62
_BREAKS = str.maketrans("\r\n\0", "   ")


class Headers:
    """Hold header lines in the form each driver needs, made once and shared by many requests."""

    __slots__ = ("pairs", "wire")

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.pairs = [
            (name.lower().encode("latin-1"), value.translate(_BREAKS).encode("utf-8"))
            for name, value in pairs
        ]
        self.wire = b"".join([b"%b: %b\r\n" % pair for pair in self.pairs])


NO_HEADERS = Headers()


class Request:
    """Describe one request: method, target (path and query, ASCII), two blocks of headers, body.

    key: whom a limiter that is called directly counts it for. rest: what a driver made of all but method and
    target, to be used again when the same request goes to another target.
    """

    __slots__ = ("body", "common", "headers", "key", "method", "rest", "target", "wire")

    def __init__(
        self,
        method: str,
        target: str,
        common: Headers = NO_HEADERS,
        headers: Headers = NO_HEADERS,
        body: bytes = b"",
        key: str = "",
    ) -> None:
        self.method = method
        self.target = target
        self.common = common
        self.headers = headers
        self.body = body
        self.key = key
        self.rest: bytes | None = None
        self.wire: bytes | None = None


class Response:
    """Describe one answer.

    status: 0 when there was none; error then says why. headers: (lower-case name, value) pairs, as bytes.
    done_ns: when its last byte was there, `time.monotonic_ns`. retry_after_s: what a refusal announced, in
    seconds.
    """

    __slots__ = ("body", "done_ns", "error", "headers", "retry_after_s", "status")

    def __init__(
        self,
        status: int,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        done_ns: int,
        error: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.done_ns = done_ns
        self.error = error
        self.retry_after_s = retry_after_s

    def header(self, name: str) -> str | None:
        """Find the first header of this name, whatever its case; None when there is none."""
        wanted = name.lower().encode("latin-1")
        for found, value in self.headers:
            if found == wanted or found.lower() == wanted:
                return value.decode("utf-8", "replace")
        return None

    def retry_after(self) -> float | None:
        """Give the announced wait in seconds: the driver's own figure, else the Retry-After field's."""
        if self.retry_after_s is None and self.status >= 400:
            text = self.header("retry-after")
            if text is not None and text.isascii() and text.isdigit():
                return float(text)
        return self.retry_after_s


Done = Callable[[Response], None]
# Whom to tell; the head; all bytes, the head's included; the instant the last one was there (as `done_ns`).
Answer: TypeAlias = tuple[Done, Head, bytes, int]


def response(head: Head, data: bytes, done_ns: int) -> Response:
    """Make an answer out of its head and its bytes, the head's included."""
    return Response(head.status, head.headers, data[head.size :] if head.size else data, done_ns)


def deliver(answers: Iterable[Answer]) -> None:
    """Hand answers over one by one."""
    for done, head, data, done_ns in answers:
        done(response(head, data, done_ns))


class Due:
    """Tell when something else than answers wants to be dealt with: an instant, monotonic nanoseconds."""

    __slots__ = ("ns",)

    def __init__(self) -> None:
        self.ns = NEVER


class Driver(Protocol):
    """Carry requests to a target.

    counters: what happened underneath, by name ("connections", "retries", ...).
    """

    counters: dict[str, int]

    async def open(self) -> None:
        """Get ready on the running loop; raise TargetError when the target cannot be reached."""

    def send(self, request: Request, done: Done) -> None:
        """Send a request at once and call `done` exactly once with the answer, or with what went wrong."""

    async def close(self) -> None:
        """Give up what is under way and release everything."""


class Parcel(Request):
    """Be a request that knows when it was sent (monotonic nanoseconds) and takes its own answer."""

    __slots__ = ("sent",)

    sent: int

    def __call__(self, response: Response) -> None:
        """Take the answer."""
        raise NotImplementedError


@runtime_checkable
class BatchDriver(Driver, Protocol):
    """Carry many requests per call, and tell of many answers per call; let go of a request with its answer.

    deliver: what to do with answers; to begin with, whoever waits for each is told. due: from its instant on
    an answer is delivered with no further ones waited for.
    """

    deliver: Callable[[Iterator[Answer]], None]
    due: Due

    def send_all(self, parcels: Iterable[Parcel]) -> None:
        """Send requests one after another, noting the instant of each; they are called with their answers."""
