"""The demo, as a user runs it: real servers, real sockets, and an exit code that means something."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from threshold.demo.callers import Tally
from threshold.demo.fates import judge
from threshold.presets import default_policy

COMMAND = [sys.executable, "-m", "threshold.cli", "demo"]


@pytest.fixture(scope="module")
def report(whole_demo: subprocess.Popen[str]) -> dict[str, object]:
    out, err = whole_demo.communicate(timeout=120)
    assert whole_demo.returncode == 0, out + err
    data = json.loads(out)
    assert isinstance(data, dict)
    return data


def callers(report: dict[str, object]) -> dict[str, dict[str, object]]:
    rows = report["callers"]
    assert isinstance(rows, list)
    return {row["name"]: row for row in rows}


def test_every_caller_meets_the_fate_the_policy_prescribes(report: dict[str, object]) -> None:
    fates = report["fates"]
    assert isinstance(fates, list)
    assert len(fates) >= 14
    assert all(fate["met"] for fate in fates), fates
    assert report["met"] is True


def test_the_abuser_climbs_the_whole_ladder_and_the_reader_never_notices(report: dict[str, object]) -> None:
    rows = callers(report)
    abuser, reader = rows["abuser"], rows["reader"]
    assert abuser["warned"] == 2
    assert all(
        isinstance(abuser[name], int) and abuser[name] > 0 for name in ("cooled_down", "delayed", "banned")
    )
    assert reader["allowed"] == reader["requests"]
    assert reader["refused"] == {}


def test_the_tenant_over_its_tier_is_held_by_the_tenant_layer_alone(report: dict[str, object]) -> None:
    refused = callers(report)["tenant over its tier"]["refused"]
    assert isinstance(refused, dict)
    assert set(refused) == {"tenant"}


def test_the_overhead_is_measured_and_within_the_budget(report: dict[str, object]) -> None:
    overhead = report["overhead"]
    assert isinstance(overhead, dict)
    assert overhead["pairs"] == 200
    assert overhead["low_us"] <= overhead["added_us"] <= overhead["high_us"] <= 5_000


def test_a_caller_who_met_another_fate_is_judged_so() -> None:
    policy = default_policy(30)
    spared = {
        name: Tally(name)
        for name in ("reader", "bursty client", "tenant over its tier", "path scanner", "abuser")
    }
    spared["reader"].requests = 10
    spared["reader"].allowed = 9
    spared["abuser"].errors = 1
    missed = {fate.prescribed for fate in judge(policy, spared) if not fate.met}
    assert {"every request allowed", "2 warnings", "banned", "no server error"} <= missed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda one: one.name)
def test_serving_keeps_the_blog_up_until_it_is_told_to_end(number: signal.Signals) -> None:
    server = subprocess.Popen(
        [*COMMAND, "--serve"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )
    try:
        assert server.stdout is not None
        told = b""
        while b"Ctrl-C" not in told:
            line = server.stdout.readline()
            assert line, told
            told += line
        found = re.search(rb"http://127\.0\.0\.1:(\d+)", told)
        assert found is not None
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=10)
        connection.request("GET", "/blog", headers={"X-Tenant": "clover-corner"})
        response = connection.getresponse()
        assert response.status == 200
        assert response.getheader("ratelimit") is not None
        connection.close()
    finally:
        server.send_signal(number)
        rest = server.communicate(timeout=15)[0]  # ends only when the server's own processes have
    if number is not signal.SIGKILL:
        assert server.returncode == 0
        assert b"ended" in rest
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(found[1])), timeout=5)
