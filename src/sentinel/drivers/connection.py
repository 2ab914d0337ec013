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

if TYPE_CHECKING:
    from sentinel.drivers.http import HttpDriver


class Connection(asyncio.Protocol):
    """Carry one request at a time; a parser is kept for all of them."""

    __slots__ = (
        "_body",
        "_complete",
        "_done",
        "_driver",
        "_got_bytes",
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
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._status = 0
        self._whole = (0, self._headers, self._body)
        self._complete = False
        self._in_body = False
        self._keep = False
        self._got_bytes = False
        self.reused = False
        self.closed = False
        self.started_ns = 0

    def begin(self, request: Request, done: Done) -> None:
        """Write a request; `done` is called once with its answer."""
        self._request, self._done = request, done
        self._got_bytes = self._complete = self._in_body = False
        self.started_ns = time.monotonic_ns()
        if self._transport is None or self._transport.is_closing():
            self._lost()
            return
        self._write(cast(bytes, request.wire))

    def _write(self, data: bytes) -> None:
        """Hand the bytes to the kernel now; a loop may keep them until it has read everything that waits."""
        if self._socket >= 0:
            try:
                data = data[os.write(self._socket, data) :]
            except BlockingIOError:
                pass
            except OSError as error:
                self._lost(error)
                return
        if data and self._transport is not None:
            self._transport.write(data)

    # ---- from the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)
        if self._transport.get_extra_info("sslcontext") is None:
            self._socket = self._transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        """Parse what came; finish when the answer is whole."""
        now = time.monotonic_ns()
        if self._done is None:  # bytes that nobody asked for: the connection cannot be trusted any more
            self.abort()
            return
        self._got_bytes = True
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
            self._finish(now)

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
        """Collect a part of the body."""
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

    def _finish(self, now: int) -> None:
        done, request = cast(Done, self._done), self._request
        status, headers, parts = self._whole
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        response = Response(status, headers, body, now)
        self._done = self._request = None
        self.started_ns = 0
        if request is not None and request.method == "HEAD":
            self._parser = httptools.HttpResponseParser(self)  # the old one still waits for a body
        if self._keep and not self.closed:
            self.reused = True
            self._driver.connection_free(self)
        else:
            self.abort()
        done(response)

    def _lost(self, exc: Exception | None = None) -> None:
        """Answer for a connection that went away under a request."""
        request, done = self._request, self._done
        if self.reused and not self._got_bytes and request is not None and done is not None:
            self._done = self._request = None
            self.started_ns = 0
            self._driver.send_again(request, done)
            return
        when = "while it answered" if self._got_bytes else "before it answered"
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
