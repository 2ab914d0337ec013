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
AWAKE = """
import os, sys
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
os.sched_setaffinity(0, {int(sys.argv[1])})
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""


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
    """Start servers that keep to one core, and keep the generator, in this process, to the others.

    Left alone, the system at times puts both on one, and then each waits for the other. And a core without
    work sleeps, which on a virtual machine means that it is given away: to wake up takes as long as the host
    pleases, up to milliseconds. So each core is kept awake, by a process that runs when nothing else would.
    """
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not let a process choose its core")
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("needs one core for the generator and one for the server")
    idle = [subprocess.Popen([sys.executable, "-c", AWAKE, str(core)]) for core in cores]
    os.sched_setaffinity(0, cores - {max(cores)})
    try:
        with serving(max(cores)) as start:
            yield start
    finally:
        os.sched_setaffinity(0, cores)
        for process in idle:
            process.kill()
            process.wait(10)


@pytest.fixture(scope="module")
def serve_module() -> Iterator[Serve]:
    """Start servers that end with the module."""
    with serving() as start:
        yield start
