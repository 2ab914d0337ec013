"""The warning about a store that each of several workers has to itself."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest

from threshold import MemoryStore, Policy
from threshold.asgi import ThresholdMiddleware as ASGI
from threshold.workers import asked_for
from threshold.wsgi import ThresholdMiddleware as WSGI


@pytest.mark.parametrize(
    ("argv", "environ", "count"),
    [
        ([], {}, 1),
        (["/srv/bin/gunicorn", "app:app"], {}, 1),
        (["/srv/bin/gunicorn", "-w", "4", "app:app"], {}, 4),
        (["gunicorn", "-w4", "app:app"], {}, 4),
        (["gunicorn", "--workers=3", "app:app"], {"WEB_CONCURRENCY": "8"}, 3),
        (["uvicorn", "app:app", "--workers", "2"], {}, 2),
        (["/lib/python/uvicorn/__main__.py", "app:app", "--workers", "2"], {}, 2),
        (["uvicorn", "app:app", "--workers"], {}, 1),
        (["uvicorn", "app:app"], {"WEB_CONCURRENCY": "5"}, 5),
        (["gunicorn", "app:app"], {"GUNICORN_CMD_ARGS": "--threads 8 --workers 6"}, 6),
        (["gunicorn", "-p", "gunicorn.pid", "app:app"], {}, 1),
        (["gunicorn", "-p", "8000", "app:app"], {}, 1),
        (["daphne", "-p", "8000", "app:app"], {}, 1),
        (["uwsgi", "-p", "4"], {}, 4),
        (["pytest", "-w", "4"], {}, 1),
        (["uvicorn"], {"WEB_CONCURRENCY": "many"}, 1),
        (["uvicorn"], {"WEB_CONCURRENCY": "0"}, 1),
        (["gunicorn"], {"GUNICORN_CMD_ARGS": "--pid 'unclosed"}, 1),
    ],
)
def test_workers_are_counted_where_servers_are_told(
    argv: list[str], environ: dict[str, str], count: int
) -> None:
    assert asked_for(argv, environ)[1] == count


@pytest.mark.parametrize("middleware", [ASGI, WSGI])
def test_several_workers_with_a_store_each_are_warned_about_at_start_up(
    middleware: Any, caplog: Any, monkeypatch: Any
) -> None:
    def app(*arguments: Any) -> Any: ...

    class Shared(MemoryStore):
        per_process = False

    with caplog.at_level(logging.WARNING, logger="threshold"):
        monkeypatch.setattr(sys, "argv", ["pytest"])
        monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
        middleware(app, policy=Policy(user="1/minute"))
        monkeypatch.setenv("WEB_CONCURRENCY", "4")
        middleware(app, policy=Policy(user="1/minute"), store=Shared())
        assert caplog.records == []
        middleware(app, policy=Policy(user="1/minute"), store=MemoryStore())
    (record,) = caplog.records
    assert "WEB_CONCURRENCY is 4" in record.getMessage() and "MemoryStore" in record.getMessage()
