"""`sentinel run` from the outside: files, exit statuses, Ctrl-C, and every way to be refused.

The runs that end by themselves all begin before the first test, each in a process and a folder of its own:
they wait most of the time. The processes are forks of this one, which has imported everything already.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from sentinel.commands import cli
from sentinel.commands.exits import invoke

FORK = multiprocessing.get_context("fork")
Sentinel = Callable[..., Any]
Start = Callable[..., Any]

# The loose bound on latency allows lag in proportion: a busy machine does not make these runs VOID.
SCENARIO = """
[scenario]
name = "readers"
checks = ["error_rate < 1 %", "p95 < 9 s"]
[load]
rate = 100
duration_s = 1
[mix]
blog-list = 1
"""


ONE_USER = SCENARIO + "[users]\ncount = 1\n"
EXCESS = ["--check", "excess = 0", "--limit", "100/minute", "--algorithm", "sliding-window"]
SLOW_APP = """
import time
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError
    time.sleep(0.02)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})
"""
EVIL_APP = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        raise RuntimeError("gone \\x1b[2J\\x00\\ud800 <b>")
"""
FORMS = ("json", "html", "junit", "md")
RUNS: dict[str, tuple[str, list[str]]] = {
    "every report": (SCENARIO, [word for form in FORMS for word in (f"--{form}", f"out/report.{form}")]),
    "two seconds": (SCENARIO, ["--no-save", "--duration", "2s"]),
    "one more check": (SCENARIO, ["--check", "throughput > 500/s"]),
    "spike": (
        SCENARIO,
        ["--no-save", "--profile", "spike", "--duration", "2s", "--rate", "20/s", "--json", "report.json"],
    ),
    "in this process": (SCENARIO, ["--no-save", "--target", "threshold.demo.blog:bare"]),
    "closed": (SCENARIO, ["--no-save", "--closed", "--users", "3"]),
    "over the limit": (ONE_USER.replace("rate = 100", "rate = 160"), EXCESS),
    "at the limit": (ONE_USER, EXCESS),
    "overloaded": (SCENARIO.replace('"p95 < 9 s"', '"p95 < 5 ms"'), ["--target", "slow_app:app"]),
}


@dataclass(frozen=True)
class Ended:
    """A run that has ended."""

    status: int
    out: str
    err: str
    folder: Path


def go(folder: Path, words: list[str]) -> None:
    """Run the command in a folder that keeps its history and what it says; the target of a process."""
    os.chdir(folder)
    os.environ.update(SENTINEL_DB=str(folder / "history.db"), COLUMNS="120")
    sys.path.insert(0, str(folder))
    with (
        Path("out.txt").open("w") as out,
        Path("err.txt").open("w") as err,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        status = invoke(cli, words)
    sys.exit(int(status))


@pytest.fixture(scope="module", autouse=True)
def ended(blog: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Ended]]:
    """Begin the runs of the table; the function that is returned waits for the end of one."""
    started = {}
    for name, (text, words) in RUNS.items():
        folder = tmp_path_factory.mktemp("run")
        written(folder, text)
        (folder / "slow_app.py").write_text(SLOW_APP)
        command = ["run", "readers.toml", "--target", blog, *words]
        process = FORK.Process(target=go, args=(folder, command))
        process.start()
        started[name] = process, folder

    def wait(name: str) -> Ended:
        process, folder = started[name]
        process.join(60)
        assert process.exitcode is not None, f"{name} still runs after a minute"
        out, err = ((folder / name).read_text() for name in ("out.txt", "err.txt"))
        return Ended(process.exitcode, out, err, folder)

    yield wait
    for process, _ in started.values():
        process.kill()
        process.join()
        process.close()


def written(folder: Path, text: str = SCENARIO, name: str = "readers.toml") -> str:
    (folder / name).write_text(text)
    return name


Waiting = Callable[[str], Ended]


def test_a_run_passes_and_writes_every_report_and_the_history(ended: Waiting) -> None:
    said = ended("every report")
    assert said.status == 0, said.out + said.err
    assert "PASSED" in said.out.splitlines()[-2]
    files = {form: said.folder / f"out/report.{form}" for form in FORMS}
    document = json.loads(files["json"].read_text())
    assert document["total"]["counts"] == {"ok": 100, "denied": 0, "shed": 0, "error": 0}
    suites = ElementTree.parse(files["junit"]).getroot()
    assert suites.get("failures") == "0" and int(suites.get("tests", "0")) >= 2
    assert files["html"].read_text().startswith("<!doctype html>")
    assert "✅ sentinel: readers" in files["md"].read_text()
    with sqlite3.connect(said.folder / "history.db") as history:
        assert history.execute("SELECT name, status, requests FROM runs").fetchall() == [
            ("readers", "complete", 100)
        ]
        assert history.execute("SELECT exit_code FROM verdicts").fetchall() == [(0,)]
    history.close()


def test_a_plain_line_per_second_where_there_is_no_terminal(ended: Waiting) -> None:
    said = ended("two seconds")
    lines = re.findall(r"^ +(\d+) s  steady: (\d+) planned, \d+ answered, 0 failed", said.out, re.MULTILINE)
    assert [int(second) for second, _ in lines] == [1, 2]
    assert [int(planned) for _, planned in lines] == [100, 100]
    assert not (said.folder / "history.db").exists()


def test_a_check_on_the_command_line_that_does_not_hold_fails_the_run(ended: Waiting) -> None:
    said = ended("one more check")
    assert said.status == 2
    assert "FAILED: 1 of 3 criteria do not hold: throughput > 500/s" in " ".join(said.out.split())


