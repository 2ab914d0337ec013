"""Which store an app gets that names none, and the sentence that says why."""

from __future__ import annotations

import logging
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from threshold import ConfigurationError, Limiter, MemoryStore, SlidingWindow, workers
from threshold.stores import choice
from threshold.stores.choice import choose_store, shared_name
from threshold.stores.shared import SharedMemoryStore
from threshold.workers import siblings


@pytest.fixture(autouse=True)
def _no_fork_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the process that runs the tests has been through."""
    monkeypatch.setattr(workers, "_forked", False)


def test_an_app_by_itself_keeps_its_state_in_its_own_memory() -> None:
    chosen = choose_store(argv=["app.py"], environ={})
    assert isinstance(chosen.store, MemoryStore) and not chosen.divided
    assert chosen.reason == "MemoryStore, because nothing says that this app has several processes"


@pytest.mark.parametrize(
    ("argv", "environ", "evidence"),
    [
        (["/venv/bin/uvicorn", "app:app", "--workers", "4"], {}, "uvicorn was started with 4 workers"),
        (["/lib/uvicorn/__main__.py", "app:app", "--workers=2"], {}, "uvicorn was started with 2 workers"),
        (["/venv/bin/hypercorn", "-w", "3", "app"], {}, "hypercorn was started with 3 workers"),
        (["/venv/bin/fastapi", "run", "--workers", "2"], {}, "fastapi was started with 2 workers"),
        (["/venv/bin/uvicorn", "app:app"], {"WEB_CONCURRENCY": "2"}, "WEB_CONCURRENCY is 2"),
        (["app.py"], {"WEB_CONCURRENCY": "8"}, "WEB_CONCURRENCY is 8"),
        (["app.py"], {"WEB_CONCURRENCY": "1"}, None),
        (["app.py"], {"WEB_CONCURRENCY": "many"}, None),
        (["/venv/bin/uvicorn", "app:app", "--workers", "1"], {}, None),
        (["/venv/bin/uvicorn", "app:app"], {}, None),
        (["/venv/bin/uvicorn", "app:app", "--reload"], {}, None),
        (["grep", "-w", "3"], {}, None),
        (["/venv/bin/uvicorn", "app:app", "--workers"], {}, None),
        ([], {}, None),
    ],
)
def test_the_command_line_and_the_environment_tell_of_workers(
    argv: list[str], environ: dict[str, str], evidence: str | None
) -> None:
    assert siblings(argv, environ) == evidence


@pytest.mark.parametrize(
    ("module", "evidence"), [("gunicorn.arbiter", "gunicorn"), ("uwsgi", "uWSGI"), ("mod_wsgi", "mod_wsgi")]
)
def test_a_server_that_runs_this_app_is_noticed(
    module: str, evidence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, ModuleType(module))
    assert siblings(["app"], {}) == f"{evidence} runs this app"


def test_a_child_of_multiprocessing_has_siblings(name: str) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(siblings, (["app.py"], {})) == "another process of this app started this one"
        assert pool.apply(siblings, (["uvicorn", "--reload"], {})) is None


def test_a_forked_process_has_siblings_and_warns_of_a_store_it_brought_along(
    caplog: pytest.LogCaptureFixture,
) -> None:
    brought = choose_store(argv=["app.py"], environ={})
    pid = os.fork()
    if pid == 0:
        seen = siblings(["app.py"], {}) == "this process was forked from another one of this app"
        os._exit(0 if seen and "each process counts for itself" in caplog.text else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert siblings(["app.py"], {}) is None, "to have a child is not to have siblings"
    del brought


def test_one_of_several_gets_shared_memory_which_the_others_find(name: str) -> None:
    argv = ["/venv/bin/uvicorn", name, "--workers", "2"]
    first, second = (choose_store(name, max_keys=100, argv=argv, environ={}) for _ in range(2))
    assert isinstance(first.store, SharedMemoryStore) and isinstance(second.store, SharedMemoryStore)
    assert first.reason == (
        f"SharedMemoryStore {shared_name(name, argv)!r}, because uvicorn was started with 2 workers"
    )
    limit = SlidingWindow("1/hour")
    assert Limiter(limit, first.store).acquire("ann").allowed
    assert not Limiter(limit, second.store).acquire("ann").allowed
    for chosen in (first, second):
        chosen.store.close()


def test_another_app_another_folder_another_policy_gets_another_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {shared_name("app", ["gunicorn", app]) for app in ("one:app", "two:app")}
    names.add(shared_name("api", ["gunicorn", "one:app"]))
    names.add(shared_name("Grüße, Welt!" * 20, ["gunicorn", "one:app"]))
    monkeypatch.chdir(tmp_path)
    names.add(shared_name("app", ["gunicorn", "one:app"]))
    assert len(names) == 5
    assert all(len(name) <= 64 for name in names)


def test_where_shared_memory_cannot_be_had_the_choice_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, max_keys: int) -> SharedMemoryStore:
        raise ConfigurationError("max_keys", max_keys, "/dev/shm has no room")

    monkeypatch.setattr(choice, "SharedMemoryStore", refuse)
    chosen = choose_store(argv=["app.py"], environ={"WEB_CONCURRENCY": "4"})
    assert isinstance(chosen.store, MemoryStore) and chosen.divided
    assert chosen.reason.startswith("MemoryStore although WEB_CONCURRENCY is 4, because shared memory cannot")
    assert "no room" in chosen.reason and "each process counts for itself" in chosen.reason


def test_a_program_of_its_own_is_alone() -> None:
    program = "from threshold.stores.choice import choose_store; print(choose_store().reason)"
    environ = {key: value for key, value in os.environ.items() if key != "WEB_CONCURRENCY"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environ, check=True
    )
    assert done.stdout.startswith("MemoryStore, because nothing says")


def test_choosing_logs_nothing_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        choose_store(argv=["app.py"], environ={})
    assert caplog.records == []
