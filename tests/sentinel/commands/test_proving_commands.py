"""`sentinel audit` and `sentinel overhead` from the outside: what they find, keep and say, and signals."""

from __future__ import annotations

import json
import re
import secrets
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from sentinel.writer import make_history

Sentinel = Callable[..., Any]


def test_an_audit_writes_its_result_in_every_form(sentinel: Sentinel) -> None:
    words = ["--duration", "2s", "--json", "a.json", "--junit", "a.xml", "--md", "a.md"]
    said = sentinel("audit", "--limiter", "memory:", "--limit", "500/s", *words)
    assert said.status == 0, said.out + said.err
    document = json.loads(Path("a.json").read_text())
    assert document["state"] == "kept" and document["control_refused"] and document["left_out"]
    assert re.search(r"not tested: .*\d+ steady loads \(needs --duration \d+[sm]\)", document["sentence"])
    cases = ElementTree.parse("a.xml").getroot().findall(".//testcase")
    assert {"positive control", "act steady-105-even"} <= {case.get("name") for case in cases}
    assert document["experiment"]["config"]["promise"]["limit"] == 500
    assert "✅ audit: 500 per 1 s" in Path("a.md").read_text()
    for form in ("json", "junit", "md"):
        kept = sentinel("report", "last", "--format", form).out
        assert kept == Path("a." + form.replace("junit", "xml")).read_text()
    assert "KEPT as far as tested: nothing proven" in sentinel("report", "audit").out
    assert sentinel("report", "last", "--format", "html").out.startswith("<!doctype html>")
    assert re.search(r"audit-\S+ +memory: .* kept +0", sentinel("history").out)
    assert re.search(
        r"left out: .*: with its [\d,]+ requests there are more than the [\d,]+ allowed", said.out
    )


def test_a_result_that_cannot_be_kept_is_reported_all_the_same(sentinel: Sentinel, tmp_path: Path) -> None:
    make_history(tmp_path / "history.db")
    with sqlite3.connect(tmp_path / "history.db") as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON experiments WHEN NEW.status = 'complete'"
            " BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
        )
    connection.close()
    said = sentinel(
        "audit", "--limiter", "memory:", "--limit", "50/s", "--duration", "2s", "--json", "a.json"
    )
    assert said.status == 6 and "disk is full" in said.err and "history.db cannot be used" in said.err
    assert "KEPT" in said.out and json.loads(Path("a.json").read_text())["state"] == "kept"
    assert "running" in sentinel("history").out, "as it began, by a process that lives: this one"


PATHS = """
from threshold import MemoryStore, Policy, TokenBucket
from threshold.asgi import ThresholdMiddleware

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})

policy = Policy(edge=TokenBucket("%s/second", burst=20))
guarded = ThresholdMiddleware(app, policy=policy, store=MemoryStore())

async def moved(scope, receive, send):
    await send({"type": "http.response.start", "status": 301, "headers": []})
    await send({"type": "http.response.body", "body": b""})

guarded_move = ThresholdMiddleware(moved, policy=policy, store=MemoryStore())

async def missing(scope, receive, send):
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})
"""


def test_an_app_in_this_process_is_audited_key_by_key(sentinel: Sentinel, tmp_path: Path) -> None:
    (tmp_path / "audited_app.py").write_text(PATHS % 50)
    words = ["--limit", "50/s", "--burst", "20", "--duration", "3s", "--no-save"]
    said = sentinel("audit", "--target", "audited_app:guarded", *words)
    assert said.status == 0, said.out + said.err
    assert "many-keys" in said.out.split("left out")[0], "every key has a client address of its own"
    said = sentinel(
        "audit", "--target", "audited_app:guarded", "--limit", "40/s", "--burst", "10", *words[4:]
    )
    assert said.status == 2 and "BROKEN" in said.out
    assert "(fails open)" in " ".join(said.out.split()), "what else may have caused it is said"
    assert "no runs yet" in sentinel("history").out


LADDERED = """
from threshold import Ladder, MemoryStore, Policy, Rung, TokenBucket
from threshold.asgi import ThresholdMiddleware

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})

ladder = Ladder([Rung(cooldown=4)])
policy = Policy(user=TokenBucket("50/second", burst=20), ladder=ladder, strike_anonymous=True)
guarded = ThresholdMiddleware(app, policy=policy, store=MemoryStore())

class Forgetful:
    def __init__(self):
        self.plain = ThresholdMiddleware(
            app, policy=Policy(user=TokenBucket("50/second", burst=20)), store=MemoryStore()
        )

    async def __call__(self, scope, receive, send):
        async def announce(message):
            if message.get("status") == 429:
                message = {**message, "headers": [(b"retry-after", b"4")]}
            await send(message)

        await self.plain(scope, receive, announce)

forgetful = Forgetful()
"""


