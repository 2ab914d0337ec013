from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sentinel.target import HttpTarget
from sentinel.target_processes import TargetMeter, listeners

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a socket")

# A listening parent and a child of it without the socket; told so on stdin, the child computes for a while.
SERVER = """
import os, socket, subprocess, sys
listening = socket.socket(socket.AF_UNIX if sys.argv[1:] else socket.AF_INET)
listening.bind(sys.argv[1] if sys.argv[1:] else ("127.0.0.1", 0))
listening.listen()
child = subprocess.Popen([sys.executable, "-c", '''
import sys, time
for line in sys.stdin:
    end = time.process_time() + float(line)
    while time.process_time() < end:
        pass
    print(time.process_time(), flush=True)
'''], stdin=subprocess.PIPE, text=True)
print(0 if sys.argv[1:] else listening.getsockname()[1], flush=True)
for line in sys.stdin:
    child.stdin.write(line)
    child.stdin.flush()
child.stdin.close()
child.wait()
"""


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def compute(process: subprocess.Popen[str], seconds: float) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{seconds}\n")
    process.stdin.flush()
    process.stdout.readline()


def test_who_listens_is_found_by_port_and_by_path(tmp_path: Path) -> None:
    with serving() as (process, port):
        assert listeners(HttpTarget("127.0.0.1", port)) == {process.pid}
        assert listeners(HttpTarget("localhost", port)) == {process.pid}
        assert listeners(HttpTarget("192.0.2.1", port)) == set(), "somebody else's port of that number"
        assert listeners(HttpTarget("example.com", port)) == set()
    path = str(tmp_path / "a socket")
    with serving(path) as (process, _):
        assert listeners(HttpTarget("localhost", 80, socket_path=path)) == {process.pid}
        assert listeners(HttpTarget("localhost", 80, socket_path=path + "x")) == set()


def test_the_time_of_a_worker_counts_and_nobody_elses_does() -> None:
    with serving() as (process, port):
        compute(process, 0.0)
        meter = TargetMeter.of(HttpTarget("127.0.0.1", port))
        assert meter is not None
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass
        idle = meter.use()
        compute(process, 0.3)
        busy = meter.use()
    assert idle.cores < 0.2
    assert busy.cores > 0.2 and busy.busiest == pytest.approx(busy.cores, abs=0.1)


def test_a_server_in_this_process_or_none_at_all_is_not_measured(dead: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert listeners(HttpTarget("127.0.0.1", port)) == {os.getpid()}
        assert TargetMeter.of(HttpTarget("127.0.0.1", port)) is None
    host, nobodys = dead.split(":")
    assert TargetMeter.of(HttpTarget(host, int(nobodys))) is None


def test_a_target_that_has_ended_uses_nothing() -> None:
    with serving() as (_, port):
        meter = TargetMeter.of(HttpTarget("127.0.0.1", port))
    assert meter is not None and meter.use() == (0.0, 0.0)
