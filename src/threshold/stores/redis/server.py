"""RedisServer: one server as blocking code sees it. One command in, one reply out, within the budget.

Knows connections and time; knows nothing of plans. Connections stand in a pile and the last one used is taken
first, so there are as many as there are threads asking at once. redis-py makes them (address, TLS,
credentials, Sentinel); its client and its pool, which between them cost as much as the call itself, are left
out, and so is its way of reading: its time-out is one per packet, and a reply that drips in would take many.
"""

from __future__ import annotations

import os
import socket
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis
from redis.exceptions import RedisError, ResponseError

from ...errors import StoreUnavailable
from .circuit import Circuit
from .faults import code_of, explained

ASKING = b"*1\r\n$6\r\nASKING\r\n"

Connect = Callable[[], Any]

_FRESH_FOR = 0.5
"""Seconds after which an idle connection is looked at before it is used again."""

_CHUNK = 16_384
_MORE = object()
"""What the reader says when a reply is not complete yet."""

GOES_AWAY = ("READONLY", "MASTERDOWN", "LOADING")
"""Errors after which the connection leads to the wrong server, or to one that is not ready."""
REDIRECTS = ("MOVED", "ASK", "TRYAGAIN")

_servers: weakref.WeakSet[RedisServer]


class RedisServer:
    """Ask one server, over connections of its own.

    Args:
        connect: builds an unconnected redis-py connection to the server.
        budget: seconds for one command, connecting included.
        circuit: told about failures; asked before each command.
        greet: called with this server and its first link, before that is used.
    """

    def __init__(
        self,
        connect: Connect,
        budget: float,
        circuit: Circuit,
        greet: Callable[[RedisServer, Link], None] | None = None,
    ) -> None:
        self.circuit = circuit
        self._connect = connect
        self._budget = budget
        self._greet = greet
        self._idle: deque[Link] = deque()
        self._closed = False
        _servers.add(self)

    def ask(self, command: bytes, by_text: Callable[[], bytes] | None = None, *, asking: bool = False) -> Any:
        """Send one packed command and return its reply.

        `by_text` packs the same command with the script's text, for a server that does not know the script.
        `asking` tells a node of a cluster that it was named by the one that still owns the slot.

        Raises:
            StoreUnavailable: when there is no reply within the budget, or the reply is no decision.
            ResponseError: for redirections of a cluster, which the caller follows.
        """
        circuit = self.circuit
        if not circuit.closed:
            circuit.enter()
        now = time.monotonic()
        link = self._link(now)
        try:
            if asking:
                link.exchange(ASKING, now + self._budget)
            reply = link.exchange(command, now + self._budget)
            if isinstance(reply, ResponseError):
                reply = self._refused(link, reply, by_text, now, asking)
        except (OSError, hiredis.HiredisError) as error:
            raise self._failed(error, link) from error
        except (StoreUnavailable, ResponseError):
            raise
        except BaseException:
            link.close()
            raise
        if not link.used:
            link.patience(self._budget)
        link.used = now
        self._idle.append(link)
        if not circuit.closed:
            circuit.answered()
        return reply

    def drop(self) -> None:
        """Close every idle connection; the next command opens a new one."""
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:  # another thread took it
                return

    def close(self) -> None:
        """Close for good."""
        self._closed = True
        self.drop()

    def forget(self) -> None:
        """Leave the connections to the process they came from (after a fork)."""
        self._idle.clear()

    def _link(self, now: float) -> Link:
        """A link that is not known to be dead."""
        while True:
            try:
                link = self._idle.pop()
            except IndexError:
                return self._open(now)
            if now - link.used < _FRESH_FOR or link.is_quiet():
                return link
            link.close()

    def _open(self, now: float) -> Link:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        connection = None
        try:
            connection = self._connect()
            connection.connect()
            link = Link(connection)
            greet, self._greet = self._greet, None
            if greet is not None:
                greet(self, link)
        except (RedisError, OSError, hiredis.HiredisError) as error:
            if connection is not None:
                connection.disconnect()
            self.circuit.failed(f"cannot connect: {line_of(error)}")
            raise StoreUnavailable(f"cannot connect: {line_of(error)}; nothing was charged") from error
        left = self._budget - (time.monotonic() - now)
        if left > 0:
            link.patience(left)
        else:
            connection.disconnect()
            self.circuit.failed("connecting took the whole budget")
            raise StoreUnavailable("connecting took the whole budget; nothing was charged")
        return link

    def _refused(
        self, link: Link, error: ResponseError, by_text: Callable[[], bytes] | None, now: float, asking: bool
    ) -> Any:
        """The server answered with an error: nothing was executed, or the script stopped before it wrote."""
        code = code_of(error)
        if code == "NOSCRIPT" and by_text is not None:
            if asking:
                link.exchange(ASKING, now + self._budget)
            reply = link.exchange(by_text(), now + self._budget)
            if not isinstance(reply, ResponseError):
                return reply
            error, code = reply, code_of(reply)
        if code in GOES_AWAY:
            link.close()
            self.drop()
        else:
            link.used = now
            self._idle.append(link)
        if not self.circuit.closed:
            self.circuit.answered()
        if code in REDIRECTS:
            raise error
        raise StoreUnavailable(f"{explained(error)}; nothing was charged") from error

    def _failed(self, error: Exception, link: Link) -> StoreUnavailable:
        """No reply: what the server did is unknown, so the command is not repeated."""
        link.close()
        if isinstance(error, TimeoutError):
            reason = f"no answer within {self._budget * 1000:.0f} ms"
            self.circuit.failed(reason)
            return StoreUnavailable(f"{reason}; whether it was charged is unknown")
        # The server went away under one link. Its siblings are gone too, most likely; whether the server
        # is, the next attempt to connect will tell.
        self.drop()
        return StoreUnavailable(f"connection lost: {line_of(error)}; whether it was charged is unknown")


class Link:
    """One connection in use: redis-py's socket, and a reader of our own."""

    __slots__ = ("_connection", "_reader", "_socket", "used")

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._socket: socket.socket = connection._sock
        self._reader = hiredis.Reader(replyError=ResponseError, notEnoughData=_MORE)
        self.used = 0.0

    def exchange(self, command: bytes, deadline: float) -> Any:
        """Send a command and read its reply; an error of the server's is returned, not raised.

        Raises:
            TimeoutError: at the deadline (`time.monotonic()`).
            OSError: when the connection is lost.
        """
        sock, reader = self._socket, self._reader
        sock.sendall(command)
        data = sock.recv(_CHUNK)
        reader.feed(data)
        reply = reader.gets()
        if reply is not _MORE:
            return reply
        patience = sock.gettimeout()
        try:
            while reply is _MORE:
                left = deadline - time.monotonic()
                if not data:
                    raise ConnectionResetError("closed by the server")
                if left <= 0:
                    raise TimeoutError
                sock.settimeout(left)
                data = sock.recv(_CHUNK)
                reader.feed(data)
                reply = reader.gets()
        finally:
            sock.settimeout(patience)
        return reply

    def patience(self, seconds: float) -> None:
        """Wait this long for each packet."""
        self._socket.settimeout(seconds)

    def is_quiet(self) -> bool:
        """Whether the idle link is open: anything to read on it means it is not ours any more."""
        try:
            return not self._connection.can_read()
        except (RedisError, OSError):
            return False

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()


def line_of(error: BaseException) -> str:
    """The first line of an error, or its kind where it says nothing."""
    return (str(error) or type(error).__name__).partition("\n")[0][:200]


def _forget_all() -> None:
    for server in list(_servers):
        server.forget()


_servers = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