def test_penalties_are_proven_where_asked_about_and_kept_with_the_rest(
    sentinel: Sentinel, tmp_path: Path
) -> None:
    (tmp_path / "laddered_app.py").write_text(LADDERED)
    words = ["--limit", "50/s", "--burst", "20", "--duration", "3s", "--json", "a.json"]
    kept = sentinel("audit", "--target", "laddered_app:guarded", "--penalties", *words)
    assert kept.status == 0, kept.out + kept.err
    document = json.loads(Path("a.json").read_text())
    assert document["experiment"]["config"]["judge_penalties"] is True
    found = {one["proof"]: one for one in document["findings"]}
    assert found["lost-penalty"]["examined"] > 0 and found["lost-penalty"]["proven"] == 0
    assert "wrong-refusal" not in found
    assert "penalties were announced" in " ".join(sentinel("report", "last").out.split())
    cut = sentinel("audit", "--target", "laddered_app:forgetful", "--penalties", *words)
    assert cut.status == 2, cut.out + cut.err
    assert "admissions inside a penalty that was announced" in " ".join(cut.out.split())


def test_an_answer_that_the_limiter_may_not_have_seen_accuses_nobody(
    sentinel: Sentinel, tmp_path: Path
) -> None:
    (tmp_path / "moved_app.py").write_text(PATHS % 50)
    words = ["audit", "--limit", "50/s", "--burst", "20", "--duration", "3s", "--target"]
    said = sentinel(*words, "moved_app:missing")
    assert said.status == 1 and "the target answers 404, which does not tell" in said.err
    said = sentinel(*words, "moved_app:guarded_move")
    assert said.status == 1 and "say which statuses do: --admitted 301" in said.err
    assert "no runs yet" in sentinel("history").out
    said = sentinel(*words, "moved_app:guarded_move", "--admitted", "301")
    assert said.status == 0, said.out + said.err


@pytest.mark.skipif(sys.platform != "linux", reason="shared memory is a folder of its own on Linux")
def test_shared_memory_that_an_audit_made_is_gone_afterwards_and_what_was_there_stays(
    sentinel: Sentinel,
) -> None:
    from threshold import Limiter, SharedMemoryStore, TokenBucket

    name = f"audited-{secrets.token_hex(6)}"
    words = ["audit", "--limiter", f"shared:{name}", "--limit", "5 per minute", "--duration", "2s"]
    said = sentinel(*words)
    assert said.status == 0 and "waits skipped in" in said.out, said.out + said.err
    assert not SharedMemoryStore.remove(name), "nothing is left of it"
    store = SharedMemoryStore(name)
    try:
        folder = Path(store.path).parent
        limiter = Limiter(TokenBucket("1 per day"), store)
        assert limiter.acquire("ann").allowed
        assert sentinel(*words).status == 0
        assert not limiter.acquire("ann").allowed, "the states of others have not aged"
        assert not [entry for entry in folder.iterdir() if entry.name.startswith("sentinel-")]
    finally:
        store.close()
        assert SharedMemoryStore.remove(name)


def test_answers_that_differ_are_not_compared(sentinel: Sentinel, tmp_path: Path) -> None:
    (tmp_path / "unequal_app.py").write_text(PATHS % 50)
    said = sentinel("overhead", "--target", "unequal_app:guarded", "--without", "unequal_app:missing")
    assert said.status == 1 and "answers 200 with its limiter and 404 without" in said.err


WITNESSED = """
from threshold import MemoryStore, Policy, TokenBucket
from threshold.testing import Witness
from threshold.wsgi import ThresholdMiddleware

def plain(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]

witness = Witness("known to nobody else")
policy = Policy(edge=TokenBucket("50/second", burst=20))
told = witness.wsgi(ThresholdMiddleware(plain, policy=policy, store=witness.store(MemoryStore())))
"""


