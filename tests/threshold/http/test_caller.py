"""Whose address counts, and which path: every way a stranger may try to be somebody else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threshold import ConfigurationError
from threshold.addresses import packed
from threshold.http.caller import ClientAddress, routed
from threshold.http.forwarded import forwarded, x_forwarded_for

PROXIES = ["10.0.0.0/8", "fd00::/8"]


@pytest.mark.parametrize(
    ("peer", "value", "client"),
    [
        # Nobody vouches for the peer: whatever it claims, it is itself.
        ("203.0.113.9", "6.6.6.6", "203.0.113.9"),
        ("203.0.113.9", "10.0.0.1", "203.0.113.9"),
        # From a proxy: the rightmost address that is no proxy, never the leftmost.
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "6.6.6.6,203.0.113.9,10.0.0.3 , 10.0.0.2", "203.0.113.9"),
        ("fd00::1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8::7]:80", "2001:db8::7"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "::ffff:10.0.0.9", "::ffff:10.0.0.9"),
        # A bad token ends the walk at the last good hop.
        ("10.0.0.1", "6.6.6.6, junk", "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6, junk, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "6.6.6.6, ", "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6, unknown", "10.0.0.1"),
        ("10.0.0.1", "fe80::1%eth0", "10.0.0.1"),
        ("10.0.0.1", "::1%x\r\nSet-Cookie: a=b", "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4.5", "10.0.0.1"),
        ("10.0.0.1", "01.2.3.4", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        # Only proxies all the way: the farthest of them.
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        # No address to vouch for.
        (None, "6.6.6.6", None),
        ("testclient", "6.6.6.6", "testclient"),
    ],
)
def test_the_client_is_the_first_hop_from_the_right_that_nobody_vouches_for(
    peer: str | None, value: str | None, client: str | None
) -> None:
    assert ClientAddress(PROXIES).find(peer, value) == client


@pytest.mark.parametrize(
    ("hops", "value", "client"),
    [
        (0, "6.6.6.6", "192.0.2.1"),
        (1, "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        (2, "6.6.6.6, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        (3, "203.0.113.9", "203.0.113.9"),
        (2, "6.6.6.6, junk, 10.0.0.2", "10.0.0.2"),
        (1, "", "192.0.2.1"),
    ],
)
def test_a_number_of_hops_is_counted_from_the_right(hops: int, value: str, client: str) -> None:
    address = ClientAddress(trusted_hops=hops)
    assert (address.header is None) == (hops == 0)
    if address.header is not None:
        assert address.find("192.0.2.1", value) == client


def test_without_options_no_header_is_read_at_all() -> None:
    assert ClientAddress().header is None


def test_a_unix_socket_is_trusted_only_by_name() -> None:
    assert ClientAddress(["unix"]).find(None, "6.6.6.6, 203.0.113.9") == "203.0.113.9"
    assert ClientAddress(["unix"]).find("192.0.2.1", "6.6.6.6") == "192.0.2.1"
    assert ClientAddress(PROXIES).find(None, "6.6.6.6") is None


def test_one_named_header_is_believed_from_a_trusted_peer_only() -> None:
    address = ClientAddress(["10.0.0.0/8"], client_header="CF-Connecting-IP")
    assert address.header == "cf-connecting-ip"
    assert address.find("10.0.0.1", "203.0.113.9") == "203.0.113.9"
    assert address.find("192.0.2.1", "203.0.113.9") == "192.0.2.1"
    for bad in ("203.0.113.9, 6.6.6.6", "junk", "::1%lo", "", None):
        assert address.find("10.0.0.1", bad) == "10.0.0.1"


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("for=203.0.113.9", "203.0.113.9"),
        ("For=6.6.6.6, FOR=203.0.113.9;proto=https;by=10.0.0.1", "203.0.113.9"),
        ('for="[2001:db8::7]:4711";proto=http , for=10.0.0.2', "2001:db8::7"),
        ('for="203.0.113.9:80"', "203.0.113.9"),
        ('for=203.0.113.9;ext="a,b;for=6.6.6.6"', "203.0.113.9"),
        # What cannot be read ends the walk.
        ("for=6.6.6.6, proto=https", "10.0.0.1"),
        ("for=6.6.6.6, for=unknown", "10.0.0.1"),
        ("for=6.6.6.6, for=_hidden", "10.0.0.1"),
        ("for=6.6.6.6;for=203.0.113.9", "10.0.0.1"),
        ('for=203.0.113.9, for="6.6.6.6', "10.0.0.1"),
        ('for="203.0.113.9, for=6.6.6.6', "10.0.0.1"),
        ("203.0.113.9", "10.0.0.1"),
        ("for=6.6.6.6,", "10.0.0.1"),
        (";;;", "10.0.0.1"),
        ("for=", "10.0.0.1"),
    ],
)
def test_forwarded_is_read_like_a_chain(value: str, client: str) -> None:
    assert ClientAddress(PROXIES, client_header="forwarded").find("10.0.0.1", value) == client
    assert ClientAddress(PROXIES, client_header="forwarded").find("192.0.2.1", value) == "192.0.2.1"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"trusted_proxies": ["*"]}, "trusted_proxies"),
        ({"trusted_proxies": "10.0.0.0/8"}, "trusted_proxies"),
        ({"trusted_proxies": ["0.0.0.0/0"]}, "trusted_proxies"),
        ({"trusted_proxies": ["10.0.0.0/7"]}, "trusted_proxies"),
        ({"trusted_proxies": ["::/0"]}, "trusted_proxies"),
        ({"trusted_proxies": ["fc00::/7"]}, "trusted_proxies"),
        ({"trusted_proxies": ["::ffff:10.0.0.0/104"]}, "trusted_proxies"),
        ({"trusted_proxies": ["::ffff:0:0/96"]}, "trusted_proxies"),
        ({"trusted_proxies": ["::/8"]}, "trusted_proxies"),
        ({"trusted_proxies": ["64:ff9b::a00:0/104"]}, "trusted_proxies"),
        ({"trusted_proxies": ["10.0.0.1/8"]}, "trusted_proxies"),
        ({"trusted_proxies": ["proxy.internal"]}, "trusted_proxies"),
        ({"trusted_proxies": [None]}, "trusted_proxies"),
        ({"trusted_hops": -1}, "trusted_hops"),
        ({"trusted_hops": 33}, "trusted_hops"),
        ({"trusted_hops": True}, "trusted_hops"),
        ({"trusted_hops": 1, "trusted_proxies": ["10.0.0.0/8"]}, "trusted_hops"),
        ({"client_header": "cf-connecting-ip"}, "client_header"),
        ({"client_header": "cf-connecting-ip", "trusted_hops": 1}, "client_header"),
        ({"client_header": "", "trusted_proxies": ["10.0.0.0/8"]}, "client_header"),
        ({"client_header": "x y", "trusted_proxies": ["10.0.0.0/8"]}, "client_header"),
    ],
)
def test_refuses_to_believe_everybody(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{field}"):
        ClientAddress(**options)


def test_an_endless_chain_is_cut_off_and_costs_no_more_than_a_short_one() -> None:
    chain = "6.6.6.6," + "10.0.0.2," * 5000
    assert ClientAddress(PROXIES).find("10.0.0.1", chain + "10.0.0.3") == "10.0.0.2"
    assert len(list(x_forwarded_for(chain))) == 32
    assert len(list(forwarded("for=10.0.0.2," * 5000))) == 32


NODES = st.sampled_from(["6.6.6.6", "10.0.0.2", "fd00::2", "junk", "", "fe80::1%x", "::ffff:10.0.0.3"])


@given(
    value=st.one_of(st.text(max_size=80), st.lists(NODES).map(", ".join), st.lists(NODES).map(", for=".join)),
    header=st.sampled_from([None, "forwarded", "x-real-ip"]),
    peer=st.sampled_from(["10.0.0.1", "192.0.2.1", None, "testclient"]),
)
def test_no_header_whatever_yields_anything_but_an_address_or_the_peer(
    value: str, header: str | None, peer: str | None
) -> None:
    found = ClientAddress(PROXIES, client_header=header).find(peer, value)
    assert found == peer or (found is not None and packed(found) is not None)
    if peer != "10.0.0.1":
        assert found == peer


@pytest.mark.parametrize(
    ("path", "root", "seen"),
    [
        ("/api", "", "/api"),
        ("/api", None, "/api"),
        ("/v1/api", "/v1", "/api"),
        ("/v1", "/v1", "/"),
        ("/v10/api", "/v1", "/v10/api"),
        ("/api", "/v1", "/api"),
        ("", "", "/"),
        ("*", "", "/*"),
        ("api", "", "/api"),
    ],
)
def test_the_path_is_the_one_below_the_mount_point(path: str, root: str | None, seen: str) -> None:
    assert routed(path, root) == seen
