"""decide.lua and refund.lua on Lua 5.4, which servers may come with one day: the same numbers as on 5.1.

No server runs 5.4 yet, so the interpreter is lupa's, and the commands the scripts use are played by a dict.
Lua 5.1 is what the real servers of the other tests run.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from threshold.plan import Plan
from threshold.stores.redis.keys import KeyNames
from threshold.stores.redis.wire import (
    COST_CEILING,
    DECIDE,
    REFUND,
    Ask,
    Shapes,
    blob_of_one,
    numbers_of,
    outcome_at,
    refund_blob,
)

from .walks import Twin, fields, keys_of, steps

lua54 = pytest.importorskip("lupa.lua54", reason="lupa brings no Lua 5.4 here")


class Room:
    """A Lua 5.4 in which a script finds KEYS, ARGV and redis.call."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.lua: Any = lua54.LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self.lua.globals()[b"redis"] = self.lua.table_from({b"call": self._call})
        # As on a server: what is not there may not be asked for.
        self.lua.execute(b"setmetatable(_G, {__index = function(_, name) error('no global ' .. name) end})")

    def run(self, script: bytes, names: list[bytes], blob: bytes) -> Any:
        body = self.lua.eval(b"function(keys, argv) KEYS, ARGV = keys, argv end")
        body(self.lua.table_from(names), self.lua.table_from([blob]))
        return self.lua.execute(script)

    def _call(self, name: bytes, *args: Any) -> Any:
        assert all(isinstance(arg, bytes) for arg in args), (
            f"{name!r} was given numbers: digits would be lost"
        )
        if name == b"GET":
            return self.kept.get(args[0], False)
        if name == b"MGET":
            return self.lua.table_from([self.kept.get(arg, False) for arg in args])
        if name == b"PSETEX":
            assert int(args[1]) > 0
            self.kept[args[0]] = args[2]
        elif name == b"SET":
            assert args[2:] == (b"KEEPTTL",)
            self.kept[args[0]] = args[1]
        else:
            assert name == b"DEL"
            self.kept.pop(args[0], None)
        return b"OK"


@pytest.mark.parametrize("seed", range(8))
def test_lua_5_4_says_what_the_engine_says(seed: int) -> None:
    room, twin, names, shapes = Room(), Twin(), KeyNames(), Shapes()

    def named(plan: Plan) -> list[bytes]:
        return names.names(keys_of(plan), "")

    for step, expected in steps(Random(seed), 300, twin, back=seed % 2 == 0):
        plan = step.plan
        if step.what == "decide":
            assert expected is not None
            ask = Ask(named(plan), shapes.of(plan), min(plan.cost, COST_CEILING), int(plan.peek))
            reply = room.run(DECIDE.text, ask.names, blob_of_one(ask, step.now))
            outcome, _, _ = outcome_at(numbers_of(reply), 1, ask.shape.takes)
            assert fields(outcome) == fields(expected), step
        elif step.what == "refund":
            blob = refund_blob(plan.rules, plan.cost, step.at, step.now)
            room.run(REFUND.text, names.names(plan.keys, ""), blob)
        else:
            for name in named(plan):
                room.kept.pop(name, None)
