"""One HTTP/1.1 connection: a request out, its answer in, and the ways in which that goes wrong.

httptools finds the message boundaries except for two that it cannot know: an answer to HEAD has no body
whatever its Content-Length says, and a body without a length ends when the connection does.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, cast

import httptools

from sentinel.drivers.driver import Done, Request, Response
from sentinel.drivers.heads import NO_HEAD, Head

if TYPE_CHECKING:
    from sentinel.drivers.http import HttpDriver

_clock, _write = time.monotonic_ns, os.write  # looked up once: they are called for every request


class Connection(asyncio.Protocol):
    """Carry one request at a time.

    An answer that arrives in one piece under a head seen before needs no parser; all others share one.
    """

    __slots__ = (
        "_body",
        "_complete",
        "_done",
        "_driver",
        "_fed",
        "_head",
        "_headers",
        "_in_body",
        "_keep",
        "_parser",
        "_request",
        "_socket",
        "_status",
        "_transport",
        "_whole",
        "closed",
        "reused",
        "started_ns",
    )

    def __init__(self, driver: HttpDriver) -> None:
        self._driver = driver
        self._transport: asyncio.Transport | None = None
        self._socket = -1  # of a connection without TLS
        self._parser = httptools.HttpResponseParser(self)
        self._done: Done | None = None
        self._request: Request | None = None
        self._head = NO_HEAD  # the last one recognized here
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._status = 0
        self._whole = (0, self._headers, self._body)
        self._fed = False  # the parser has had bytes of the answer under way
        self._complete = False
        self._in_body = False
        self._keep = False
        self.reused = False
        self.closed = False
        self.started_ns = 0

    def begin(self, request: Request, done: Done) -> None:
        """Write a request, which is encoded; `done` is called once with its answer."""
        self._request, self._done = request, done
        self.started_ns = self._driver.now_ns
        wire = cast(bytes, request.wire)
        if self._socket >= 0:
            # To the kernel now: a loop may keep what it is given until it has read everything that waits.
            try:
                written = _write(self._socket, wire)
            except BlockingIOError:
                written = 0
            except OSError as error:
                self._lost(error)
                return
            if written == len(wire):
                return
            wire = wire[written:]
        if self._transport is None or self._transport.is_closing():
            self._lost()
        else:
            self._transport.write(wire)

    # ---- from the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)
        if self._transport.get_extra_info("sslcontext") is None:
            self._socket = self._transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        """Recognize or parse what came; finish when the answer is whole."""
        now = _clock()
        done, request = self._done, self._request
        if done is None or request is None:  # bytes that nobody asked for: the connection cannot be trusted
            self.abort()
            return
        if self._fed or request.method == "HEAD":
            self._parse(data, now)
            return
        head = self._head
        if len(data) != head.whole or not data.startswith(head.raw):
            known = self._driver.heads.find(data)
            if known is None:
                self._parse(data, now)
                return
            head = self._head = known
        self._done = self._request = None
        self.started_ns = 0
        self.reused = True
        self._driver.answered(done, head, data, now, self)

    def _parse(self, data: bytes, now: int) -> None:
        first, self._fed = not self._fed, True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.fail("the server switched protocols unasked")
            return
        except httptools.HttpParserError as error:
            if not self._complete:
                self.fail(f"not HTTP: {error}")
                return
            self.closed = True  # the answer was whole, what followed it was not
        if self._complete:
            self._finish(now, data if first else b"")

    def connection_lost(self, exc: Exception | None) -> None:
        """Finish, send again or fail the request under way."""
        self.closed = True
        self._socket = -1
        self._driver.connection_gone(self)
        if self._done is not None:
            if exc is None and self._in_body and self._ends_with_connection():
                self._end()
                self._keep = False
                self._finish(time.monotonic_ns())
            else:
                self._lost(exc)
        self._transport = None

    # ---- from the parser

    def on_message_begin(self) -> None:
        """Start collecting; a second answer to one request spoils the connection."""
        if self._complete:
            self.closed = True
        self._headers, self._body = [], []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Read the status; an answer to HEAD is whole here."""
        self._status = self._parser.get_status_code()
        self._in_body = True
        if self._request is not None and self._request.method == "HEAD" and self._status >= 200:
            self._end()

    def on_body(self, data: bytes) -> None:
        """Collect a part of the body; one that follows the answer to HEAD spoils the connection."""
        if self._complete:
            self.closed = True
        else:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """Notice the end; 1xx is only a preface."""
        self._in_body = False
        if self._status >= 200:
            self._end()

    # ---- endings

    def _end(self) -> None:
        if not self._complete:
            self._complete = True
            self._whole = (self._status, self._headers, self._body)
            self._keep = self._parser.should_keep_alive()  # the parser forgets it after this message

    def _finish(self, now: int, data: bytes = b"") -> None:
        """Hand over the answer; data: all of it, when it came in one piece."""
        done, request = cast(Done, self._done), cast(Request, self._request)
        status, headers, parts = self._whole
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._done = self._request = None
        self._fed = self._complete = self._in_body = False
        self.started_ns = 0
        head_only = request.method == "HEAD"
        if head_only:
            self._parser = httptools.HttpResponseParser(self)  # the old one still waits for a body
        if self._keep and not self.closed:
            self.reused = True
            if data and not head_only:
                self._driver.heads.learn(data, status, headers, body)
            self._driver.answered(done, Head(b"", status, headers, 0), body, now, self)
        else:
            self.abort()
            self._driver.answered(done, Head(b"", status, headers, 0), body, now)

    def _lost(self, exc: Exception | None = None) -> None:
        """Answer for a connection that went away under a request."""
        request, done = self._request, self._done
        if self.reused and not self._fed and request is not None and done is not None:
            self._done = self._request = None
            self.started_ns = 0
            self._driver.send_again(request, done)
            return
        when = "while it answered" if self._fed else "before it answered"
        self.fail(f"the server closed the connection {when}{f': {exc}' if exc else ''}")

    def fail(self, error: str) -> None:
        """End the request under way with an error, and the connection with it."""
        done = self._done
        self._done = self._request = None
        self.started_ns = 0
        self.abort()
        if done is not None:
            done(Response(0, [], b"", time.monotonic_ns(), error))

    def abort(self) -> None:
        """Close without waiting."""
        self.closed = True
        self._socket = -1
        if self._transport is not None:
            self._transport.abort()

    def _ends_with_connection(self) -> bool:
        """Tell whether the body has no other end: neither a length nor chunks."""
        return not any(
            name == b"content-length" or (name == b"transfer-encoding" and b"chunked" in value.lower())
            for name, value in self._headers
        )
