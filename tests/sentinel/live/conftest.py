"""Servers for the tests: real processes on ports of their own, ended by process when the test is over."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sentinel.target import HttpTarget

HERE = Path(__file__).parent
Serve = Callable[..., HttpTarget]


@contextmanager
def serving(core: int | None = None) -> Iterator[Serve]:
    """Start this folder's server scripts; give their addresses, read from the processes themselves.

    core: the one that they are to keep to.
    """
    running: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: str) -> HttpTarget:
        process = subprocess.Popen(
            [sys.executable, str(HERE / script), *arguments], stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        assert process.stdout is not None
        told = process.stdout.readline().strip()
        if told.isdigit():
            return HttpTarget("127.0.0.1", int(told))
        return HttpTarget("localhost", 80, socket_path=told)

    try:
        yield start
    finally:
        for process in running:
            process.terminate()
            process.wait(10)
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that end with the test."""
    with serving() as start:
        yield start


@pytest.fixture
def serve_apart() -> Iterator[Serve]:
    """Start servers that keep to one core; there is another for the generator.

    Left alone, the system at times puts both on one, and then each waits for the other. The generator is left
    free: its loop is not to wait for its own recorder either.
    """
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not let a process choose its core")
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("needs one core for the generator and one for the server")
    with serving(max(cores)) as start:
        yield start


@pytest.fixture(scope="module")
def serve_module() -> Iterator[Serve]:
    """Start servers that end with the module."""
    with serving() as start:
        yield start
