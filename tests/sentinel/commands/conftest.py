"""The command in this process, and the demo blog as a real server, shared by the tests of the commands."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sentinel.commands import cli
from sentinel.commands.exits import invoke
from threshold.demo.server import Server

Sentinel = Callable[..., "Said"]


@dataclass(frozen=True)
class Said:
    """What a command did."""

    status: int
    out: str
    err: str


@pytest.fixture
def sentinel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sentinel:
    """Run the command with a history of the test's own, in its own folder."""
    monkeypatch.setenv("SENTINEL_DB", str(tmp_path / "history.db"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def run(*words: str) -> Said:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = invoke(cli, words)
        return Said(int(status), out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def blog() -> Iterator[str]:
    """Serve the demo blog without limits."""
    with Server("threshold.demo.blog:bare", {}) as server:
        yield server.url


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the command as a process of its own."""
    running: list[subprocess.Popen[str]] = []

    def begin(*words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "sentinel.cli", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "SENTINEL_DB": str(tmp_path / "history.db"), "COLUMNS": "120"},
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()
