"""The line of every second says what is sent, also where nothing is answered yet."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from sentinel.commands.progress import Progress, whole_parts
from sentinel.histogram import Histogram
from sentinel.recorder import SecondReport
from sentinel.run import Tick
from sentinel.scenario_file import parse_scenario

from .scenarios import SCENARIO, written

SLOW = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("nothing to start")
    await asyncio.sleep(1.5)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
"""


def test_what_is_sent_is_told_in_the_second_in_which_it_is_sent(
    sentinel: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "late_app.py").write_text(SLOW)
    said = sentinel("run", written(tmp_path), "--target", "late_app:app", "--no-save")
    told = said.out + said.err
    (first,) = re.findall(r"^ +1 s  steady: (\d+) sent, 0 answered", told, re.MULTILINE)
    assert 50 < int(first) <= 100, told
    assert sum(map(int, re.findall(r"(\d+) sent, ", told))) == 100, told


def test_no_line_tells_of_more_failures_than_answers() -> None:
    """The loop tells of a second up to a tenth of one after its end; what came by then is all told."""
    told = io.StringIO()
    progress = Progress(Console(file=told, width=200), parse_scenario(SCENARIO))
    for second, done, failed, under_way in ((0, (50, 5), 55, 0), (1, (50, 50), 45, 2)):
        times = Histogram([1_000_000] * failed)
        tick = Tick(second, "blog-list", "page", "error", times, times)
        sent = (50, 50)[: second + 1]
        progress.second(
            SecondReport(second, (tick,), {}, sent, sent, done, 0.1, 0.1, 1.0, 0.0, {}, under_way)
        )
    numbers = re.findall(r"(\d+) sent, (\d+) answered, (\d+) failed", told.getvalue())
    assert numbers == [("55", "55", "55"), ("47", "45", "45")]


def test_a_narrow_live_line_leaves_whole_parts_out_rather_than_cut_a_figure() -> None:
    told = "peak: 1,000 sent, 998 answered, 0 failed, 12 refused"
    for room in range(len(told) + 5):
        shown = whole_parts(told, room)
        assert len(shown) <= room and (f"{told}, ").startswith(f"{shown}, " if shown else "")
