"""Servers for the tests: real processes on ports of their own, ended by process when the test is over."""

from __future__ import annotations

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
def serving() -> Iterator[Serve]:
    """Start this folder's server scripts; give their addresses, read from the processes themselves."""
    running: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: str) -> HttpTarget:
        process = subprocess.Popen(
            [sys.executable, str(HERE / script), *arguments], stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        return HttpTarget("127.0.0.1", int(process.stdout.readline()))

    yield start
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


@pytest.fixture(scope="module")
def serve_module() -> Iterator[Serve]:
    """Start servers that end with the module."""
    with serving() as start:
        yield start
