"""Imports point one way. Read from the source, so that no import hidden in a function escapes.

The rooms of threshold, from the ground up: each may import itself and what `MAY` lists for it, nothing else.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import pytest

import threshold
import threshold.testing

SRC = Path(__file__).parents[1] / "src"

ROOMS: dict[str, tuple[str, ...]] = {
    "errors": ("errors",),
    "rate": ("rate",),
    "memo": ("memo",),
    "limits": ("token_bucket", "sliding_window"),
    "plan": ("plan", "escalation"),
    "engine": ("engine",),
    "contract": ("stores", "stores.base"),
    "process": ("workers",),
    "stores": ("stores.*",),
    "decision": ("decision",),
    "tables": ("headers", "tiers", "endpoints", "addresses"),
    "layers": ("layers",),
    "policy": ("verdict", "policy", "presets", "section", "config", "config_values"),
    "front": ("limiter", "events", "threshold", "default_store"),
    "http": ("http", "http.*"),
    "shells": ("asgi", "wsgi"),
    "cli": ("cli", "commands", "__main__", "demo", "demo.*"),
    "testing": ("testing", "testing.*"),
    "door": ("",),
}
_GROUND = ("errors", "rate", "memo", "limits", "plan")
_POLICY = (*_GROUND, "decision", "tables", "layers", "policy")
_FRONT = (*_POLICY, "contract", "process", "front")
MAY: dict[str, tuple[str, ...]] = {
    "errors": (),
    "rate": ("errors",),
    "memo": (),
    "limits": ("errors", "rate"),
    "plan": ("errors", "rate", "limits"),
    "engine": _GROUND,
    "contract": _GROUND,
    "process": (),
    "stores": (*_GROUND, "engine", "contract", "process"),
    "decision": ("errors", "rate"),
    "tables": _GROUND,
    "layers": (*_GROUND, "tables"),
    "policy": (*_GROUND, "tables", "layers"),
    "front": _FRONT,
    "http": _FRONT,
    "shells": (*_FRONT, "http"),
    "cli": (*_FRONT, "http", "shells", "stores", "testing", "door"),
    "testing": (*_FRONT, "engine"),
    "door": (*_FRONT, "stores"),
}
EXCEPTIONS = {
    ("threshold", "stores.memory"): "decides locally while the store is away",
    ("default_store", "stores.choice"): "the one place that chooses a store when nobody did",
}

SENTINEL_MAY_USE = {
    "threshold": set(threshold.__all__),
    "threshold.testing": set(threshold.testing.__all__),
    "threshold.asgi": {"ThresholdMiddleware", "Cached"},
    "threshold.wsgi": {"ThresholdMiddleware", "Cached"},
    "threshold.stores.shared": {"SharedMemoryStore"},
    "threshold.stores.redis": {"AsyncRedisStore"},
    "threshold.demo.settings": {"Settings", "stage"},
}


def modules(package: str) -> dict[str, Path]:
    """Every module of a package by its dotted name inside the package; "" is the package itself."""
    root = SRC / package
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = list(path.relative_to(root).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = path
    return found


MODULES = {package: modules(package) for package in ("threshold", "sentinel")}


def is_for_types_only(node: ast.AST) -> TypeGuard[ast.If]:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def statements(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import that runs, wherever it stands."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield node
    children = node.orelse if is_for_types_only(node) else ast.iter_child_nodes(node)
    for child in children:
        yield from statements(child)


def imported(package: str, name: str) -> set[tuple[str, str, str]]:
    """What a module imports of threshold and sentinel: (package, module, name; "" for the module itself)."""
    path = MODULES[package][name]
    here = [package, *(name.split(".") if name else [])]
    if path.name != "__init__.py":
        here.pop()
    found = set()
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            targets = [(alias.name, "") for alias in node.names]
        else:
            base = here[: len(here) + 1 - node.level] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            targets = [(origin, alias.name) for alias in node.names]
        for origin, thing in targets:
            top, _, module = origin.partition(".")
            if top not in MODULES:
                continue
            inner = f"{module}.{thing}".strip(".")
            if inner in MODULES[top]:  # from . import engine
                found.add((top, inner, ""))
            else:
                assert module in MODULES[top], f"{package}.{name} imports {origin}, which is not there"
                found.add((top, module, thing))
    return found


def room(name: str) -> str:
    for title, members in ROOMS.items():
        if name in members:
            return title
    for title, members in ROOMS.items():
        if any(member.endswith(".*") and name.startswith(member[:-1]) for member in members):
            return title
    raise AssertionError(f"threshold.{name} is in no room: say in ROOMS where it belongs")


@pytest.mark.parametrize("name", sorted(MODULES["threshold"]))
def test_a_module_of_threshold_imports_only_what_its_room_may(name: str) -> None:
    here = room(name)
    for package, module, _ in imported("threshold", name):
        assert package == "threshold", f"threshold.{name} imports {package}"
        if (name, module) not in EXCEPTIONS:
            assert room(module) in (here, *MAY[here]), f"threshold.{name} imports threshold.{module}"


@pytest.mark.parametrize("pair", sorted(EXCEPTIONS))
def test_every_exception_is_still_needed(pair: tuple[str, str]) -> None:
    name, module = pair
    assert module in {found for _, found, _ in imported("threshold", name)}
    assert room(module) not in (room(name), *MAY[room(name)])


def test_the_rules_themselves_point_one_way() -> None:
    done: list[str] = []
    left = set(MAY)
    while left:
        ready = {title for title in left if not set(MAY[title]) & (left - {title})}
        assert ready, f"a circle among {sorted(left)}"
        done += sorted(ready)
        left -= ready
    assert set(done) == set(ROOMS)


def test_stores_know_neither_policies_nor_http_and_http_knows_no_store_but_the_contract() -> None:
    for title in ("engine", "contract", "stores"):
        assert not {"tables", "layers", "policy", "front", "http", "shells"} & set(MAY[title])
    for title in ("front", "http", "shells"):
        assert "stores" not in MAY[title]
    for title in ("tables", "layers", "policy"):
        assert not {"contract", "stores", "engine"} & set(MAY[title])


@pytest.mark.parametrize("name", sorted(MODULES["sentinel"]))
def test_sentinel_uses_only_public_names_of_threshold(name: str) -> None:
    for package, module, thing in imported("sentinel", name):
        if package == "threshold":
            origin = f"threshold.{module}".strip(".")
            assert thing in SENTINEL_MAY_USE.get(origin, set()), f"sentinel.{name}: {origin} {thing}"


def test_the_oracle_shares_nothing_with_threshold_not_even_indirectly() -> None:
    seen: set[str] = set()
    waiting = ["oracle"]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for package, module, _ in imported("sentinel", name):
            assert package == "sentinel", f"the oracle reaches threshold.{module} through sentinel.{name}"
            waiting.append(module)
    assert len(seen) > 3


def test_the_reader_of_imports_sees_every_form_of_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
import threshold.policy
from . import engine
from .stores.memory import MemoryStore
if TYPE_CHECKING:
    from . import wsgi
else:
    from . import rate
def late():
    from threshold.stores import base
    import sentinel
class Inner:
    try:
        from .plan import Plan as P
    except ImportError:
        pass
"""
    path = tmp_path / "probe.py"
    path.write_text(text)
    monkeypatch.setitem(MODULES["threshold"], "probe", path)
    assert imported("threshold", "probe") == {
        ("threshold", "policy", ""),
        ("threshold", "engine", ""),
        ("threshold", "stores.memory", "MemoryStore"),
        ("threshold", "rate", ""),
        ("threshold", "stores.base", ""),
        ("sentinel", "", ""),
        ("threshold", "plan", "Plan"),
    }
