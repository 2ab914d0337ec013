"""history, baseline, compare, report and merge: what was kept, held against what was kept before."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sentinel.run import RunRecord
from sentinel.store import RunStore
from sentinel.verdict import conclude

Sentinel = Callable[..., Any]
Simulate = Callable[..., RunRecord]


@pytest.fixture
def keep(tmp_path: Path, simulate: Simulate) -> Callable[..., str]:
    """Keep a run of the same plan with a service time of its own."""
    count = 0

    def kept(service_ms: float, **changes: Any) -> str:
        nonlocal count
        count += 1
        record = simulate([200.0] * 3, service_ms=service_ms, seed=count, run_id=f"r{count:03}")
        at = f"2026-01-02T03:{count:02}:00+00:00"
        record = replace(record, started_at=at, **changes)
        with RunStore(tmp_path / "history.db") as store:
            store.save(record)
            store.flush()
            verdict = conclude(record)
            store.save_verdict(record.id, verdict.exit_code, verdict.sentence)
        return record.id

    return kept


def test_the_history_lists_what_was_kept_newest_first(sentinel: Sentinel, keep: Callable[..., str]) -> None:
    assert "no runs yet" in sentinel("history").out
    for _ in range(3):
        keep(5.0)
    out = sentinel("history", "--limit", "2").out
    assert out.index("r003") < out.index("r002") and "r001" not in out


def test_a_regression_has_an_exit_status_of_its_own(sentinel: Sentinel, keep: Callable[..., str]) -> None:
    for _ in range(21):
        keep(5.0)
    said = sentinel("compare", "last")
    assert said.status == 0 and "ok: no worse than the 20 comparable runs" in said.out
    keep(9.0)
    said = sentinel("compare", "last")
    assert said.status == 0 and "stands out, run again at once" in " ".join(said.out.split())
    for _ in range(4):
        keep(9.0)
    said = sentinel("compare", "last", "--junit", "c.xml", "--md", "c.md")
    assert said.status == 3 and "regression: " in said.out
    assert "is no regression" in Path("c.xml").read_text()
    assert "worse by" in Path("c.md").read_text()


def test_a_run_is_held_against_a_baseline_of_an_earlier_time(
    sentinel: Sentinel, keep: Callable[..., str]
) -> None:
    for _ in range(21):
        keep(5.0)
    assert "baseline spring is run r021" in sentinel("baseline", "save", "spring", "last").out
    for _ in range(25):
        keep(7.0)
    assert sentinel("compare", "last").status == 0
    said = sentinel("compare", "last", "--baseline", "spring")
    assert said.status == 3, said.out
    assert "spring  r021" in sentinel("baseline", "list").out
    assert "baseline spring: r021" in sentinel("history").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "nope"], "history.db; make a run first"),
        (["compare", "last"], "history.db; make a run first"),
        (["report", "last"], "history.db; make a run first"),
        (["baseline", "list"], "history.db; make a run first"),
        (["history", "--db", "nowhere.db"], "there is no history nowhere.db; make a run first, or name"),
        (["merge", "nope", "nowhere"], "no run in"),
        (["merge", "nope.json", "more.json"], "there is no file nope.json, and no run of that id"),
        (["report", "last", "--format", "pdf"], "'pdf' is not one of"),
    ],
)
def test_what_is_not_there_is_said(sentinel: Sentinel, words: list[str], message: str) -> None:
    said = sentinel(*words)
    assert said.status == 1 and message in " ".join(said.err.split()), said.err
    assert not Path("nowhere.db").exists(), "who only reads makes no history"


def test_void_and_partial_runs_are_no_baselines(sentinel: Sentinel, keep: Callable[..., str]) -> None:
    keep(5.0, void_reasons=("late",))
    said = sentinel("baseline", "save", "bad", "last")
    assert said.status == 1 and "void; a baseline must be complete and not void" in said.err
    said = sentinel("baseline", "save", "last", "r001")
    assert said.status == 1 and "baseline name is 'last'" in said.err
    said = sentinel("compare", "nope")
    assert said.status == 1 and "no run in" in said.err
    said = sentinel("compare", "last")
    assert said.status == 1 and "VOID and compares with nothing" in said.err
    keep(5.0, status="partial")
    said = sentinel("compare", "last")
    assert said.status == 1 and "partial and compares with nothing" in said.err
    assert "PARTIAL, not judged" in sentinel("report", "last").out


def test_a_baseline_that_moves_says_where_it_was(sentinel: Sentinel, keep: Callable[..., str]) -> None:
    keep(5.0)
    sentinel("baseline", "save", "spring", "last")
    assert "no longer" not in sentinel("baseline", "save", "spring", "last").out, "it stays where it is"
    keep(5.0)
    said = sentinel("baseline", "save", "spring", "last").out
    assert "baseline spring is run r002, and no longer r001" in said


def test_a_file_that_is_no_history_is_refused(sentinel: Sentinel, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, " * 100)
    said = sentinel("history", "--db", "notes.txt")
    assert said.status == 1 and "is not a history of runs" in said.err


@pytest.mark.parametrize("version", [0, 2])
def test_somebody_elses_database_is_refused_and_left_as_it_is(
    sentinel: Sentinel, tmp_path: Path, version: int
) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE orders (id)")
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    before = (tmp_path / "shop.db").read_bytes()
    run = ["run", "smoke", "--target", "threshold.demo.blog:bare"]
    for words in (["history"], ["report", "last"], run, ["audit", "--limiter", "memory:", "--limit", "5/s"]):
        said = sentinel(*words, "--db", "shop.db")
        assert said.status == 1 and "shop.db is not a history of runs: it is a database with" in said.err
    assert (tmp_path / "shop.db").read_bytes() == before


@pytest.mark.parametrize(
    ("form", "beginning"), [("html", "<!doctype html>"), ("junit", "<?xml"), ("md", "###"), ("json", "{")]
)
def test_a_kept_run_is_reported_again_in_every_form(
    sentinel: Sentinel, keep: Callable[..., str], form: str, beginning: str
) -> None:
    keep(5.0)
    assert sentinel("report", "last", "--format", form).out.startswith(beginning)
    said = sentinel("report", "r001", "--format", form, "--output", f"deep/r.{form}")
    assert said.status == 0 and Path(f"deep/r.{form}").read_text().startswith(beginning)


def test_a_kept_run_is_shown_again(sentinel: Sentinel, keep: Callable[..., str]) -> None:
    keep(5.0)
    assert "PASSED: no criteria were set" in sentinel("report", "r0").out


# A user whose second session begins before the login of the first is answered logs in once more. Each user's
# sessions are a second apart, so that it makes no difference to what is sent when a server is slow.
MERGED = """
[scenario]
name = "merged"
checks = ["throughput > 35/s", "p95 < 9 s"]
[load]
rate = 20
duration_s = 2
[users]
count = 20
[mix]
blog-list = 20
post-read = 20
comment-write = 60
"""


def test_two_segments_run_by_hand_and_merged_give_the_counts_of_one_run(
    sentinel: Sentinel, start: Callable[..., Any], blog: str, tmp_path: Path
) -> None:
    (tmp_path / "merged.toml").write_text(MERGED)
    words = ["run", "merged.toml", "--target", blog, "--no-save"]
    halves = [
        start(*words, "--segment", f"{index}/2", "--start-at", "+2s", "--record", "-") for index in (0, 1)
    ]
    all_sent = (0, 4)  # VOID where the machine is busy: late, but sent and counted
    assert sentinel(*words, "--record", "whole.json", "--json", "whole-report.json").status in all_sent
    for index, half in enumerate(halves):
        out, err = half.communicate(timeout=30)
        assert half.returncode in all_sent, err
        assert " sent, " in err, "the progress goes to stderr, the record to stdout"
        (tmp_path / f"half-{index}.json").write_text("a line of a log\n" + out)
    said = sentinel("merge", "half-1.json", "half-0.json", "--json", "merged.json", "--record", "m.json")
    assert said.status in all_sent, said.out + said.err
    whole = json.loads((tmp_path / "whole-report.json").read_text())
    merged = json.loads((tmp_path / "merged.json").read_text())
    assert merged["total"]["counts"] == whole["total"]["counts"]
    planned = [report["timeline"]["planned"] for report in (whole, merged)]
    assert sum(planned[0]) == sum(planned[1])
    counts = [
        {(one["application"], one["step"]): one["counts"] for one in report["series"]}
        for report in (whole, merged)
    ]
    assert counts[0] == counts[1]
    assert "merged" in sentinel("history").out
    assert sentinel("merge", "half-1.json", "half-1.json").status == 1
