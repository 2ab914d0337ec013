"""Unrolled: the code that charges an ordinary request, written out for the very limits that it meets.

Nearly every request is ordinary: every name is known to the store, and every limit admits. A loop that asks
one limit after the other then spends more on the loop than on the limits: on calls, on attributes, on tuples
packed and taken apart. So the limits' own lines are put one under another in one function, their numbers
written in as constants, and compiled: as `dataclass` and `namedtuple` make their methods. Only numbers and
names made up here go into the source, nothing that a user wrote.

Of a request that is not ordinary, nothing is written and nothing is said: `engine.decide` decides it. What
`engine.decide` would have said of an ordinary one, is said here too: that is tested, not hoped for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import dedent, indent
from typing import cast

from ..plan import Admitted, Limit, Rule
from .base import Take, shortcut
from .key_table import ScopeTable

Charge = Callable[[Sequence[str], int, int, ScopeTable | None], Admitted | None]
"""Charge to `names`, one under each rule, the `cost` at the instant `now`; or None.

Where there is a table of abuse records, the name after the last rule's must not be in it.

Everything is written at the end, and no call stands between: a signal handler that raises finds either all
or nothing charged."""

_BEGIN = """\
def charge(names, cost, now, records):
    if not cost:
        return None
    if records is not None:
        who = names[{who}]
        home = records.only
        if home is None:
            home = records.shards[hash(who) % records.width]
        if home.get(who) is not None:
            return None
    binding = 0
    least = 2.0
"""
_RULE = """\
    name{i} = names[{i}]
    home{i} = table{i}.only
    if home{i} is None:
        home{i} = table{i}.shards[hash(name{i}) % table{i}.width]
    state = home{i}.get(name{i})
    if state is None:
        return None
{charge}
    state{i} = state
    found{i} = 0, remaining, reset, state
"""
_TAKE = """\
def take(name, cost):
    try:
        acquire()
        now = nanoseconds() // 1000
        home = table.only
        if home is None:
            home = table.shards[hash(name) % table.width]
        state = before = home.get(name)
        while state is not None and cost:  # once: to leave it is to ask `step`
{charge}
            home[name] = state
            release()
            return 0, remaining, reset, state
        if before is None:
            found = take_first(name, cost, now)
        else:
            found = step(before, now, cost)
            home[name] = found[3]
        release()
    except BaseException:
        try:
            release()
        except RuntimeError:
            pass
        raise
    if before is None:
        announce()
    return found
"""
_SHARE = """\
    share = remaining / {most}
    if share < least:
        least = share
        binding = {i}
"""


def unrolled(rules: Sequence[Rule], tables: Sequence[ScopeTable]) -> Charge:
    """Write the function that charges ordinary requests under these rules, and compile it: about 1 ms.

    Args:
        rules: what is asked of every request, 1 or more.
        tables: where the states of each rule live.

    >>> from threshold import TokenBucket
    >>> user = Rule.of("user", "user", TokenBucket("3/hour"))
    >>> table = ScopeTable(user.scope, user.limit)
    >>> charge = unrolled([user], [table])
    >>> charge(["ada"], 1, 0, None) is None  # nobody knows her
    True
    >>> table.home("ada")["ada"] = 1_200_000_000
    >>> charge(["ada"], 1, 0, None)
    (0, [(0, 1, 2400000000, 2400000000)])
    """
    numbers = range(len(rules))
    # The rules as well: who finds this function by their id() can be sure that they are still alive.
    names: dict[str, object] = {"rules": rules}
    source = _BEGIN.format(who=len(rules))
    for i, rule, table in zip(numbers, rules, tables, strict=True):
        names[f"table{i}"] = table
        lines, own = _ordinary(rule.limit, i)
        names |= own
        source += _RULE.format(i=i, charge=indent(dedent(lines).strip("\n"), "    "))
        if len(rules) > 1:
            source += _SHARE.format(i=i, most=rule.most or 1)
    source += "".join(f"    home{i}[name{i}] = state{i}\n" for i in numbers)
    source += f"    return binding, [{', '.join(f'found{i}' for i in numbers)}]\n"
    exec(compile(source, "<charge of an ordinary request>", "exec"), names)
    return cast(Charge, names["charge"])


def unrolled_take(limit: Limit, table: ScopeTable, names: dict[str, object]) -> Take:
    """Write the function that decides, under its lock, one cost for one name: refusals included.

    A signal handler may raise after any call: so acquire() stands inside the try, and release() is the very
    next call after an exception. The lock knows whether this thread holds it.

    Args:
        limit: what is asked.
        table: where its states live.
        names: `acquire` and `release` of the lock; `nanoseconds`, the clock; `take_first(name, cost, now)`
            for a name without a state, and `announce()`, called after that without the lock.
    """
    lines, own = _ordinary(limit, 0)
    lines = dedent(lines).strip("\n").replace("return None", "break")
    source = _TAKE.format(charge=indent(lines, " " * 12))
    names = {**names, **own, "step": limit.step, "table": table}
    exec(compile(source, "<take>", "exec"), names)
    return cast(Take, names["take"])


def _ordinary(limit: Limit, i: int) -> tuple[str, dict[str, object]]:
    """A limit's own lines, or a call of its `step` where it has none that stand for it."""
    own = shortcut(limit, "ordinary", "step")
    if own is not None:
        return cast("tuple[str, dict[str, object]]", own(str(i)))
    lines = f"""
        retry, remaining, reset, state = step{i}(state, now, cost)
        if retry:
            return None
    """
    return lines, {f"step{i}": limit.step}
