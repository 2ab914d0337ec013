"""Who is calling, and for which path: the parts of a `Caller` that a connection knows by itself.

The address is the peer's, unless the peer is a proxy somebody vouched for. What a header says is believed
as far as the chain of vouched-for hops reaches, from the right; never its leftmost value, never everybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv6Network

from ..addresses import Networks
from ..errors import ConfigurationError
from .forwarded import MOST_HOPS, address, forwarded, x_forwarded_for

UNIX = "unix"
"""In a list of trusted proxies: connections without an address, as over a unix socket."""

_WIDEST = 8
_UNWRAPPED = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
_LONGEST_REMEMBERED = 256
_TOKEN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


class ClientAddress:
    """Find the address a request comes from.

    Args:
        trusted_proxies: networks of your own proxies; "unix" for connections over a unix socket. Their
            X-Forwarded-For is followed from the right, as long as the hops are in the list.
        trusted_hops: number of proxies in front, instead of their networks; 0 to 32.
        client_header: a header that names the client, such as "cf-connecting-ip", or "forwarded"
            (RFC 7239); believed only from a trusted proxy, and instead of X-Forwarded-For.

    Raises:
        ConfigurationError: for networks wider than /8, IPv4 addresses in IPv6 clothes, or options that
            exclude each other.

    >>> client = ClientAddress(["10.0.0.0/8"])
    >>> client.find("10.0.0.1", "6.6.6.6, 203.0.113.9, 10.0.0.2")
    '203.0.113.9'
    >>> client.find("203.0.113.9", "6.6.6.6")
    '203.0.113.9'
    """

    __slots__ = ("_hops", "_remembered", "_trusted", "_unix", "header")

    def __init__(
        self, trusted_proxies: Iterable[str] = (), trusted_hops: int = 0, client_header: str | None = None
    ) -> None:
        if isinstance(trusted_proxies, (str, bytes)):
            remedy = 'give a list of networks, e.g. ["10.0.0.0/8"]'
            raise ConfigurationError("trusted_proxies", trusted_proxies, remedy)
        listed = list(trusted_proxies)
        self._unix = UNIX in listed
        self._trusted = _trusted([proxy for proxy in listed if proxy != UNIX])
        if type(trusted_hops) is not int or not 0 <= trusted_hops <= MOST_HOPS:
            raise ConfigurationError("trusted_hops", trusted_hops, f"give 0 to {MOST_HOPS} proxies")
        if trusted_hops and listed:
            remedy = "drop it, or trusted_proxies: the list already says how far to go"
            raise ConfigurationError("trusted_hops", trusted_hops, remedy)
        if client_header is not None:
            _check_header(client_header, vouched=bool(listed))
        self._hops = trusted_hops
        self.header: str | None = None
        """Name of the header that is read, in lower case; None when nothing but the peer counts."""
        if listed or trusted_hops:
            self.header = "x-forwarded-for" if client_header is None else client_header.lower()
        self._remembered = lru_cache(4096)(self._walk)

    def find(self, peer: str | None, value: str | None) -> str | None:
        """The client's address.

        Args:
            peer: address of the connection, None when it has none.
            value: the header, all its lines joined with commas; None when the request has none.
        """
        if not value:
            return peer
        if len(value) > _LONGEST_REMEMBERED:
            return self._walk(peer, value)
        return self._remembered(peer, value)

    def _trusts(self, hop: str | None) -> bool:
        return self._trusted.holds(hop) if hop else self._unix

    def _walk(self, peer: str | None, value: str) -> str | None:
        hops = self._hops
        if hops:
            for node in x_forwarded_for(value):
                if node is None or not hops:
                    break
                peer = node
                hops -= 1
            return peer
        if not self._trusts(peer):
            return peer
        if self.header not in ("x-forwarded-for", "forwarded"):
            return address(value) or peer
        for node in forwarded(value) if self.header == "forwarded" else x_forwarded_for(value):
            if node is None:
                break
            peer = node
            if not self._trusts(peer):
                break
        return peer


def _trusted(cidrs: list[str]) -> Networks:
    networks = Networks("trusted_proxies", cidrs)
    for network in networks.networks:
        if network.prefixlen < _WIDEST:
            remedy = "that trusts most of the internet; list the networks of your own proxies, /8 or narrower"
            raise ConfigurationError("trusted_proxies", str(network), remedy)
        if isinstance(network, IPv6Network) and any(network.overlaps(block) for block in _UNWRAPPED):
            remedy = "addresses in there are read as the IPv4 address inside; list the IPv4 network"
            raise ConfigurationError("trusted_proxies", str(network), remedy)
    return networks


def _check_header(name: str, *, vouched: bool) -> None:
    if not isinstance(name, str) or not name or not _TOKEN.issuperset(name.lower()):
        raise ConfigurationError("client_header", name, 'give the name of one header, "cf-connecting-ip"')
    if not vouched:
        remedy = "anybody can send it: list the proxies to believe it from in trusted_proxies"
        raise ConfigurationError("client_header", name, remedy)


def routed(path: str, root: str | None) -> str:
    """The path as the app's own router sees it: below its mount point, with a slash in front.

    >>> routed("/blog/api/posts", "/blog"), routed("/blogs", "/blog"), routed("/blog", "/blog")
    ('/api/posts', '/blogs', '/')
    """
    if root and path.startswith(root):
        rest = path[len(root) :]
        if not rest or rest[0] == "/":
            path = rest
    return path if path[:1] == "/" else f"/{path}"
