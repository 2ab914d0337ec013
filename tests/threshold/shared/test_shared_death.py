"""A process dies between any two stores to memory: what it was doing happened as a whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from integrity import problems

from threshold import Ladder, Rung, SlidingWindow, TokenBucket
from threshold.plan import Plan, Rule, State
from threshold.stores.shared import SharedMemoryStore
from threshold.stores.shared import take as shared_take
from threshold.stores.shared.cells import CHECK
from threshold.testing import ManualClock

_LADDER = Ladder([Rung(ban=500)], decay=1000)
_BUCKET = Rule.of("b", "user", TokenBucket("100/minute"), strikes=True)
_WINDOW = Rule.of("w", "user", SlidingWindow("90/minute"), strikes=True)
_NARROW = Rule.of("n", "user", SlidingWindow("90 per 3 ms", precision=360), strikes=True)
_RULES = (_BUCKET, _WINDOW, _NARROW)
_WHO = ("ann", "bob", "new")
_KEYS = tuple(rule.scope + who for rule in _RULES for who in _WHO) + tuple(f"abuse\0{who}" for who in _WHO)


class Death(BaseException):
    """Stands for SIGKILL: nothing of the victim's runs after it."""


class DyingWords:
    """The words of a store, of which only so many more can be written."""

    def __init__(self, words: memoryview[int], stores_left: int) -> None:
        self._words = words
        self.stores_left = stores_left

    def __getitem__(self, index: int | slice) -> int | memoryview[int]:
        return self._words[index]

    def __setitem__(self, index: int, value: int) -> None:
        if self.stores_left == 0:
            raise Death
        self.stores_left -= 1
        self._words[index] = value

    def __len__(self) -> int:
        return len(self._words)


