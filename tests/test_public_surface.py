"""The public surface: locked names, no leaks, and an import that costs little and needs nothing."""

from __future__ import annotations

import inspect
import json
import statistics
import subprocess
import sys
import types
from collections.abc import Callable

import pytest

import threshold
import threshold.testing

PUBLIC = {
    *("Limiter", "AsyncLimiter", "Decision", "Rate", "TokenBucket", "SlidingWindow"),
    *("Policy", "Tiers", "Ladder", "Rung", "Caller", "Verdict", "Threshold", "AsyncThreshold"),
    *(
        "MemoryStore",
        "SharedMemoryStore",
        "ThresholdError",
        "ConfigurationError",
        "RateLimited",
        "StoreUnavailable",
    ),
}
TESTING = {"ManualClock", "StoreContract", "AsyncStoreContract", "Witness", "worst_window"}

MODULES_AFTER_IMPORT = """
import json, sys
before = set(sys.modules)
import threshold
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def public_names(module: types.ModuleType) -> set[str]:
    """What a user sees on the module: no underscore, no submodule."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=True
    )


def test_the_names_of_threshold_are_locked() -> None:
    assert set(threshold.__all__) == PUBLIC
    assert len(threshold.__all__) == len(PUBLIC)
    assert list(threshold.__all__) == sorted(threshold.__all__)


def test_the_names_of_threshold_testing_are_locked() -> None:
    assert set(threshold.testing.__all__) == TESTING


@pytest.mark.parametrize("module", [threshold, threshold.testing])
def test_nothing_else_leaks_out_of_the_front_door(module: types.ModuleType) -> None:
    for name in module.__all__:
        assert getattr(module, name) is not None  # some are loaded when they are asked for
    assert public_names(module) == set(module.__all__)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_class_says_what_it_is_for(name: str) -> None:
    thing = getattr(threshold, name)
    assert inspect.isclass(thing)
    assert (thing.__doc__ or "").strip()
    for attribute, value in vars(thing).items():
        if inspect.isfunction(value) and not attribute.startswith("_"):
            assert (value.__doc__ or "").strip(), f"{name}.{attribute}"


def test_the_middlewares_stand_where_the_readme_says() -> None:
    from threshold.asgi import ThresholdMiddleware as Asgi
    from threshold.wsgi import ThresholdMiddleware as Wsgi

    assert inspect.isclass(Asgi) and inspect.isclass(Wsgi)


def test_the_package_says_that_it_is_typed() -> None:
    import importlib.resources

    for package in ("threshold", "sentinel"):
        assert importlib.resources.files(package).joinpath("py.typed").is_file()


def test_importing_threshold_loads_nothing_outside_the_standard_library() -> None:
    loaded = {name.split(".")[0] for name in json.loads(run("-c", MODULES_AFTER_IMPORT).stdout)}
    assert "threshold" in loaded
    assert loaded - {"threshold"} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("module", ["asyncio", "decimal", "hashlib", "http", "tomllib", "sqlite3", "redis"])
def test_importing_threshold_does_not_pay_for_what_few_need(module: str) -> None:
    loaded = {name.split(".")[0] for name in json.loads(run("-c", MODULES_AFTER_IMPORT).stdout)}
    assert module not in loaded


def test_importing_threshold_is_quick(record_property: Callable[[str, object], None]) -> None:
    """The median is recorded; the bound is generous, because a busy machine must not fail the suite."""
    medians = [
        int(run("-X", "importtime", "-c", "import threshold").stderr.splitlines()[-1].split("|")[1]) / 1000
        for _ in range(5)
    ]
    record_property("import_threshold_ms", statistics.median(medians))
    assert min(medians) < 250
