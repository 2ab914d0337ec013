"""RedisFront: what the blocking and the asyncio store share: options, names, words, memory. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from ...errors import ConfigurationError
from ...plan import Limit, Outcome, Plan
from ..base import Clock
from .circuit import Circuit, OnTrouble
from .client import Target, target_of
from .cluster_slots import slot_of
from .keys import KeyNames
from .refusals import Refusals
from .resp import Packer, command
from .wire import (
    COST_CEILING,
    DECIDE,
    REFUND,
    Ask,
    Shapes,
    blob_of_many,
    blob_of_one,
    check_limit,
    refund_blob,
)

SERVER_CLOCK = -1
LOOK_AROUND = command(b"INFO", b"memory")
_SAFE_POLICIES = ("noeviction", "volatile-ttl")


class RedisFront:
    """Options of both stores, and the way from a plan to a command and from a reply to an outcome."""

    def __init__(
        self,
        server: object,
        *,
        asynchronous: bool,
        budget: float,
        prefix: str,
        secret: bytes,
        remember: float,
        probe_interval: float,
        on_trouble: OnTrouble | None,
        clock: Clock | None,
    ) -> None:
        _check_seconds("budget", budget, 0.001, 10)
        _check_seconds("remember", remember, 0, 1)
        _check_seconds("probe_interval", probe_interval, 0.01, 60)
        for name, hook in (("on_trouble", on_trouble), ("clock", clock)):
            if hook is not None and not callable(hook):
                raise ConfigurationError(name, hook, "give a function, or leave it out")
        self.target: Target = target_of(server, asynchronous=asynchronous)
        self.budget = float(budget)
        self.probe_interval = float(probe_interval)
        self.on_trouble = on_trouble
        self._clock = clock
        self._warned = False
        self._names = KeyNames(prefix, secret, tagged=self.target.kind == "cluster")
        self._shapes = Shapes()
        self._packer = Packer(DECIDE, self._names.length)
        self._refund_packer = Packer(REFUND, self._names.length)
        self._refusals = Refusals(round(remember * 1_000_000))
        self._local_us = _monotonic_us if clock is None else clock

    def check(self, limit: Limit) -> None:
        """Raise `ConfigurationError` when the limit cannot be counted exactly in doubles below 2**53."""
        check_limit(limit)

    def _circuit(self) -> Circuit:
        return Circuit(self.probe_interval, self.on_trouble)

    def _learn_of_server(self, circuit: Circuit, info: object) -> None:
        """Warn, once, of a server that may evict what limits count on. `info` is the reply to INFO memory."""
        if self._warned or not isinstance(info, bytes):
            return
        told = dict(
            line.split(":", 1) for line in info.decode("utf-8", "replace").splitlines() if ":" in line
        )
        policy = told.get("maxmemory_policy", "noeviction")
        if policy not in _SAFE_POLICIES and told.get("maxmemory", "0") != "0":
            self._warned = True
            circuit.tell(
                "warning",
                f"the server's maxmemory-policy is {policy}: short of memory, it forgets bans and limits; "
                "give threshold a server of its own with noeviction or volatile-ttl",
            )

    def _now(self) -> int:
        return SERVER_CLOCK if self._clock is None else self._clock()

    def _ask(self, plan: Plan, group: str, outside: int = 0, episode: int = 0) -> Ask:
        """A plan, or a part of one, with the names of its keys."""
        keys = plan.keys if plan.abuse is None else (*plan.keys, plan.abuse)
        names = self._names
        return Ask(
            names.names(keys, group),
            self._shapes.of(plan),
            min(plan.cost, COST_CEILING),
            plan.peek + 2 * outside,
            episode,
            slot_of(names.tag(group)[1:-1]) if names.tagged else 0,
        )

    def _gathered(self, keys: Sequence[str], group: str | None) -> Iterator[tuple[list[bytes], int]]:
        """Names and slot of keys, in their order, as many at once as one command may name."""
        names = self._names
        if not names.tagged:
            if keys:
                yield names.names(tuple(keys), ""), 0
            return
        for key in keys:
            home = key.partition("\0")[2] if group is None else group
            yield [names.name(key, home)], slot_of(names.tag(home)[1:-1])

    def _refund(self, part: Plan, group: str, at: int) -> tuple[int, bytes, Callable[[], bytes]]:
        """Slot, command and the command by text that give a part back."""
        names = self._names.names(part.keys, group)
        blob = refund_blob(part.rules, part.cost, at, self._now())
        packer = self._refund_packer
        slot = slot_of(self._names.tag(group)[1:-1]) if self._names.tagged else 0
        return slot, packer.evalsha(names, blob), lambda: packer.eval(names, blob)

    def _pack(self, asks: Sequence[Ask], by_text: bool) -> bytes:
        """One command for one or many decisions."""
        if len(asks) == 1:
            names, blob = asks[0].names, blob_of_one(asks[0], self._now())
        else:
            names = [name for ask in asks for name in ask.names]
            blob = blob_of_many(asks, self._now())
        return self._packer.eval(names, blob) if by_text else self._packer.evalsha(names, blob)

    def _learn(self, plan: Plan, outcome: Outcome, sure: int, asked: int) -> None:
        """Remember a refusal that is sure for so long, or that what was remembered is out of date."""
        self._refusals.remember(plan, outcome, sure, asked=asked, now=self._local_us())


def _check_seconds(name: str, value: object, least: float, most: float) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least <= value <= most:  # type: ignore[operator]
        raise ConfigurationError(name, value, f"give seconds, {least:g} to {most:g}")


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000