def test_told_instants_of_decision_are_believed_with_the_secret_only(
    sentinel: Sentinel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "told_app.py").write_text(WITNESSED)
    words = ["audit", "--limit", "50/s", "--burst", "20", "--duration", "2s"]
    monkeypatch.setenv("SENTINEL_WITNESS_SECRET", "known to nobody else")
    said = sentinel(*words, "--target", "told_app:told", "--json", "a.json")
    assert said.status == 0, said.out + said.err
    assert "the limiter told and signed when it decided" in " ".join(said.out.split())
    text = Path("a.json").read_text()
    assert json.loads(text)["experiment"]["config"]["witnessed"] and "nobody" not in text
    said = sentinel(*words, "--target", "told_app:told", "--witness-secret", "not the same secret")
    assert said.status == 1 and "not signed by this witness secret" in said.err
    said = sentinel(*words, "--limiter", "memory:")
    assert said.status == 1 and "witness secret is for an app on this machine" in said.err


WSGI = """
from threshold import MemoryStore, Policy, TokenBucket
from threshold.wsgi import ThresholdMiddleware

def plain(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]

policy = Policy(edge=TokenBucket("50/second", burst=20))
guarded = ThresholdMiddleware(plain, policy=policy, store=MemoryStore())

async def other(scope, receive, send):
    raise NotImplementedError
"""


def test_a_wsgi_app_in_this_process_is_audited_in_threads(sentinel: Sentinel, tmp_path: Path) -> None:
    (tmp_path / "wsgi_app.py").write_text(WSGI)
    words = ["audit", "--target", "wsgi_app:guarded", "--limit", "50/s", "--duration", "3s"]
    said = sentinel(*words, "--burst", "20")
    assert said.status == 0, said.out + said.err
    assert sentinel(*words, "--burst", "10").status == 2, "one that promises less than it grants is caught"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "wsgi_app:plain"], "target has no ThresholdMiddleware to take away"),
        (
            ["--target", "wsgi_app:guarded", "--without", "wsgi_app:other"],
            "without is an app of another kind",
        ),
    ],
)
def test_a_wsgi_target_that_cannot_be_compared_is_refused(
    sentinel: Sentinel, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "wsgi_app.py").write_text(WSGI)
    said = sentinel("overhead", *words)
    assert said.status == 1 and message in " ".join(said.err.split()), said.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_audit_with_what_was_found_so_far_and_no_pass(
    start: Callable[..., Any], sentinel: Sentinel, number: signal.Signals
) -> None:
    process = start("audit", "--limiter", "memory:", "--limit", "100/s", "--duration", "60s")
    assert "requests answered" in process.stderr.readline()
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 4 and "PARTIAL, not judged: the audit was stopped; nothing proven" in out
    assert "KEPT" not in out and "Traceback" not in err
    assert "partial" in sentinel("history").out
    cases = ElementTree.fromstring(sentinel("report", "last", "--format", "junit").out).findall(".//testcase")
    assert next(case.get("name") for case in cases if case.find("failure") is not None) == "ran to its end"
    document = json.loads(sentinel("report", "last", "--format", "json").out)
    assert document["state"] == "partial" and document["stopped"] and document["verdict"]["exit_code"] == 4
    assert document["experiment"]["status"] == "partial"


def test_a_signal_ends_an_overhead_experiment_with_no_pass(
    start: Callable[..., Any], sentinel: Sentinel, tmp_path: Path
) -> None:
    (tmp_path / "cost_app.py").write_text(PATHS % 50)
    words = ["--without", "cost_app:app", "--duration", "60s", "--rate", "100"]
    process = start("overhead", "--target", "cost_app:guarded", *words)
    assert "load 1 of 1" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 4 and "PARTIAL, not judged: the experiment was stopped" in out, err
    assert "Traceback" not in err and "partial" in sentinel("history").out
    assert "ran to its end" in sentinel("report", "last", "--format", "junit").out
    document = json.loads(sentinel("report", "last", "--format", "json").out)
    assert document["loads"] == [] and document["verdict"]["name"] == "VOID"


def test_a_fault_that_is_proven_already_stays_proven_when_an_audit_is_stopped(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "open_app.py").write_text(PATHS % 50)
    words = ["--limit", "20/s", "--burst", "5", "--duration", "60s", "--no-save"]
    process = start("audit", "--target", "open_app:guarded", *words)
    for _ in range(2):
        assert "requests answered" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 2 and "BROKEN" in out
    assert "stopped early" in " ".join(out.replace("│", "").split())
