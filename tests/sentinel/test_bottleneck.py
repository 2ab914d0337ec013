"""What a target was like before the load is told by what came before it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sentinel.analysis import analyse
from sentinel.histogram import Histogram
from sentinel.run import RunRecord

RAMP = np.linspace(20, 520, 40).tolist()


def test_seconds_after_the_load_in_which_a_queue_is_still_worked_off_are_not_calm(
    simulate: Callable[..., RunRecord],
) -> None:
    run = simulate([*RAMP, *[100.0] * 40])
    ticks = tuple(
        replace(tick, response=Histogram([6_000_000_000] * tick.count)) if tick.second >= 40 else tick
        for tick in run.ticks
    )
    used = tuple(0.5 if second >= 20 else 0.05 for second in range(run.seconds))
    told = analyse(replace(run, ticks=ticks, others_cpu=used)).bottleneck
    grown = re.search(r"its p95 grew ([\d.]+)-fold", told.statement)
    assert grown is not None and float(grown[1]) > 5, told.statement
    assert told.kind == "server-cpu", "nor is the processor time that the queue took then"
