"""Several worker processes behind one socket: what they share is one limit, what they do not is many."""

from __future__ import annotations

import asyncio

import pytest

from threshold.demo.crowd import Audit, audit
from threshold.demo.run import PROTECTED
from threshold.demo.server import Server
from threshold.demo.settings import Settings, stage
from threshold.presets import default_policy

PACE = 30.0


def crowd(store: str, workers: int) -> Audit:
    with (
        stage(Settings(PACE, store)) as ready,
        Server(PROTECTED, ready.environment(), workers=workers) as server,
    ):
        return asyncio.run(audit(server.url, default_policy(PACE), store, workers))


@pytest.mark.parametrize("store", ["shared", "redis"])
def test_three_workers_admit_what_one_would(store: str) -> None:
    seen = crowd(store, workers=3)
    assert (seen.admitted, seen.limit) == (10, 10)
    assert seen.held


def test_a_store_per_process_admits_more_and_is_found_out() -> None:
    seen = crowd("memory", workers=3)
    assert seen.admitted > seen.limit
    assert not seen.held
