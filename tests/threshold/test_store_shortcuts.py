"""Shortcuts around `decide`: taken where they stand for it, and only there; they fail as it fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from failing_store import FailingStore

from threshold import Limiter, MemoryStore, Policy, Threshold, TokenBucket
from threshold.events import Event, StoreFailed, StoreRecovered
from threshold.plan import Asked, Found, Outcome, Plan
from threshold.stores.base import shortcut
from threshold.testing import ManualClock
from threshold.wsgi import ThresholdMiddleware


class Heir(MemoryStore):
    """Decides in its own way, and inherits the shortcuts of another."""

    def __init__(self) -> None:
        super().__init__(clock=ManualClock())
        self.asked = 0

    def decide(self, plan: Plan) -> Outcome:
        self.asked += 1
        return super().decide(plan)


class Wrapper:
    """Forwards whatever it does not know."""

    def __init__(self) -> None:
        self.inner = MemoryStore(clock=ManualClock())
        self.asked = 0

    def decide(self, plan: Plan) -> Outcome:
        self.asked += 1
        return self.inner.decide(plan)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class QuickHeir(Heir):
    """Knows of shortcuts that stand for its own way."""

    bind = MemoryStore.bind
    admit = MemoryStore.admit


class QuickFailingStore(FailingStore):
    """A store that may be away, with a shortcut that then fails like the rest of it."""

    def admit(self, asked: Asked) -> Sequence[Found] | None:
        return self._ask().admit(asked)


def served(guard: Threshold) -> list[str]:
    """The statuses of two requests."""
    statuses: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return []

    guarded = ThresholdMiddleware(app, policy=guard)
    environ = {"REMOTE_ADDR": "203.0.113.9", "REQUEST_METHOD": "GET", "PATH_INFO": "/"}
    for _ in range(2):
        guarded(environ, lambda status, headers, *error: statuses.append(status[:3]))  # type: ignore[arg-type, return-value, misc]
    return statuses


@pytest.mark.parametrize("kind", [Heir, Wrapper])
def test_no_request_passes_by_a_store_that_decides_in_its_own_way(kind: type[Heir] | type[Wrapper]) -> None:
    store = kind()
    assert served(Threshold(Policy(user="9/minute"), store)) == ["200", "200"]
    assert store.asked == 2
    pace = Limiter(TokenBucket("9/minute"), store)
    assert [pace.acquire("ann").remaining for _ in range(2)] == [8, 7]
    assert store.asked == 4


def test_a_store_whose_decide_was_replaced_has_no_shortcut(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    assert shortcut(store, "admit") == store.admit
    monkeypatch.setattr(store, "decide", store.decide)
    assert shortcut(store, "admit") is None


def test_shortcuts_beside_or_below_decide_are_taken() -> None:
    store = QuickHeir()
    assert served(Threshold(Policy(user="9/minute"), store)) == ["200", "200"]
    assert store.asked == 1  # the first request of a caller is no ordinary one
    assert shortcut(FailingStore(), "admit") is None


@pytest.mark.parametrize(("mode", "status"), [("deny", "503"), ("local", "200"), ("allow", "200")])
def test_a_shortcut_that_finds_the_store_away_is_answered_as_decide_would_be(mode: Any, status: str) -> None:
    store, events = QuickFailingStore(), list[Event]()
    guard = Threshold(Policy(user="9/minute", on_store_error=mode), store, hooks=[events.append])
    assert served(guard) == ["200", "200"]
    store.away = True
    assert served(guard) == [status, status]
    store.away = False
    assert served(guard) == ["200", "200"]
    assert [type(event) for event in events] == [StoreFailed, StoreRecovered]
