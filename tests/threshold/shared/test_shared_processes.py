"""Real processes that start, stop, fork and die: no window ever admits more than its limit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from crowd import EVENT, KEYS, RULES, UNAVAILABLE

from threshold import SlidingWindow, TokenBucket
from threshold.testing import worst_window

_PARTS = Path(__file__).parent / "parts"


def _run(program: str, *arguments: object, timeout: float) -> dict[str, object]:
    command = [sys.executable, str(_PARTS / program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report: dict[str, object] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.soak)])
def test_eight_processes_that_come_and_go_never_exceed_a_limit(
    name: str, seconds: int, tmp_path: Path
) -> None:
    report = _run("crowd.py", name, seconds, 7, tmp_path, timeout=seconds * 3 + 30)
    events: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    logs = list(tmp_path.iterdir())
    for log in logs:
        data = log.read_bytes()
        for number, key, at, cost in EVENT.iter_unpack(data[: len(data) // EVENT.size * EVENT.size]):
            assert number != UNAVAILABLE, "a process waited for the lock in vain"
            events[number, key].append((at, cost))
    assert len(events) == len(RULES) * KEYS
    for (number, key), admitted in events.items():
        limit = RULES[number].limit
        span = (max(at for at, _ in admitted) - min(at for at, _ in admitted)) / 1_000_000
        total = sum(cost for _, cost in admitted)
        assert span > seconds * 0.5
        if isinstance(limit, SlidingWindow):
            worst = worst_window(admitted, limit.window_us)
            assert limit.limit * 0.5 < worst <= limit.limit, (number, key, worst)
        else:
            assert isinstance(limit, TokenBucket)
            for micros in (1, 10_000, 100_000, 1_000_000, 2_500_000):
                most = limit.capacity + limit.rate.limit * micros / limit.rate.period_us
                assert worst_window(admitted, micros) <= most, (number, key, micros)
        assert total > span * 100, "the crowd got something, so the limits were really met"
    assert report["failed"] == 0 and report["damaged"] == 0, report
    assert all(int(str(report[what])) >= seconds for what in ("killed", "stopped", "forked")), report
    assert len(logs) >= int(str(report["started"])) * 0.5


@pytest.mark.parametrize("kills", [300, pytest.param(5_000, marks=pytest.mark.soak)])
def test_kills_at_any_instant_leave_a_file_that_adds_up(name: str, kills: int) -> None:
    report = _run("kill_campaign.py", name, kills, 3, timeout=kills * 0.2 + 30)
    assert report["found"] == []
    assert report["kills"] == kills and report["damaged"] == 0
    assert int(str(report["charges"])) > kills * 10 and int(str(report["bans"])) == 60, report
    if kills >= 5_000:  # few of a few hundred do; what is left behind then has tests of its own
        assert int(str(report["recovered"])) > 0, "some of the victims died in the middle of a commit"
