"""Mistakes in a policy file: each is told with its place, its key, its value and the remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from threshold import ConfigurationError, Policy, TokenBucket
from threshold.config import parse_policy, read_policy


def refusal(text: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(text, "threshold.toml")
    assert str(caught.value).startswith("threshold.toml: ")
    return caught.value


@pytest.mark.parametrize(
    ("text", "key", "value", "remedy"),
    [
        ('usr = "1/s"', "usr", "1/s", 'did you mean "user"?'),
        ("zebra = 1", "zebra", 1, "unknown key: give one of"),
        ('user = "100/parsec"', "user", "100/parsec", "no unit of time"),
        ("user = 5", "user", 5, "write a limit as"),
        ("user = 2020-01-01", "user", None, "write a limit as"),
        ("user = false", "user", False, "drops what a preset brings"),
        ('user = { raet = "1/s", burst = 1 }', "user.raet", "1/s", 'did you mean "rate"?'),
        ('user = { raet = "1/s" }', "user.raet", "1/s", 'did you mean "rate"?'),
        ("user = { burst = 1 }", "user", {"burst": 1}, "there is no rate"),
        ('user = { rate = "1/s", burst = "2" }', "user.burst", "2", "whole number"),
        ('user = { rate = "1/s", burst = true }', "user.burst", True, "whole number"),
        ('user = { rate = "1/s", burst = 0 }', "user.burst", 0, "1 to"),
        ("user = { rate = 5 }", "user.rate", 5, "text in quotes"),
        ('user = { rate = "1/s", precision = 60 }', "user.precision", 60, "sliding-window"),
        ('user = { rate = "1/s", algorithm = "sliding" }', "user.algorithm", "sliding", "sliding-window"),
        (
            'user = { rate = "1/s", algorithm = "sliding-window", burst = 2 }',
            "user.burst",
            2,
            "has no burst",
        ),
        (
            'user = { rate = "1/s", algorithm = "sliding-window", precision = 1 }',
            "user.precision",
            1,
            "2 to 360",
        ),
        ('user = { rate = "1/s", per = 5 }', "user.per", 5, "says it already"),
        ("user = { limit = 5, per = nan }", "user.per", None, "from 1 ms to 10 years"),
        (f"user = {{ limit = 5, per = '{'9' * 5000} s' }}", "user.per", "9" * 5000 + " s", "5 minutes"),
        (f"user = {{ limit = 5, per = 0x{'f' * 5000} }}", "user.per", None, "1 ms to 10 years"),
        (f"user = {{ limit = 0x{'f' * 5000}, per = 5 }}", "user.limit", None, "0 to"),
        (f"ladder.rungs = [{{ban = '{'9' * 5000} s'}}]", "ladder.rungs.1.ban", "9" * 5000 + " s", "24 h"),
        ("user = '1 per 100 years'", "user", "1 per 100 years", "1 ms to 10 years"),
        ("user = { rate = '10,00/min' }", "user.rate", "10,00/min", "100/minute"),
        ("endpoints.'GET /caf%C3%A9' = '1/s'", 'endpoints."GET /caf%C3%A9"', "1/s", 'write "GET /café"'),
        ('endpoints."POST posts" = "1/s"', 'endpoints."POST posts"', "1/s", "patterns look like"),
        ('endpoints."POST /p}" = "1/s"', 'endpoints."POST /p}"', "1/s", "no segment"),
        ('endpoints."/a\\u0000b" = "1/s"', 'endpoints."/a\0b"', "1/s", "write"),
        ('endpoints = "1/s"', "endpoints", "1/s", "[endpoints]"),
        ('[endpoints]\n"/a" = "1/s"\n"/a/" = "1/s"', 'endpoints."/a/"', "1/s", "drop one"),
        (
            'preset = "default"\nuser."PUT /api/posts/{id}" = "1/s"',
            'user."PUT /api/posts/{id}"',
            "1/s",
            "to replace a pattern of the preset",
        ),
        ('[user]\ndefault = "1/s"\ndry_run = true', "user.dry_run", True, "above the first [table]"),
        ('[tenant]\ntiers.free = "1/s"', "tenant.default", None, "free"),
        ('[tenant]\ndefault = "x"\ntiers.free = "1/s"', "tenant.default", "x", "free"),
        ('[tenant]\ndefault = "free"', "tenant.tiers", {}, "requests"),
        ('[tenant]\nfree = "1/s"', "tenant.free", "1/s", "[tenant.tiers.free]"),
        (
            '[tenant]\ndefault = "a"\ntiers.a = { writes = "1/s" }',
            "tenant.tiers.a",
            {"writes": "1/s"},
            "requests",
        ),
        (
            '[tenant]\ndefault = "a"\ntiers.a = { reads = "1/s" }',
            "tenant.tiers.a.reads",
            "1/s",
            "requests",
        ),
        ("ladder = true", "ladder", True, '"default"'),
        ("ladder.decay = 5", "ladder.rungs", None, "[[ladder.rungs]]"),
        ("ladder.rungs = []", "ladder.rungs", (), "1 to 100"),
        ("ladder.rungs = [5]", "ladder.rungs", 5, "tables"),
        ("ladder.rungs = [{}, {cooldwn = 1}]", "ladder.rungs.2.cooldwn", 1, "cooldown"),
        ("ladder.rungs = [{cooldown = '1 fortnight'}]", "ladder.rungs.1.cooldown", "1 fortnight", "24 h"),
        ("ladder.rungs = [{cooldown = -1}]", "ladder.rungs.1.cooldown", -1, "0 to"),
        ("ladder.rungs = [{ban = 1, cooldown = 1}]", "ladder.rungs.1.ban", 1, "not both"),
        ("ladder.rungs = [{forgive = 1}]", "ladder.rungs.1.forgive", 1, "true or false"),
        ("ladder = {rungs = [{}], delay = [3, 1]}", "ladder.delay", (3, 1), "shortest, longest"),
        ("ladder = {rungs = [{}], delay = 3}", "ladder.delay", 3, "[shortest, longest]"),
        ("ladder = {rungs = [{}], decay = 0.5}", "ladder.decay", 0.5, "at least one second"),
        ('preset = "defaults"', "preset", "defaults", 'did you mean "default"?'),
        ('headers = "iett"', "headers", "iett", 'did you mean "ietf"?'),
        ("dry_run = 1", "dry_run", 1, "true or false"),
        ("name = 1", "name", 1, "text"),
        ('name = ""', "name", "", "non-empty"),
        ('allow = "10.0.0.0/8"', "allow", "10.0.0.0/8", "list"),
        ('allow = ["10.0.0.1/8"]', "allow", "10.0.0.1/8", "host bits zero"),
        ("allow_users = [5]", "allow_users", 5, "texts"),
        ('ai_prefixes = ["ai"]', "ai_prefixes", "ai", 'start with "/"'),
        ('fail_closed = ["auth"]', "fail_closed", "auth", "write"),
        ('missing_address = "skp"', "missing_address", "skp", 'did you mean "skip"?'),
        ('on_store_error = "dney"', "on_store_error", "dney", 'did you mean "deny"?'),
        ('on_store_error.usr = "deny"', "on_store_error.usr", "deny", 'did you mean "user"?'),
        ('on_store_error.user = "no"', "on_store_error.user", "no", "allow"),
    ],
)
def test_an_error_names_file_key_value_and_remedy(text: str, key: str, value: object, remedy: str) -> None:
    error = refusal(text)
    assert error.field == key
    if value is not None:
        assert error.value == value
    assert remedy in error.remedy
    assert key in str(error)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("user = ", "line 1, column 8"),
        ('name = "a"\nuser = "1/s" "', "line 2, column 14"),
        ("x = 1\nx = 2", "line 2, column 6"),
        ('name = """\nabc', "line 2, column 4"),
        ("user = " + "9" * 5000, "line 1, column"),
        ("user = " + "[" * 5000, "line 1, column"),
    ],
)
def test_broken_toml_is_placed_by_line_and_column(text: str, place: str) -> None:
    error = refusal(text)
    assert error.field.startswith(place)
    assert len(str(error)) < 400


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "no.toml"
    with pytest.raises(ConfigurationError, match=re.escape(str(missing))):
        read_policy(missing)
    with pytest.raises(ConfigurationError, match="readable TOML file"):
        read_policy(tmp_path)
    with pytest.raises(ConfigurationError, match="null byte"):
        read_policy("a\0b.toml")
    latin = tmp_path / "latin.toml"
    latin.write_bytes('name = "é"'.encode("latin-1"))
    with pytest.raises(
        ConfigurationError, match=r"latin.toml: byte 8: 233 cannot work; save the file as UTF-8"
    ):
        read_policy(latin)


@pytest.mark.parametrize("path", [None, 5, b"threshold.toml", ["threshold.toml"]])
def test_what_is_no_path_is_refused_by_name(path: str) -> None:
    with pytest.raises(ConfigurationError, match="readable TOML file") as caught:
        Policy.from_toml(path)
    assert (caught.value.field, caught.value.value) == ("policy file", path)


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "threshold.toml"
    path.write_bytes(b'\xef\xbb\xbfuser = "1/minute"')
    assert read_policy(str(path)).limits == [TokenBucket("1/minute")]
