"""`sentinel run` from the outside: files, exit statuses, and Ctrl-C.

The runs that end by themselves all begin before the first test, each in a process and a folder of its own:
they wait most of the time. The processes are forks of this one, which has imported everything already.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
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

from .scenarios import SCENARIO, written

FORK = multiprocessing.get_context("fork")


Sentinel = Callable[..., Any]


Start = Callable[..., Any]


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
    "over the limit": (ONE_USER.replace("rate = 100", "rate = 160"), [*EXCESS, "--json", "report.json"]),
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
    lines = re.findall(r"^ +(\d+) s  steady: (\d+) sent, \d+ answered, 0 failed", said.out, re.MULTILINE)
    assert [int(second) for second, _ in lines] == [1, 2]
    # A busy machine may tell of a second a little later than it ended.
    assert all(int(sent) for _, sent in lines) and sum(int(sent) for _, sent in lines) <= 200
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
    # 160 unless this machine is too busy to send them.
    sent = json.loads((said.folder / "report.json").read_text())["total"]["requests"]
    assert said.status == 2 and f"{sent - 100} proven" in said.out, said.out + said.err
    said = ended("at the limit")
    words = " ".join(said.out.split())
    assert said.status == 2 and "could not be judged: excess = 0" in words, said.out + said.err
    cleared = "nobody is cleared by a server without a limit"
    assert re.search(r"none of the \d+ requests was refused", words), cleared


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


THIEF = """
import pathlib
async def app(scope, receive, send):
    if scope["type"] == "http":
        for file in pathlib.Path.cwd().glob("history.db*"):
            file.unlink(missing_ok=True)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
"""


@pytest.mark.parametrize(
    ("check", "status", "verdict"), [("max < 9 s", 6, "PASSED"), ("max < 1us", 2, "FAILED")]
)
def test_a_history_that_is_gone_at_the_end_costs_neither_report_nor_verdict(
    sentinel: Sentinel, tmp_path: Path, check: str, status: int, verdict: str
) -> None:
    (tmp_path / "thief.py").write_text(THIEF)
    text = SCENARIO.replace('"p95 < 9 s"', f'"{check}"').replace("rate = 100", "rate = 20")
    said = sentinel("run", written(tmp_path, text), "--target", "thief:app", "--json", "r.json")
    # 4, VOID: this machine was too busy to send in time, which goes before everything.
    assert (said.status, verdict in said.out) in ((status, True), (4, False)), said.out + said.err
    assert json.loads((tmp_path / "r.json").read_text())["total"]["requests"] == 20
    assert "is not kept as it ended: history " in said.err and "history.db cannot be used" in said.err
    assert "not there any more" in said.err and not (tmp_path / "history.db").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_report_that_finds_no_room_is_named_and_the_others_are_written(
    sentinel: Sentinel, tmp_path: Path
) -> None:
    text = SCENARIO.replace("rate = 100", "rate = 20")
    words = ["--json", "/dev/full", "--html", "r.html", "--check", "max < 1us"]
    said = sentinel("run", written(tmp_path, text), "--target", "threshold.demo.blog:bare", *words)
    assert said.status in (2, 4), said.err
    assert said.err == "sentinel: /dev/full could not be written: No space left on device\n"
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    said = sentinel("report", "last", "--format", "json", "--output", "/dev/full")
    assert said.status == 6 and "/dev/full could not be written" in said.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_history_that_finds_no_room_is_named_before_the_first_request(
    sentinel: Sentinel, tmp_path: Path
) -> None:
    words = ["--target", "threshold.demo.blog:bare", "--db", "/dev/full"]
    said = sentinel("run", written(tmp_path), *words)
    assert said.status == 1 and "history /dev/full cannot be used: " in said.err and not said.out


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


def test_help_and_version_are_there(sentinel: Sentinel) -> None:
    assert sentinel("--help").status == 0
    assert "run" in sentinel("--help").out
    assert sentinel("--version").out.startswith("sentinel, version ")
    assert sentinel("scenarios").status == 0
    assert "launch-day" in sentinel("scenarios").out
