"""Unrolled charges against the steps that they are written out from."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threshold import Ladder, Limiter, MemoryStore, Policy, Rate, SlidingWindow, TokenBucket
from threshold.plan import Found, Limit, Lineup, Rule, State, binding
from threshold.stores import memory
from threshold.stores.key_table import ScopeTable
from threshold.stores.unrolled import unrolled, unrolled_found
from threshold.testing import ManualClock

SECOND = 1_000_000
periods = st.sampled_from([1_000, SECOND, 7_000_001, 60 * SECOND, 86_400 * SECOND])
rates = st.builds(lambda limit, us: Rate(limit, per=Fraction(us, SECOND)), st.integers(1, 12), periods)
buckets = st.builds(TokenBucket, rates, st.none() | st.integers(1, 20))
windows = st.builds(SlidingWindow, rates, st.sampled_from([2, 3, 10, 60, 360]))
limits = st.lists(buckets | windows, min_size=1, max_size=4)
# How far to go, in 60ths of the first limit's window; how much to charge; whom.
traces = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1, 1, 2, 5, 20, 59, 60, 61, 62, 200, -1, -70]),
        st.sampled_from([0, 1, 1, 1, 1, 2, 3, 30]),
        st.sampled_from(["ann", "ann", "ann", "bob"]),
    ),
    max_size=60,
)


def lined_up(limits: list[Limit]) -> tuple[list[Rule], list[ScopeTable]]:
    rules = [Rule.of(f"limit {i}", "user", limit) for i, limit in enumerate(limits)]
    return rules, [ScopeTable(rule.scope, rule.limit) for rule in rules]


@settings(max_examples=400, deadline=None)
@given(limits, traces, st.booleans())
def test_charges_what_the_steps_would_charge_or_nothing(
    limits: list[Limit], trace: list[tuple[int, int, str]], every: bool
) -> None:
    rules, tables = lined_up(limits)
    tables[-1].spread(3)
    charge = (unrolled_found if every else unrolled)(rules, tables)
    now = latest = 10**12
    for sixtieths, cost, name in trace:
        now += sixtieths * limits[0].window_us // 60
        latest = max(now, latest)
        before = [table.home(name).get(name) for table in tables]
        meant = [rule.step(state, now, cost) for rule, state in zip(rules, before, strict=True)]
        admitted = charge([name] * len(rules), cost, now, None)
        binds = binding(rules, meant)
        after = [table.home(name).get(name) for table in tables]
        if admitted is not None:
            assert admitted == (meant if every else (binds, meant[binds][1], meant[binds][2]))
            assert after == [answer[3] for answer in meant]
            continue
        assert after == before, "of what is not ordinary nothing is written"
        refused = any(answer[0] for answer in meant)
        assert refused or cost == 0 or None in before or now < latest
        if not refused:
            for table, answer in zip(tables, meant, strict=True):
                table.home(name)[name] = answer[3]


@dataclass(frozen=True)
class Odd:
    """A limit of somebody else's, without lines of its own: it admits nobody in even microseconds."""

    limit: int = 10

    def step(self, state: State, now: int, cost: int) -> Found:
        return 1 - now % 2, 3, 5, (*state, cost)

    def rests_at(self, state: State) -> int:
        return 0


def test_a_limit_without_lines_of_its_own_is_asked_by_its_step() -> None:
    rules, tables = lined_up([TokenBucket("6/minute")])
    odd = Odd()
    rules.append(Rule("odd", "user", odd, "odd\0"))  # type: ignore[arg-type]
    tables.append(ScopeTable("odd\0", odd))
    charge = unrolled(rules, tables)
    tables[0].home("ann")["ann"] = 0
    tables[1].home("ann")["ann"] = ()
    assert charge(["ann", "ann"], 2, 60, None) is None
    assert charge(["ann", "ann"], 2, 61, None) == (1, 3, 5)
    assert [table.home("ann")["ann"] for table in tables] == [20_000_061, (2,)]


class Quota(TokenBucket):
    """A bucket whose lines need an object of its own, under a name that others use too."""

    def step(self, state: int | None, now: int, cost: int) -> tuple[int, int, int, int | None]:
        used = (state or 0) + cost
        left = self.capacity - used
        return (0, left, 9, used) if left >= 0 else (-1, left + cost, 9, state)

    def ordinary(self) -> tuple[str, str, str, dict[str, object]]:
        lines = """
            state += cost
            remaining = most() - state
            if remaining < 0:
                return None
        """
        return "", lines, "now + 9", {"most": lambda: self.capacity}


@pytest.mark.parametrize("most", [(3, 50), (50, 3)])
def test_limits_that_name_their_objects_alike_keep_them_apart(most: tuple[int, int]) -> None:
    rules, tables = lined_up([Quota(f"{n}/minute") for n in most])
    charge = unrolled(rules, tables)
    for table in tables:
        table.home("ann")["ann"] = 0
    left = [charge(["ann", "ann"], 1, 60, None) for _ in range(4)]
    strict = most.index(3)
    assert left == [(strict, 2, 9), (strict, 1, 9), (strict, 0, 9), None]


@dataclass
class Box:
    """An object that names its parts as lines name theirs."""

    box: int
    state: int

    def least(self, state: int, now: int) -> int:
        return min(self.state, state, now)


class Styled(Quota):
    """The same quota, its lines written in many styles; the object is an own name."""

    style = "box.state"

    def ordinary(self) -> tuple[str, str, str, dict[str, object]]:
        lines = f"""
            state += cost
            remaining = {self.style} - state
            if remaining < 0:
                return None
        """
        return "", lines, "now + 9", {"box": Box(self.capacity, self.capacity)}