@dataclass
class Scene:
    """A store with a past, the clock it reads, and a way to make its process die."""

    store: SharedMemoryStore
    clock: ManualClock

    def plan(self, who: str, *rules: Rule, cost: int = 1) -> Plan:
        keys = tuple(rule.scope + who for rule in rules)
        return Plan.of(rules, keys, cost, f"abuse\0{who}", _LADDER, who)

    def states(self) -> list[State]:
        """All that matters, in the strict reading."""
        found = []
        for rule in _RULES:
            places = [self.store._table.places.of(rule.scope + who) for who in _WHO]
            found += [self.store._table.load(place, rule.limit, 0) for place in places]
        return found + self.store.state([f"abuse\0{who}" for who in _WHO])

    def doom(self, stores_left: int, monkeypatch: pytest.MonkeyPatch) -> DyingWords:
        """Let the process die after so many more stores."""
        store, table = self.store, self.store._table
        dying = DyingWords(store._words, stores_left)
        for part in (store, table.journal, table.extents, table.rooms):
            part._words = dying  # type: ignore[assignment]
        table.words = dying  # type: ignore[assignment]

        def check_and_low(memory: object, offset: int, check: int, low: int) -> None:
            dying[offset // 8] = check
            dying[offset // 8 + 1] = low

        monkeypatch.setattr(shared_take, "write_check_and_low", check_and_low)
        return dying


def _past(name: str, clock: ManualClock) -> SharedMemoryStore:
    """A store in which ann and bob have used everything, in rings long enough to need extents."""
    store = SharedMemoryStore(name, 60, clock=clock)
    scene = Scene(store, clock)
    for _ in range(25):
        clock.advance_us(1_000_000)
        store.decide(scene.plan("ann", _BUCKET, _WINDOW))
    for _ in range(40):
        clock.advance_us(9)
        store.decide(scene.plan("bob", _NARROW, _WINDOW))
    return store


def _in_the_same_sub_window(scene: Scene) -> None:
    scene.store.bind(_WINDOW)("ann", 1)


def _in_a_new_sub_window(scene: Scene) -> None:
    scene.clock.advance(3)
    scene.store.bind(_WINDOW)("ann", 1)


def _after_most_has_expired(scene: Scene) -> None:
    scene.clock.advance(50)
    scene.store.bind(_WINDOW)("ann", 1)


def _one_bucket(scene: Scene) -> None:
    scene.store.bind(_BUCKET)("ann", 1)


def _a_new_key(scene: Scene) -> None:
    scene.store.bind(_WINDOW)("new", 1)


def _a_whole_plan(scene: Scene) -> None:
    scene.clock.advance_us(9)
    scene.store.decide(scene.plan("bob", _NARROW, _WINDOW, _BUCKET))


def _an_ordinary_request(scene: Scene) -> None:
    scene.clock.advance_us(9)
    plan = scene.plan("ann", _BUCKET, _WINDOW)
    assert scene.store.admit((plan.rules, plan.names, 1, plan.abuse_scope, _LADDER, "ann")) is not None


def _an_ordinary_request_in_a_new_sub_window(scene: Scene) -> None:
    scene.clock.advance(3)
    _an_ordinary_request(scene)


def _an_ordinary_request_of_one_bucket(scene: Scene) -> None:
    assert scene.store.admit(((_BUCKET,), ("ann",), 1, None, None, "ann")) is not None


def _an_ordinary_request_of_one_ring(scene: Scene) -> None:
    assert scene.store.admit(((_WINDOW,), ("bob",), 1, None, None, "bob")) is not None


def _a_plan_of_new_keys(scene: Scene) -> None:
    scene.store.decide(scene.plan("new", _NARROW, _WINDOW, _BUCKET, cost=2))


def _a_ban(scene: Scene) -> None:
    scene.store.decide(scene.plan("ann", _BUCKET, _WINDOW, cost=90))


def _a_refund(scene: Scene) -> None:
    scene.store.refund(scene.plan("ann", _BUCKET, _WINDOW), scene.clock())


def _a_reset(scene: Scene) -> None:
    scene.store.reset([_WINDOW.scope + "ann", _NARROW.scope + "bob", _BUCKET.scope + "ann"])


def _a_sweep(scene: Scene) -> None:
    scene.clock.advance_us(60_000)
    scene.store._table.rooms.sweep(scene.clock(), 1, ())


_ACTIONS = (
    _in_the_same_sub_window,
    _in_a_new_sub_window,
    _after_most_has_expired,
    _one_bucket,
    _a_new_key,
    _a_whole_plan,
    _an_ordinary_request,
    _an_ordinary_request_in_a_new_sub_window,
    _an_ordinary_request_of_one_bucket,
    _an_ordinary_request_of_one_ring,
    _a_plan_of_new_keys,
    _a_ban,
    _a_refund,
    _a_reset,
    _a_sweep,
)


@pytest.mark.parametrize("act", _ACTIONS, ids=lambda act: act.__name__.strip("_"))
def test_death_at_any_store_leaves_all_or_nothing(
    name: str, act: Callable[[Scene], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(10**12)
    store = _past(name, clock)
    before = Scene(store, clock).states()
    act(Scene(store, clock))
    after = Scene(store, clock).states()
    store.close()
    SharedMemoryStore.remove(name)

    outcomes = []
    for stores_left in range(1_000):
        clock = ManualClock(10**12)
        victim = Scene(_past(name, clock), clock)
        dying = victim.doom(stores_left, monkeypatch)
        died = False
        try:
            act(victim)
        except Death:
            died = True
        monkeypatch.undo()
        heir = Scene(SharedMemoryStore(name, 60, clock=clock), clock)
        heir.store.state([])  # takes the lock, and with it what was left to do
        assert problems(heir.store) == [], stores_left
        states = heir.states()
        assert states in (before, after), (stores_left, states)
        assert heir.store.damaged == 0
        outcomes.append(states == after)
        heir.store.close()
        dying._words.release()
        victim.store._file.memory.close()
        victim.store._lock.close()
        victim.store._file._closing()
        SharedMemoryStore.remove(name)
        if not died:
            break
    assert len(outcomes) > 2 and outcomes[-1], "every store of the action was tried, and then none failed"
    assert outcomes == sorted(outcomes), "once done, it stays done"


@pytest.mark.parametrize("rule", [_BUCKET, _WINDOW], ids=["bucket", "ring"])
def test_a_charge_by_half_is_read_as_the_whole_charge(name: str, rule: Rule) -> None:
    """One of the two words of a quick charge is there, the other is not."""
    clock = ManualClock(10**12)
    for word in (0, 1):
        store = SharedMemoryStore(name, 60, clock=clock)
        take = store.bind(rule)
        take("ann", 5)
        place = store._table.places.of(rule.scope + "ann")
        cell = place.cell
        words = store._words
        size = 6
        old = words[cell : cell + size].tolist()
        take("ann", 7)
        new = words[cell : cell + size].tolist()
        changed = [i for i in range(size) if old[i] != new[i]]
        first_written = CHECK if rule is _BUCKET else next(i for i in changed if i != CHECK)
        assert len(changed) == 2 and first_written in changed
        if word == 1:  # died after the first of the two
            left = next(i for i in changed if i != first_written)
            words[cell + left] = old[left]
        assert take("ann", 0)[1] == rule.limit.limit - 12
        assert take("ann", 1)[1] == rule.limit.limit - 13
        assert problems(store) == []
        store.close()
        SharedMemoryStore.remove(name)
