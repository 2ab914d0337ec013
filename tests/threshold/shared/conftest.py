"""Names of stores that nobody else uses, and that are gone after the test. Makes `parts` importable."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from threshold import ConfigurationError
from threshold.stores.shared import SharedMemoryStore

sys.path.insert(0, str(Path(__file__).parent / "parts"))

_RUN = f"test-{os.getpid()}-{secrets.token_hex(4)}"
_numbers = itertools.count()


@pytest.fixture
def name() -> Iterator[str]:
    """A store name of this test's own."""
    own = f"{_RUN}-{next(_numbers)}"
    yield own
    with contextlib.suppress(ConfigurationError):
        SharedMemoryStore.remove(own)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for the files of stores, as private as it has to be."""
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture(scope="session", autouse=True)
def no_store_is_left_behind() -> Iterator[None]:
    """Delete what the tests of this session made in the shared folder."""
    yield
    folder = f"/dev/shm/threshold-{os.geteuid()}"
    for left in Path(folder).glob(f"*{_RUN}*"):
        left.unlink()
