"""What `sentinel run` refuses, before the first request, and with which words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .scenarios import SCENARIO, written

Sentinel = Callable[..., Any]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["nope"], 1, r"scenario 'nope' is unknown; shipped are: smoke"),
        (["missing.toml"], 1, r"scenario file missing.toml cannot be read"),
        (["smoke", "--scale", "0"], 1, r"0.0 is not in the range 0<x<=1"),
        (["smoke", "--scale", "2"], 1, r"2.0 is not in the range 0<x<=1"),
        (["smoke", "--duration", "0s"], 1, r"'--duration': 0s is out of range; .* between 1 s and 3,600 s"),
        (["smoke", "--duration", "2h"], 1, r"'--duration': 2h is out of range; .* between 1 s and 3,600 s"),
        (["smoke", "--duration", "soon"], 1, r"'soon' is no duration; write it like 30s"),
        (["smoke", "--duration", "30"], 1, r"'--duration': 30 has no unit; write 30s for seconds, or ms"),
        (["smoke", "--start-at", "+5"], 1, r"'--start-at': 5 has no unit; write 5s for seconds"),
        (["smoke", "--burst", "5"], 1, r"burst is for the limit that a run's traffic is audited"),
        (["smoke", "--precision", "5"], 1, r"precision is for the limit"),
        (["smoke", "--algorithm", "token-bucket"], 1, r"algorithm is for the limit"),
        (["smoke", "--limited", "blog-list"], 1, r"limited is for the limit"),
        (["smoke", "--limited-by", "user"], 1, r"limited-by is for the limit"),
        (["smoke", "--rate", "0"], 1, r"'--rate': 0 is out of range; it must be above 0"),
        (["smoke", "--rate", "nan"], 1, r"'--rate': nan is out of range"),
        (["smoke", "--rate", "many"], 1, r"rate is 'many'|rate: 'many'|'many'"),
        (["soak-me", "--profile", "nope"], 1, r"'--profile'.*'nope' is not one of"),
        (["smoke", "--profile", "custom"], 1, r"profile custom needs points; write them in a scenario file"),
        (
            ["smoke", "--profile", "soak", "--rate", "1000"],
            1,
            r"operations is 3600000; it must be between 1 and 1,000,000",
        ),
        (["smoke", "--closed", "--users", "501"], 1, r"users is 501; it must be between 1 and 500"),
        (["smoke", "--users", "5"], 1, r"users is for the closed model; add --closed"),
        (["launch-day", "--closed"], 1, r"concurrency is 1000; it must be between 1 and 500"),
        (["smoke", "--check", "p95 < fast"], 1, r"criterion 'p95 < fast' is not understood"),
        (["smoke", "--check", "p95 < 5 %"], 1, r"criterion 'p95 < 5 %' has the unit '%'"),
        (["smoke", "--check", "excess = 0"], 1, r"excess needs the limit it is about; add --limit"),
        (["smoke", "--check", "nope: p95 < 5ms"], 1, r"about an unknown application; known: post-read"),
        (["smoke", "--limit", "10 per day or so"], 1, r"'--limit'"),
        (["smoke", "--limit", "5/s", "--limited", "blog-list/nope"], 1, r"blog-list has the steps list"),
        (["smoke", "--segment", "4/4"], 1, r"segment index is 4; it must be between 0 and 3"),
        (["smoke", "--segment", "one"], 1, r"segment is 'one'; write it as i/n"),
        (["smoke", "--start-at", "noon"], 1, r"'noon' is no instant"),
        (["smoke", "--start-at", "2026-01-02T03:04:05"], 1, r"names no time zone"),
        (["smoke", "--start-at", "1000"], 1, r"start_at is 1000.0, .* s ago; choose a later instant"),
        (["smoke", "--start-at", "1e400"], 1, r"1e400 is out of range; it must be at most a day ahead"),
        (["smoke", "--start-at", "inf"], 1, r"inf is out of range; it must be at most a day ahead"),
        (["smoke", "--start-at", "nan"], 1, r"nan is out of range; it must be at most a day ahead"),
        (["smoke", "--start-at=-inf"], 1, r"start_at is -inf, inf s ago; choose a later instant"),
        (["smoke", "--start-at", "2999-01-01T00:00:00Z"], 1, r"must be at most a day ahead"),
        (["smoke", "--seed", "-1"], 1, r"-1 is not in the range"),
        (["smoke", "--nope"], 1, r"No such option '--nope'"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_the_field_the_value_and_the_range(
    sentinel: Sentinel, blog: str, words: list[str], status: int, message: str
) -> None:
    said = sentinel("run", "--target", blog, "--no-save", *words)
    assert said.status == status, said.out + said.err
    assert re.search(message, " ".join(said.err.split())), said.err
    assert "Traceback" not in said.err


SPIKE = "rate = 100\nprofile = 'spike'\nmultiplier = 101"


RATE = "rate = 100\nduration_s = 1"


ONE, TWICE = "profile = 'custom'\npoints = [[0, 1]]", "profile = 'custom'\npoints = [[0, 1], [5, 1], [5, 2]]"


OPERATIONS = r"operations is \d+; it must be between 1 and 1,000,000"


CIRCLE = (
    SCENARIO.replace("blog-list = 1", "a = 1")
    + """
