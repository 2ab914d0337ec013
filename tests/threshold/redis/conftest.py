"""Real servers for the tests: each on its own unix socket, proven ours, ended by pid."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from .servers import Server, valkey_binary


def _binaries() -> list[object]:
    found = [pytest.param(valkey_binary(), id="valkey")]
    redis = shutil.which("redis-server")
    if redis is not None:
        found.append(pytest.param(redis, id="redis"))
    return found


@pytest.fixture(scope="session", params=_binaries())
def any_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of every kind found on this machine; shared, so every test takes a prefix of its own."""
    with Server(request.param) as server:
        yield server


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    """One Valkey for all tests that do it no harm."""
    with Server(valkey_binary()) as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A Valkey that the test may kill, freeze and fill."""
    with Server(valkey_binary()) as server:
        yield server
