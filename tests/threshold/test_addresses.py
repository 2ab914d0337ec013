"""Client addresses: what counts as one, held to the standard library's ipaddress."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threshold import ConfigurationError
from threshold.addresses import Networks, group, packed

V4 = st.integers(0, 2**32 - 1).map(IPv4Address)
V6 = st.integers(0, 2**128 - 1).map(IPv6Address)


@given(V4)
def test_an_ipv4_address_counts_by_itself(address: IPv4Address) -> None:
    assert group(str(address)) == str(address)
    assert packed(str(address)) == address.packed


@given(V6)
def test_an_ipv6_address_counts_by_its_64(address: IPv6Address) -> None:
    if address.ipv4_mapped or address in ip_network("64:ff9b::/96"):
        return
    assert group(str(address)) == str(ip_network((int(address) >> 64 << 64, 64)))
    assert group(address.exploded.upper()) == group(str(address))


@given(V4)
def test_ipv4_in_ipv6_clothes_is_unwrapped_first(address: IPv4Address) -> None:
    for clothes in (f"::ffff:{address}", f"::FFFF:{address}", f"64:ff9b::{address}"):
        assert group(clothes) == str(address)


def test_one_host_cannot_count_twice_by_moving_within_its_64() -> None:
    assert len({group(f"2001:db8:0:7:{n:x}::{n:x}") for n in range(1, 200)}) == 1
    assert group("2001:db8:0:8::1") != group("2001:db8:0:7::1")


@pytest.mark.parametrize(
    "text",
    [
        *("", "unknown", "_hidden", "1.2.3", "1.2.3.4.5", "010.1.2.3", "1.2.3.256", "0x7f.1", "127.1"),
        *("1.2.3.4:80", "[::1]", "[::1]:80", "::1%eth0", "fe80::1%1\r\nSet-Cookie: a", "1.2.3.4\r\nX: y"),
        *("1.2.3.4\0", " 1.2.3.4", "1.2.3.4 ", "::1/64", "\u0661.2.3.4", "\ud800", "12345::"),
    ],
)
def test_what_is_no_address_is_nobody(text: str) -> None:
    assert packed(text) is None
    assert group(text) is None
    assert not Networks("allow", ["0.0.0.0/0", "::/0"]).holds(text)


def test_no_address_is_nobody() -> None:
    assert group(None) is None


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    raw = packed(text)
    assert raw is None or len(raw) in (4, 16)


@given(
    st.lists(st.tuples(V4 | V6, st.integers(0, 32)), max_size=4),
    V4 | V6,
)
def test_a_set_of_networks_holds_what_each_of_them_holds(
    networks: list[tuple[IPv4Address | IPv6Address, int]], address: IPv4Address | IPv6Address
) -> None:
    nets = [ip_network((int(base), bits) if base.version == 6 else f"{base}/{bits}", strict=False)
            for base, bits in networks]  # fmt: skip
    nets = [net for net in nets if net.version == 4 or net.prefixlen < 96]
    raw = packed(str(address))
    assert raw is not None
    meant = ip_address(raw)
    held = Networks("allow", map(str, nets)).holds(str(address))
    assert held == any(meant in net for net in nets if net.version == meant.version)


def test_single_addresses_are_networks_too() -> None:
    networks = Networks("allow", ["203.0.113.9", "2001:db8::1"])
    assert networks.holds("::ffff:203.0.113.9") and networks.holds("2001:DB8:0::1")
    assert not networks.holds("203.0.113.8")
    assert bool(networks) and not Networks("allow", [])


@pytest.mark.parametrize(
    "cidr", ["10.0.0.1/8", "10.0.0.0/33", "ten", "", "*", "::ffff:10.0.0.0/104", "64:ff9b::/96", None]
)
def test_a_network_that_cannot_work_is_refused_by_name(cidr: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Networks("allow", [cidr])
    assert (caught.value.field, caught.value.value) == ("allow", cidr)


def test_a_text_in_place_of_a_list_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="list of networks"):
        Networks("allow", "10.0.0.0/8")