[[application]]
name = "a"
requires = ["b"]
step = [{ name = "x", path = "/" }]
[[application]]
name = "b"
requires = ["a"]
step = [{ name = "x", path = "/" }]
"""
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SCENARIO.replace("blog-list = 1", "shop = 1"), r"mix names the unknown application 'shop'; known: "),
        (CIRCLE, r"applications require each other in a circle: a → b → a"),
        (SCENARIO.replace("duration_s = 1", "duration_s = 3601"), r"duration is 3601 s; .* 1 and 3,600 s"),
        (SCENARIO.replace("rate = 100", SPIKE), r"spike multiplier is 101; .* 1 and 100"),
        (SCENARIO.replace("rate = 100", "rate = -1"), r"rate is -1; it must be a finite number .* 0"),
        (SCENARIO.replace("rate = 100", "rate = 2e6"), OPERATIONS),
        (SCENARIO.replace("rate = 100", "rate = 1e308"), r"rate is 1e\+308; .* at most 1,000,000,000 per"),
        (SCENARIO.replace("rate = 100", "rate = 1" + "0" * 400), r"rate is 10+; .* at most 1,000,000,000"),
        (SCENARIO.replace("rate = 100", "rate = 1" + "0" * 5000), r"not valid TOML: "),
        (f"x = {'[' * 5000}", r"not valid TOML: "),
        ("", r"profile sustained needs rate; write it under \[load\]"),
        (SCENARIO.replace(RATE, ONE), r"points is 1; it must be between 2 and 1,000"),
        (SCENARIO.replace(RATE, TWICE), r"points\[2\].second is 5, after 5; seconds must strictly increase"),
        (SCENARIO.replace("name =", "nmae ="), r"scenario has no 'nmae'; it takes name"),
        (SCENARIO + "[spacing]\nkind = 'clumped'\nsize = 2.5", r"clump size is 2.5; it must be a whole"),
        (SCENARIO + '[users]\nheaders = { X = "a\\r\\nb" }', r"users: header 'X': 'a\\r\\nb' cannot be sent"),
        ("[scenario", r"not valid TOML"),
    ],
)  # fmt: skip
def test_a_wrong_scenario_file_is_refused_with_its_name_and_key(
    sentinel: Sentinel, blog: str, tmp_path: Path, text: str, message: str
) -> None:
    said = sentinel("run", written(tmp_path, text), "--target", blog)
    assert said.status == 1 and said.err.startswith("sentinel: readers.toml: "), said.err
    assert re.search(message, " ".join(said.err.split())), said.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--html", "/proc/nope.html"], "/proc/nope.html cannot be written"),
        (["--json", "held/report.json"], "held/report.json cannot be written"),
        (["--record", "/proc/nope.json"], "/proc/nope.json cannot be written"),
        (["--html", "one.txt", "--md", "one.txt"], "one.txt is what --html writes already"),
        (["--html", "one.txt", "--md", "./one.txt"], "one.txt is what --html writes already"),
        (["--html", "-"], "standard output has the report for people"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_the_first_request(
    sentinel: Sentinel, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "held").write_text("a file, no folder")
    said = sentinel("run", written(tmp_path), "--target", "unix:/nobody/listens.sock", *words)
    assert said.status == 1, "5 would mean that the target was tried"
    assert message in " ".join(said.err.split())
    assert not (tmp_path / "one.txt").exists()


def test_a_dead_target_has_a_status_of_its_own(sentinel: Sentinel, dead: str) -> None:
    said = sentinel("run", "smoke", "--target", f"http://{dead}")
    assert said.status == 5 and f"target http://{dead} cannot be reached" in said.err
    assert sentinel("run", "smoke", "--target", "unix:/nowhere/at.all").status == 5
    assert sentinel("run", "smoke", "--target", "no_such_module:app").status == 5
    assert sentinel("run", "smoke", "--target", "http://nowhere.invalid").status == 5


def test_other_peoples_machines_need_to_be_allowed_by_name_and_public_ones_by_flag(
    sentinel: Sentinel,
) -> None:
    said = sentinel("run", "smoke", "--target", "http://192.0.2.1")
    assert said.status == 1 and "allow it by name: --allow-target 192.0.2.1" in said.err
    said = sentinel("run", "smoke", "--target", "http://8.8.8.8", "--allow-target", "8.8.8.8")
    assert said.status == 1 and "public address; if you mean to load it, add --production" in said.err


@pytest.mark.parametrize("target", ["127.0.0.1:8000", "http://127.0.0.1/path", "ftp://127.0.0.1"])
def test_what_is_no_target_is_refused(sentinel: Sentinel, target: str) -> None:
    said = sentinel("run", "smoke", "--target", target)
    assert said.status == 1 and "target is" in said.err


def test_the_help_names_every_kind_of_scenario_and_target(sentinel: Sentinel) -> None:
    said = " ".join(sentinel("run", "--help").out.split())
    assert "a name that ships" in said and "a TOML file, or module:attribute" in said
    assert "module:app (ASGI or WSGI), called in this process" in said
