"""Requests that name whom a limiter should count them for: one template, many made-up callers."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sentinel.drivers.driver import NO_HEADERS, Headers, Request
from sentinel.errors import ConfigurationError
from sentinel.template import Template, placeholders
from sentinel.users import address

FORWARDED = ("X-Forwarded-For", "{address}")


class KeyedRequests:
    """Make the request of a key.

    headers: (name, template) pairs; {key} is the key itself, {address} a private client address made up for
    it. The first address is drawn by `seed`, so that two experiments seldom meet. Raises ConfigurationError
    for any other placeholder.
    """

    def __init__(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        *,
        body: bytes = b"",
        seed: int = 0,
    ) -> None:
        for name, text in headers:
            unknown = set(placeholders(text)) - {"key", "address"}
            if unknown:
                raise ConfigurationError(
                    f"header {name} uses {{{unknown.pop()}}}; it may use {{key}} and {{address}}"
                )
        self._method = method
        self._path = path
        self._constant = Headers([pair for pair in headers if not placeholders(pair[1])])
        self._varying = [(name, Template(text)) for name, text in headers if placeholders(text)]
        self._body = body
        self._addresses: dict[str, str] = {}
        self._first = random.Random(seed).randrange(1 << 24)

    @property
    def tells_keys_apart(self) -> bool:
        """Tell whether any header depends on the key."""
        return bool(self._varying)

    def address(self, key: str) -> str:
        """Make up the client address of a key."""
        known = self._addresses.get(key)
        if known is None:
            known = self._addresses[key] = address(self._first + len(self._addresses))
        return known

    def __call__(self, key: str) -> Request:
        """Make a request for a key, which is also the peer's address for an app in this process."""
        values = {"key": key, "address": self.address(key)}
        headers = (
            Headers([(name, template.fill(values.__getitem__)) for name, template in self._varying])
            if self._varying
            else NO_HEADERS
        )
        return Request(self._method, self._path, self._constant, headers, self._body, values["address"])


def header(text: str) -> tuple[str, str]:
    """Read "Name: value".

    >>> header("X-Forwarded-For: {address}")
    ('X-Forwarded-For', '{address}')
    """
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not value.strip() or not name.strip().isascii():
        raise ConfigurationError(f"header is {text!r}; write it as 'Name: value'")
    return name.strip(), value.strip()
