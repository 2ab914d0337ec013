"""Client addresses: which address a text names, and which group of addresses is counted as one.

Pure text in, pure text out. Where the text comes from (a socket, a header) is for `http.caller` to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .errors import ConfigurationError

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    Network = IPv4Network | IPv6Network

_MAPPED = b"\0" * 10 + b"\xff\xff"
_NAT64 = b"\0\x64\xff\x9b" + b"\0" * 8
_IPV4_IN_IPV6 = ("::ffff:0:0/96", "64:ff9b::/96")


def packed(text: str) -> bytes | None:
    """The address as 4 or 16 bytes, an IPv4 address in IPv6 clothes unwrapped; None when it is no address.

    IPv4-mapped (::ffff:0:0/96, RFC 4291) and NAT64 (64:ff9b::/96, RFC 6052) addresses are the IPv4 address
    inside them. A zone id (fe80::1%eth0) is no part of an address and makes the text no address.

    >>> packed("::ffff:203.0.113.9") == packed("203.0.113.9") == bytes([203, 0, 113, 9])
    True
    >>> packed("fe80::1%eth0") is None
    True
    """
    import socket  # 2 ms that importing the package need not take

    try:
        return socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError, TypeError):
        pass
    try:
        raw = socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError, TypeError):
        return None
    return raw[12:] if raw[:12] in (_MAPPED, _NAT64) else raw


def group(text: str | None, ipv6_prefix: int = 64) -> str | None:
    """The name under which an address is counted: IPv4 by itself, IPv6 by its prefix; None for no address.

    One customer usually holds a whole /64, many a /56 or a /48 (RFC 6177): single IPv6 addresses are free to
    change.

    >>> group("203.0.113.9"), group("2001:db8:1:2:3:4:5:6")
    ('203.0.113.9', '2001:db8:1:2::/64')
    >>> group("2001:db8:1:2:3:4:5:6", 48)
    '2001:db8:1::/48'
    """
    raw = None if text is None else packed(text)
    if raw is None:
        return None
    from socket import AF_INET, AF_INET6, inet_ntop

    if len(raw) == 4:
        return inet_ntop(AF_INET, raw)
    kept = int.from_bytes(raw, "big") >> (128 - ipv6_prefix) << (128 - ipv6_prefix)
    return f"{inet_ntop(AF_INET6, kept.to_bytes(16, 'big'))}/{ipv6_prefix}"


class Networks:
    """A set of networks that answers whether an address is inside.

    Args:
        field: name of the setting, for errors.
        cidrs: networks such as "10.0.0.0/8", or single addresses.

    >>> Networks("allow", ["10.0.0.0/8"]).holds("10.1.2.3")
    True
    """

    __slots__ = ("_v4", "_v6", "networks")

    def __init__(self, field: str, cidrs: Iterable[str]) -> None:
        if isinstance(cidrs, (str, bytes)) or not isinstance(cidrs, Iterable):
            raise ConfigurationError(field, cidrs, 'give a list of networks, e.g. ["10.0.0.0/8"]')
        from ipaddress import IPv6Network, ip_network

        blocks = [IPv6Network(block) for block in _IPV4_IN_IPV6]
        parsed = []
        for cidr in cidrs:
            try:
                parsed.append(ip_network(cidr))
            except (ValueError, TypeError):
                raise ConfigurationError(
                    field, cidr, 'give a network such as "10.0.0.0/8" or "2001:db8::/32", host bits zero'
                ) from None
            if any(parsed[-1].version == 6 and parsed[-1].subnet_of(block) for block in blocks):
                raise ConfigurationError(
                    field, cidr, 'such addresses count as IPv4: write the IPv4 network, e.g. "10.0.0.0/8"'
                )
        self.networks: tuple[Network, ...] = tuple(parsed)
        self._v4 = [_masked(network) for network in parsed if network.version == 4]
        self._v6 = [_masked(network) for network in parsed if network.version == 6]

    def __bool__(self) -> bool:
        return bool(self.networks)

    def holds(self, text: str) -> bool:
        """Whether the address that the text names is in one of the networks."""
        raw = packed(text)
        if raw is None:
            return False
        value = int.from_bytes(raw, "big")
        return any(value & mask == base for base, mask in (self._v4 if len(raw) == 4 else self._v6))


def _masked(network: Network) -> tuple[int, int]:
    return int(network.network_address), int(network.netmask)