def test_profile_duration_and_rate_replace_the_load(ended: Waiting) -> None:
    said = ended("spike")
    assert said.status == 0, said.out + said.err
    document = json.loads((said.folder / "report.json").read_text())
    assert [phase["name"] for phase in document["phases"]] == ["warm-up", "spike", "cool-down"]
    assert document["total"]["requests"] == round(20 * 2 * (0.7 + 10 * 0.3))


def test_an_application_in_this_process_is_a_target(ended: Waiting) -> None:
    said = ended("in this process")
    assert said.status in (0, 4), said.out + said.err  # 4: this process was too busy to send in time
    assert "100" in said.out


def test_the_closed_model_labels_itself(ended: Waiting) -> None:
    said = ended("closed")
    assert said.status == 0, said.out + said.err
    assert "under-reported" in said.out and "closed model" in said.out


def test_requests_over_a_limit_that_were_let_through_are_proven_and_fail_the_run(ended: Waiting) -> None:
    said = ended("over the limit")
    assert said.status == 2 and "60 proven" in said.out, said.out + said.err
    said = ended("at the limit")
    words = " ".join(said.out.split())
    assert said.status == 2 and "could not be judged: excess = 0" in words, said.out + said.err
    assert "none of the 100 requests was refused" in words, "nobody is cleared by a server without a limit"


def test_a_run_whose_generator_could_not_keep_up_is_void_and_says_so(ended: Waiting) -> None:
    said = ended("overloaded")
    assert said.status == 4 and "VOID, this run proves nothing" in " ".join(said.out.split())


def test_ctrl_c_or_a_plain_kill_ends_a_run_cleanly_with_a_partial_report(
    start: Start, blog: str, tmp_path: Path
) -> None:
    words = ["run", "multi-tenant", "--target", blog, "--duration", "60s", "--rate", "90"]
    stopped = {
        number: start(*words, "--json", f"{number.name}.json", "--junit", f"{number.name}.xml")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    for number, process in stopped.items():
        for line in process.stdout:
            if re.match(r" +([2-9]|\d\d) s", line):  # a second that nobody had time to tell of may be missing
                break
        process.send_signal(number)
    for number, process in stopped.items():
        out, err = process.communicate(timeout=20)
        assert process.returncode == 4, out + err
        # On a machine too busy to send in time it is void as well, which goes first; partial it is anyhow.
        said = " ".join(out.split())
        assert "PARTIAL, not judged: the run was stopped after" in said or "VOID, this run proves" in said
        assert '<failure message="the run was stopped' in (tmp_path / f"{number.name}.xml").read_text()
        document = json.loads((tmp_path / f"{number.name}.json").read_text())
        assert document["run"]["status"] == "partial" and document["total"]["requests"] > 40
        counters = document["run"]["counters"]
        assert counters["cleaned"] > 0 and counters["left_behind"] == 0


@pytest.mark.soak
def test_a_killed_run_can_still_be_read_as_far_as_its_last_checkpoint(
    start: Start, sentinel: Sentinel, blog: str, tmp_path: Path
) -> None:
    process = start("run", written(tmp_path), "--target", blog, "--duration", "60s")
    for line in process.stdout:
        if re.match(r" +33 s", line):
            break
    process.kill()
    process.communicate()
    said = sentinel("report", "last", "--format", "json")
    document = json.loads(said.out)
    assert document["run"]["status"] == "partial" and document["run"]["seconds"] == 30
    assert document["total"]["requests"] == 3000


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
        (SCENARIO.replace(RATE, ONE), r"points is 1; it must be between 2 and 1,000"),
        (SCENARIO.replace(RATE, TWICE), r"points\[2\].second is 5, after 5; seconds must strictly increase"),
        (SCENARIO.replace("name =", "nmae ="), r"scenario has no 'nmae'; it takes name"),
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


def test_a_servers_words_cannot_break_or_steer_any_form(sentinel: Sentinel, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(EVIL_APP)
    words = [word for form in FORMS for word in (f"--{form}", f"report.{form}")]
    said = sentinel("run", written(tmp_path), "--target", "evil:app", "--check", "max < 1us", *words)
    assert said.status in (2, 4), said.err
    shown = [said.out, *((tmp_path / f"report.{form}").read_text(encoding="utf-8") for form in FORMS)]
    shown.append(sentinel("report", "last", "--format", "html").out)
    for text in shown:
        assert "\x1b" not in text and "\x00" not in text
    assert "gone \\x1b[2J\\x00\\ud800 <b>" in said.out


def test_a_terminal_that_knows_ascii_only_gets_a_plainer_report(tmp_path: Path) -> None:
    run = [sys.executable, "-m", "sentinel.cli", "run", written(tmp_path)]
    done = subprocess.run(
        [*run, "--target", "threshold.demo.blog:bare", "--no-save"],
        capture_output=True,
        cwd=tmp_path,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "80"},
    )
    text = done.stdout.decode("ascii")
    assert done.returncode in (0, 4) and b"Traceback" not in done.stderr
    assert "* bottleneck:" in text and "planned/s" in text


def test_a_dead_target_has_a_status_of_its_own(sentinel: Sentinel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    said = sentinel("run", "smoke", "--target", f"http://127.0.0.1:{port}")
    assert said.status == 5 and f"target http://127.0.0.1:{port} cannot be reached" in said.err
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


def test_help_and_version_are_there(sentinel: Sentinel) -> None:
    assert sentinel("--help").status == 0
    assert "run" in sentinel("--help").out
    assert sentinel("--version").out.startswith("sentinel, version ")
    assert sentinel("scenarios").status == 0
    assert "launch-day" in sentinel("scenarios").out