STYLES = [
    "box.state",
    "box . box",
    'getattr(box, "state")',
    "getattr(box, 'box')",
    "dict(state=box.box, box=1)['state']",
    "dict( state = box.box)['state']",
    "dict(\n                box=1,\n                state = getattr(box, 'box'))['state']",
    "box.least(state=10**9, now=10**9)",
    "int(f'{box.box}')",
    'int(f"{box.state:d}")',
    "(lambda state: state.box)(box)",
    "(lambda box, state=0: box.state)(box)",
    "[state for state in [box.state]][0]",
    "(box.box if 'box' == 'b' 'ox' else 0)",
    "len('\\n') * box.box",
    "box.box  # as box.state\n            remaining = remaining",
]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("most", [(3, 50), (50, 3)])
def test_lines_of_any_style_keep_their_attributes_their_arguments_names_and_their_texts(
    style: str, most: tuple[int, int]
) -> None:
    limits = [Styled(f"{n}/minute") for n in most]
    for limit in limits:
        object.__setattr__(limit, "style", style)
    rules, tables = lined_up([*limits, SlidingWindow("90/minute")])
    charge = unrolled(rules, tables)
    for table in tables[:2]:
        table.home("ann")["ann"] = 0
    tables[2].home("ann")["ann"] = rules[2].limit.step(None, 60, 1)[3]
    left = [charge(["ann"] * 3, 1, 60, None) for _ in range(4)]
    strict = most.index(3)
    assert left == [(strict, 2, 9), (strict, 1, 9), (strict, 0, 9), None]


@pytest.mark.parametrize("style", STYLES)
def test_a_take_of_one_limit_takes_lines_of_any_style(style: str) -> None:
    limit = Styled("3/minute")
    object.__setattr__(limit, "style", style)
    guard = Limiter(limit, store=MemoryStore(clock=ManualClock()))
    assert [guard.acquire("ann").allowed for _ in range(5)] == [True, True, True, False, False]


def test_the_instant_of_rest_may_be_any_expression() -> None:
    class Choosing(Quota):
        def ordinary(self) -> tuple[str, str, str, dict[str, object]]:
            _, lines, _, own = super().ordinary()
            return "", lines, "now + 9 if most() else 0", own

    guard = Limiter(Choosing("3/minute"), store=MemoryStore(clock=ManualClock()))
    assert [guard.acquire("ann").reset_after_us for _ in range(3)] == [9, 9, 9]
    rules, tables = lined_up([Choosing("3/minute")])
    tables[0].home("ann")["ann"] = 0
    assert unrolled_found(rules, tables)(["ann"], 1, 60, None) == [(0, 2, 9, 1)]


LEAVING = [
    """
        for left in [99, most()]:
            remaining = left - state - cost
            if remaining < 0:
                return None
        state += cost
    """,
    """
        left = [99, most()]
        while left:
            remaining = left.pop(0) - state - cost
            if remaining < 0:
                return None
        state += cost
    """,
    """
        remaining = most() - state - cost
        if remaining < 0:
            return
        state += cost
    """,
    """
        remaining = most() - state - cost
        if remaining < 0:
            return  None
        state += cost
    """,
]


@pytest.mark.parametrize("lines", LEAVING)
def test_lines_may_leave_it_to_the_step_from_wherever_they_are(lines: str) -> None:
    class Leaving(Quota):
        def ordinary(self) -> tuple[str, str, str, dict[str, object]]:
            return "", lines, "now + 9", {"most": lambda: self.capacity}

    guard = Limiter(Leaving("3/minute"), store=MemoryStore(clock=ManualClock()))
    assert [guard.acquire("ann").allowed for _ in range(5)] == [True, True, True, False, False]
    rules, tables = lined_up([Leaving("3/minute")])
    charge = unrolled(rules, tables)
    tables[0].home("ann")["ann"] = 0
    assert [charge(["ann"], 1, 60, None) for _ in range(4)] == [(0, 2, 9), (0, 1, 9), (0, 0, 9), None]


class Stricter(TokenBucket):
    """A bucket that admits nobody in odd microseconds."""

    def step(self, state: int | None, now: int, cost: int) -> tuple[int, int, int, int | None]:
        return (1, 0, 1, state) if now % 2 else super().step(state, now, cost)


def test_a_limit_that_steps_in_its_own_way_is_asked_by_that() -> None:
    rules, tables = lined_up([Stricter("9/minute")])
    charge = unrolled(rules, tables)
    tables[0].home("ann")["ann"] = 0
    assert charge(["ann"], 1, 61, None) is None
    assert charge(["ann"], 1, 62, None) is not None


def test_a_caller_with_a_record_is_not_ordinary() -> None:
    rules, tables = lined_up([TokenBucket("9/minute")])
    charge = unrolled(rules, tables)
    tables[0].home("ann")["ann"] = 0
    records = ScopeTable("abuse\0", Ladder.default())
    records.home("u:ann")["u:ann"] = Ladder.default().strike(None, 0, SECOND)
    for spread in (False, True):
        if spread:
            records.spread(5)
        assert charge(["ann", "u:ann"], 1, 62, records) is None
        assert charge(["ann", "u:bob"], 1, 62, records) is not None
        assert charge(["ann"], 1, 62, None) is not None


def test_a_store_writes_out_no_more_lineups_than_it_is_asked_about_and_forgets_the_oldest_policies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "_MOST_LINEUPS", 3)
    store = MemoryStore(clock=ManualClock())
    for i in range(10):
        policy = Policy(user=f"{i + 2}/hour")
        asked = policy.asked(None, None, None, "ann", policy.target("GET", "/"), 1)
        assert asked is not None and isinstance(asked[0], Lineup)
        answers = [store.admit(asked) for _ in range(2)]
        assert answers == [None, None]
        assert len(store._charges) <= 3
