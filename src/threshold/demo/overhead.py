"""Overhead: what the middleware adds to a request, read on two real servers in turn.

Pairs of requests, one to the bare blog and one to the protected one, over two kept-alive connections; the
figure is the median of the pairs' differences, with a bootstrap interval. Every user sends few requests, so
that the protected blog really admits them through all four layers.
"""

from __future__ import annotations

import json
import random
import socket
import statistics
import time
from dataclasses import dataclass

_PER_USER = 5
_WARM_UP = 50


@dataclass(frozen=True, slots=True)
class Overhead:
    """What the middleware added per request, in microseconds."""

    pairs: int
    bare_us: float
    """Median of a request to the bare blog."""
    protected_us: float
    """Median of the same request to the protected blog."""
    added_us: float
    """Median of the differences within the pairs."""
    low_us: float
    high_us: float
    """99 % bootstrap interval of that median."""
    refused_us: float
    """Median of a refused request to the protected blog."""


class _Line:
    """One kept-alive connection, read with as little work as possible.

    A general client takes some 20 us to parse the header fields that the middleware adds; that would be
    measured as the middleware's.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, int, bytes]:
        """Send one request; status, nanoseconds, body."""
        lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        request = "\r\n".join([*lines, "", ""]).encode() + body
        begun = time.perf_counter_ns()
        self._socket.sendall(request)
        data = self._socket.recv(65536)
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        head, answer = data[:end].lower(), data[end + 4 :]
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        while len(answer) < length:
            answer += self._more()
        return int(data[9:12]), time.perf_counter_ns() - begun, answer

    def _more(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise RuntimeError("the server hung up while the overhead was measured")
        return data

    def close(self) -> None:
        self._socket.close()


def measure(bare_port: int, protected_port: int, pairs: int = 1000) -> Overhead:
    """Measure with this many pairs of requests, 100 to 1,500.

    Raises:
        RuntimeError: when a request was not admitted, so that the figures would mean something else.
    """
    bare, protected = _Line(bare_port), _Line(protected_port)
    try:
        probes = [_probe(bare, i) for i in range((pairs + _WARM_UP) // _PER_USER + 1)]
        body = json.dumps({"title": "overhead"}).encode()
        plain: list[int] = []
        guarded: list[int] = []
        for i in range(pairs + _WARM_UP):
            headers = probes[i // _PER_USER]
            order = ((bare, plain), (protected, guarded)) if i % 2 else ((protected, guarded), (bare, plain))
            for line, samples in order:
                status, took, _ = line.send("POST", "/api/posts", headers, body)
                if status != 201:
                    raise RuntimeError(f"a measured request was answered {status}, not 201")
                if i >= _WARM_UP:
                    samples.append(took)
        refused = [protected.send("POST", "/api/posts", probes[0], body) for _ in range(200)]
    finally:
        bare.close()
        protected.close()
    gaps = [b - a for a, b in zip(plain, guarded, strict=True)]
    low, high = _interval(gaps)
    return Overhead(
        pairs,
        statistics.median(plain) / 1e3,
        statistics.median(guarded) / 1e3,
        statistics.median(gaps) / 1e3,
        low / 1e3,
        high / 1e3,
        statistics.median(took for status, took, _ in refused if status == 429) / 1e3,
    )


def _probe(bare: _Line, number: int) -> dict[str, str]:
    """Headers of one user, with a token from the bare blog, where signing in is not limited."""
    headers = {"content-type": "application/json", "x-tenant": "sequoia-times"}
    status, _, data = bare.send(
        "POST", "/auth/token", headers, json.dumps({"user": f"probe{number}"}).encode()
    )
    if status != 200:
        raise RuntimeError(f"signing in was answered {status}, not 200")
    address = f"192.0.2.{number % 250 + 1}"
    return headers | {
        "authorization": f"Bearer {json.loads(data)['access_token']}",
        "x-forwarded-for": address,
    }


def _interval(gaps: list[int]) -> tuple[float, float]:
    """99 % percentile bootstrap of the median."""
    chance = random.Random(1)
    medians = sorted(statistics.median(chance.choices(gaps, k=len(gaps))) for _ in range(400))
    return medians[2], medians[-3]
