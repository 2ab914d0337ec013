"""The line of every second says what is sent, also where nothing is answered yet."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sentinel.commands.progress import whole_parts

from .scenarios import written

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


def test_a_narrow_live_line_leaves_whole_parts_out_rather_than_cut_a_figure() -> None:
    told = "peak: 1,000 sent, 998 answered, 0 failed, 12 refused"
    for room in range(len(told) + 5):
        shown = whole_parts(told, room)
        assert len(shown) <= room and (f"{told}, ").startswith(f"{shown}, " if shown else "")
