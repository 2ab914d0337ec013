"""Requests that name whom a limiter should count them for: one template, many made-up callers."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from sentinel.application import METHODS
from sentinel.drivers.driver import NO_HEADERS, Headers, Request
from sentinel.errors import ConfigurationError
from sentinel.template import Template, placeholders
from sentinel.users import address

FORWARDED = ("X-Forwarded-For", "{address}")
_PATH = re.compile(r"/[\x21-\x7e]*")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]+")


class KeyedRequests:
    """Make the request of a key.

    headers: (name, template) pairs; {key} is the key itself, {address} a private client address made up for
    it. The first address is drawn by `seed`, so that two experiments seldom meet. Raises ConfigurationError
    for any other placeholder, and for what no HTTP request may have: a path that does not start with / or has
    blanks, an unknown method, a header name that is no token, a header value of several lines.
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
        if method not in METHODS:
            raise ConfigurationError(f"method is {method!r}; use {', '.join(METHODS)}")
        if not _PATH.fullmatch(path):
            raise ConfigurationError(
                f"path is {path!r}; it starts with / and is written in ASCII without blanks, %20 for one"
            )
        for name, text in headers:
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(text):
                raise ConfigurationError(
                    f"header {name!r} is {text!r}; its name is one word, its value one line without control "
                    "characters"
                )
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
