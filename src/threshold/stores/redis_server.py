"""RedisServer: one server as blocking code sees it. One command in, one reply out, within the budget.

Knows connections and time; knows nothing of plans. Connections stand in a pile and the last one used is taken
first, so there are as many as there are threads asking at once. redis-py makes them and reads replies; its
client and its pool (which between them cost as much as the call itself) are left out.
"""

from __future__ import annotations

import os
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as TimedOut

from ..errors import StoreUnavailable
from .circuit import Circuit
from .faults import code_of, explained

Address = tuple[str, int]
Connect = Callable[[], Any]

_FRESH_FOR = 0.5
"""Seconds after which an idle connection is looked at before it is used again."""

_servers: weakref.WeakSet[RedisServer]


class RedisServer:
    """Ask one server, over connections of its own.

    Args:
        connect: builds an unconnected redis-py connection to the server.
        budget: seconds for one command, connecting included.
        circuit: told about failures; asked before each command.
        on_connect: called with each new connection, before it is used.
    """

    def __init__(
        self,
        connect: Connect,
        budget: float,
        circuit: Circuit,
        on_connect: Callable[[Any], None] | None = None,
    ) -> None:
        self.circuit = circuit
        self._connect = connect
        self._budget = budget
        self._on_connect = on_connect
        self._idle: deque[tuple[Any, float]] = deque()
        self._closed = False
        _servers.add(self)

    def ask(self, command: bytes, by_text: Callable[[], bytes] | None = None) -> Any:
        """Send one packed command and return its reply.

        `by_text` packs the same command with the script's text, for a server that does not know the script.

        Raises:
            StoreUnavailable: when there is no reply within the budget, or the reply is no decision.
            ResponseError: for redirections of a cluster, which the caller follows.
        """
        circuit = self.circuit
        if not circuit.closed:
            circuit.enter()
        now = time.monotonic()
        connection = self._connection(now)
        try:
            connection.send_packed_command((command,), False)
            reply = connection.read_response(True)
        except ResponseError as error:
            reply = self._refused(connection, error, by_text)
        except RedisError as error:
            raise self._failed(error, connection) from error
        except BaseException:
            connection.disconnect()
            raise
        self._idle.append((connection, now))
        if not circuit.closed:
            circuit.answered()
        return reply

    def drop(self) -> None:
        """Close every idle connection; the next command opens a new one."""
        while self._idle:
            try:
                self._idle.pop()[0].disconnect()
            except IndexError:  # another thread took it
                return

    def close(self) -> None:
        """Close for good."""
        self._closed = True
        self.drop()

    def forget(self) -> None:
        """Leave the connections to the process they came from (after a fork)."""
        self._idle.clear()

    def _connection(self, now: float) -> Any:
        """A connection that is not known to be dead."""
        while True:
            try:
                connection, used = self._idle.pop()
            except IndexError:
                return self._open(now)
            if now - used < _FRESH_FOR or _alive(connection):
                return connection
            connection.disconnect()

    def _open(self, now: float) -> Any:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        connection = self._connect()
        try:
            connection.connect()
            if self._on_connect is not None:
                self._on_connect(connection)
        except (RedisError, OSError) as error:
            connection.disconnect()
            self.circuit.failed(f"cannot connect: {line_of(error)}")
            raise StoreUnavailable(f"cannot connect: {line_of(error)}; nothing was charged") from error
        left = self._budget - (time.monotonic() - now)
        if left <= 0:
            connection.disconnect()
            self.circuit.failed("connecting took the whole budget")
            raise StoreUnavailable("connecting took the whole budget; nothing was charged")
        return connection

    def _refused(self, connection: Any, error: ResponseError, by_text: Callable[[], bytes] | None) -> Any:
        """The server answered with an error: nothing was executed, or the script stopped before it wrote."""
        code = code_of(error)
        if code == "NOSCRIPT" and by_text is not None:
            try:
                connection.send_packed_command((by_text(),), False)
                return connection.read_response(True)
            except ResponseError as later:
                error, code = later, code_of(later)
            except RedisError as later:
                raise self._failed(later, connection) from later
        if code in ("READONLY", "MASTERDOWN", "LOADING"):
            connection.disconnect()
            self.drop()
        else:
            self._idle.append((connection, time.monotonic()))
        if not self.circuit.closed:
            self.circuit.answered()
        if code in ("MOVED", "ASK", "TRYAGAIN"):
            raise error
        raise StoreUnavailable(f"{explained(error)}; nothing was charged") from error

    def _failed(self, error: RedisError, connection: Any) -> StoreUnavailable:
        """No reply: what the server did is unknown, so the command is not repeated."""
        connection.disconnect()
        if code_of(error) == "LOADING":
            self.drop()
            return StoreUnavailable(f"{explained(error)}; nothing was charged")
        if isinstance(error, TimedOut):
            reason = f"no answer within {self._budget * 1000:.0f} ms"
            self.circuit.failed(reason)
            return StoreUnavailable(f"{reason}; whether it was charged is unknown")
        # The server went away under one connection. Its siblings are gone too, most likely; whether the
        # server is, the next attempt to connect will tell.
        self.drop()
        if isinstance(error, Disconnected):
            return StoreUnavailable(f"connection lost: {line_of(error)}; whether it was charged is unknown")
        return StoreUnavailable(f"unreadable reply: {line_of(error)}; whether it was charged is unknown")


def _alive(connection: Any) -> bool:
    """Whether an idle connection is open and quiet: anything to read on it means it is not ours any more."""
    try:
        return not connection.can_read()
    except (RedisError, OSError):
        return False


def line_of(error: BaseException) -> str:
    """The first line of an error, or its kind where it says nothing."""
    return (str(error) or type(error).__name__).partition("\n")[0][:200]


def _forget_all() -> None:
    for server in list(_servers):
        server.forget()


_servers = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
