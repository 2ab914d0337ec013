from __future__ import annotations

import pytest

from sentinel.errors import ConfigurationError, SentinelError, TargetError
from sentinel.target import AppTarget, HttpTarget, parse_target


@pytest.mark.parametrize(
    ("text", "target", "authority"),
    [
        ("http://127.0.0.1:8000", HttpTarget("127.0.0.1", 8000), "127.0.0.1:8000"),
        ("http://127.9.9.9/", HttpTarget("127.9.9.9", 80), "127.9.9.9"),
        ("http://[::1]:81", HttpTarget("::1", 81), "[::1]:81"),
        ("https://127.0.0.1", HttpTarget("127.0.0.1", 443, tls=True), "127.0.0.1"),
        ("http://localhost:5", HttpTarget("localhost", 5), "localhost:5"),
        ("unix:/run/app.sock", HttpTarget("localhost", 80, socket_path="/run/app.sock"), "localhost"),
    ],
)
def test_addresses_on_this_machine_are_targets(text: str, target: HttpTarget, authority: str) -> None:
    found = parse_target(text)
    assert found == target
    assert isinstance(found, HttpTarget) and found.authority == authority


def test_an_application_is_named_by_module_and_attribute() -> None:
    assert parse_target("pkg.mod:make.app") == AppTarget("pkg.mod", "make.app")


@pytest.mark.parametrize("text", ["http://192.0.2.1", "http://10.0.0.1:8000", "http://[2001:db8::1]"])
def test_other_machines_are_refused_unless_allowed_by_name(text: str) -> None:
    with pytest.raises(TargetError, match="is not this machine; if you may load it, allow it by name"):
        parse_target(text)
    host = text.removeprefix("http://").strip("[]").removesuffix(":8000")
    allowed = parse_target(text, allow=[host])
    assert isinstance(allowed, HttpTarget) and allowed.host == host


@pytest.mark.parametrize(
    "text",
    ["", "ftp://127.0.0.1", "127.0.0.1:8000", "http://", "http://127.0.0.1:99999", "http://127.0.0.1/a",
     "http://u@127.0.0.1", "unix:relative", "http://127.0.0.1?x=1"],
)  # fmt: skip
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="target is"):
        parse_target(text)


def test_a_name_without_an_address_is_refused() -> None:
    with pytest.raises(SentinelError, match=r"target nowhere\.invalid has no address"):
        parse_target("http://nowhere.invalid")
