"""Where load may go: targets read from text, and refused when they are somebody else's machine.

Loopback is always allowed; any other host only when it was named, because a load test aimed at the wrong name
is an attack.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from sentinel.errors import ConfigurationError, TargetError, TargetForbidden


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """Name an HTTP server: host and port, or the path of a unix socket."""

    host: str
    port: int
    tls: bool = False
    socket_path: str | None = None

    @property
    def authority(self) -> str:
        """Give what the Host header says."""
        if self.socket_path is not None:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        if self.socket_path is not None:
            return f"unix:{self.socket_path}"
        return f"{'https' if self.tls else 'http'}://{self.authority}"


@dataclass(frozen=True, slots=True)
class AppTarget:
    """Name an ASGI application in this process, as module:attribute."""

    module: str
    attribute: str

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"


def parse_target(
    text: str, allow: Collection[str] = (), *, production: bool = False
) -> HttpTarget | AppTarget:
    """Read a target: http://127.0.0.1:8000, unix:/run/app.sock or module:app.

    allow: host names and addresses that may be loaded although they are not loopback. production: needed as
    well for a host with a public address. Raises ConfigurationError for what is no target, TargetForbidden
    for a host that is neither loopback nor allowed, TargetError for one that has no address.

    >>> parse_target("http://127.0.0.1:8000")
    HttpTarget(host='127.0.0.1', port=8000, tls=False, socket_path=None)
    >>> parse_target("myapp:app")
    AppTarget(module='myapp', attribute='app')
    >>> parse_target("http://192.0.2.1/")
    Traceback (most recent call last):
    sentinel.errors.TargetForbidden: target 192.0.2.1 is not this machine; if you may load it, allow it by \
name: --allow-target 192.0.2.1
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/"):
            raise ConfigurationError(f"target is {text!r}; a unix socket is written as unix:/absolute/path")
        return HttpTarget("localhost", 80, socket_path=unquote(path))
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", text):
        module, _, attribute = text.partition(":")
        return AppTarget(module, attribute)
    return _parse_url(text, allow, production)


def _parse_url(text: str, allow: Collection[str], production: bool) -> HttpTarget:
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
        raise ConfigurationError(f"target is {text!r}; write http://host:port, unix:/path or module:app")
    if parts.path not in ("", "/") or parts.query or parts.username:
        raise ConfigurationError(f"target is {text!r}; leave out path, query and user: steps bring their own")
    tls = parts.scheme == "https"
    _check_permission(parts.hostname, parts.hostname in allow, production)
    return HttpTarget(parts.hostname, port or (443 if tls else 80), tls)


def _check_permission(host: str, allowed: bool, production: bool) -> None:
    """Refuse a host unless all its addresses are loopback, or it was allowed by name; a public one by flag
    too."""
    try:
        found = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError) as error:
        raise TargetError(f"target {host} has no address: {error}") from None
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if all(address.is_loopback for address in addresses):
        return
    if not allowed:
        raise TargetForbidden(
            f"target {host} is not this machine; if you may load it, allow it by name: --allow-target {host}"
        )
    if not production and any(address.is_global for address in addresses):
        raise TargetForbidden(f"target {host} has a public address; if you mean to load it, add --production")
