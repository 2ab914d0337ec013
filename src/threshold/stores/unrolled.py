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

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, cast

from ..plan import Admitted, Found, Limit, Rule
from .base import Take, shortcut
from .key_table import ScopeTable

T = TypeVar("T")

Charge = Callable[[Sequence[str], int, int, ScopeTable | None], T | None]
"""Charge to `names`, one under each rule, the `cost` at the instant `now`; or None.

Where there is a table of abuse records, the name after the last rule's must not be in it.

Everything is written at the end, and no call stands between: a signal handler that raises finds either all
or nothing charged."""

# Names with an underscore are the frame's own; the limits' lines use others.
_BEGIN = """\
def charge(_names, cost, now, _records):
    if not cost:
        return None
    if _records is not None:
        _who = _names[{who}]
        _home = _records.only
        if _home is None:
            _home = _records.shards[hash(_who) % _records.width]
        if _home.get(_who) is not None:
            return None
    try:
{reading}
    except KeyError:
        return None
    {noting}
"""
_READ = """
        _name{i} = _names[{i}]
        _home{i} = _table{i}.only
        if _home{i} is None:
            _home{i} = _table{i}.shards[hash(_name{i}) % _table{i}.width]
        _state{i} = _home{i}[_name{i}]"""
_RULE = """\
    if _state{i} is None:
        return None
{charge}
"""
_BINDING = """\
    _share = remaining / {most}
    if _share < _least:
        _least = _share
        _binding = {i}
        _left = remaining
        _end = {rests}
"""
_FOUND = """\
    _found.append((0, remaining, ({rests}) - now, _state{i}))
"""
_TAKE = """\
def take(_name, cost):
    try:
        _acquire()
        now = _nanoseconds() // 1000
        _home = _table.only
        if _home is None:
            _home = _table.shards[hash(_name) % _table.width]
        state = _before = _home.get(_name)
        while state is not None and cost:  # once: to leave it is to ask `_step`
{charge}
            _home[_name] = state
            _release()
            return 0, remaining, ({rests}) - now, state
        if _before is None:
            _found = _take_first(_name, cost, now)
        else:
            _found = _step(_before, now, cost)
            _home[_name] = _found[3]
        _release()
    except BaseException:
        try:
            _release()
        except RuntimeError:
            pass
        raise
    if _before is None:
        _announce()
    return _found
"""

_LEAVES_ELSEHOW = re.compile(r"\b(?:for|while|def)\b|\breturn\b(?! None\b)")
"""In lines that cannot stand in `_TAKE`: there a `break` takes the place of `return None`."""


def unrolled(rules: Sequence[Rule], tables: Sequence[ScopeTable]) -> Charge[Admitted]:
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
    (0, 1, 2400000000)
    """
    return cast(
        "Charge[Admitted]", _charge(rules, tables, "_least = 2.0", _BINDING, "_binding, _left, _end - now")
    )


def unrolled_found(rules: Sequence[Rule], tables: Sequence[ScopeTable]) -> Charge[list[Found]]:
    """`unrolled`, for those who want to know what each of the limits said."""
    return cast("Charge[list[Found]]", _charge(rules, tables, "_found = []", _FOUND, "_found"))


def _charge(
    rules: Sequence[Rule], tables: Sequence[ScopeTable], begin: str, note: str, answer: str
) -> object:
    """A charge that notes down something about each limit, and answers something of that."""
    # The rules as well: who finds this function by their id() can be sure that they are still alive.
    names: dict[str, object] = {"_rules": rules}
    reading = "".join(_READ.format(i=i) for i in range(len(rules))).lstrip("\n")
    source = _BEGIN.format(who=len(rules), reading=reading, noting=begin)
    said: dict[str, int] = {}
    for i, (rule, table) in enumerate(zip(rules, tables, strict=True)):
        shared, lines, rests, own = _ordinary(rule.limit, i)
        group = said.get(shared, i) if shared else i
        said[shared] = group
        renamed = {"state": f"_state{i}"} | {name: f"{name}_{group}" for name in own}
        parts = (shared, lines) if group == i else (lines,)
        charge = "\n".join(_lines(part, 4, renamed) for part in parts)
        rests = _renamed(rests, renamed)
        names |= {f"{name}_{group}": value for name, value in own.items()} | {f"_table{i}": table}
        source += _RULE.format(i=i, charge=charge)
        source += note.format(i=i, most=rule.most or 1, rests=rests)
    source += "".join(f"    _home{i}[_name{i}] = _state{i}\n" for i in range(len(rules)))
    exec(compile(f"{source}    return {answer}\n", "<charge of an ordinary request>", "exec"), names)
    return names["charge"]


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
    shared, lines, rests, own = _ordinary(limit, 0)
    if _LEAVES_ELSEHOW.search(shared + lines):
        shared, lines, rests, own = _stepping(limit, 0)
    charge = _lines(shared, 12) + "\n" + _lines(lines, 12)
    source = _TAKE.format(charge=charge.replace("return None", "break"), rests=rests)
    names = (
        own | {f"_{name}": value for name, value in names.items()} | {"_step": limit.step, "_table": table}
    )
    exec(compile(source, "<take>", "exec"), names)
    return cast(Take, names["take"])


def _renamed(source: str, names: Mapping[str, str]) -> str:
    """Source code with some of its names replaced: no attributes, no names of arguments given, no text.

    Where there is none of these, words will do: to parse our own limits' lines would double what they cost.
    """
    words = "|".join(names)
    if not re.search(rf"""["'.#]|[(,]\s*(?:{words})\s*=(?!=)""", source):
        return re.sub(rf"\b(?:{words})\b", lambda found: names[found[0]], source)
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
        elif isinstance(node, ast.arg):  # of a lambda
            node.arg = names.get(node.arg, node.arg)
    return ast.unparse(tree)


def _lines(source: str, spaces: int, names: Mapping[str, str] | None = None) -> str:
    """Source code, moved to where it is to stand, with some of its names replaced."""
    from textwrap import dedent, indent  # 1 ms that importing the package need not take

    source = dedent(source).strip("\n")
    return indent(source if names is None else _renamed(source, names), " " * spaces)


def _ordinary(limit: Limit, i: int) -> tuple[str, str, str, dict[str, object]]:
    """A limit's own lines, or a call of its `step` where it has none that stand for it."""
    own = shortcut(limit, "ordinary", "step")
    if own is not None:
        return cast("tuple[str, str, str, dict[str, object]]", own())
    return _stepping(limit, i)


def _stepping(limit: Limit, i: int) -> tuple[str, str, str, dict[str, object]]:
    """The lines of a limit that has none: a call of its `step`."""
    lines = f"""
        retry, remaining, reset, state = step{i}(state, now, cost)
        if retry:
            return None
    """
    return "", lines, "now + reset", {f"step{i}": limit.step}
