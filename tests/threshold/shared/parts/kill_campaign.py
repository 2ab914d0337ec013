"""Kill processes in the middle of decisions, over and over, and inspect the file each time.

    python kill_campaign.py NAME KILLS SEED

Two victims at a time charge, strike, refund, reset and fill a small table without a pause; one of them is
killed (SIGKILL) at a random instant, then everything must add up. Prints what it saw as one line of JSON, and
every contradiction. Runs in a process of its own because it forks.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
import time
from random import Random

from integrity import problems

from threshold import Ladder, Rung, SlidingWindow, TokenBucket
from threshold.plan import Plan, Rule
from threshold.sliding_window import counted
from threshold.stores.shared import SharedMemoryStore

KEYS = 24
SLOTS = 2
MAX_KEYS = 400
LADDER = Ladder([Rung(ban=86_400)], decay=86_400)
TRIPLE = tuple(
    Rule.of(f"t{precision}", "user", SlidingWindow("900000000 per 300 days", precision=precision))
    for precision in (10, 60, 360)
)
BRIEF = (
    Rule.of("window", "user", SlidingWindow("400 per 3 ms", precision=360)),
    Rule.of("bucket", "user", TokenBucket("100000/second", burst=50)),
)
ONCE = Rule.of("once", "user", SlidingWindow("1/hour"), strikes=True)


class Tally:
    """What the victims were told, in memory they share: charges per slot and key, bans per slot."""

    def __init__(self) -> None:
        self.words = memoryview(mmap.mmap(-1, 8 * SLOTS * (KEYS + 1))).cast("q")

    def charge(self, slot: int, key: int) -> None:
        self.words[slot * (KEYS + 1) + key] += 1

    def charges(self, key: int) -> int:
        return sum(self.words[slot * (KEYS + 1) + key] for slot in range(SLOTS))

    def ban(self, slot: int) -> int:
        return slot * (KEYS + 1) + KEYS


def plan_of(rules: tuple[Rule, ...], who: str, cost: int = 1, ladder: Ladder | None = None) -> Plan:
    """A plan for one caller."""
    abuse = None if ladder is None else f"abuse\0{who}"
    return Plan.of(rules, tuple(rule.scope + who for rule in rules), cost, abuse, ladder, who)


def be_victim(store: SharedMemoryStore, tally: Tally, slot: int, seed: int) -> None:
    """Use the store until killed."""
    rng = Random(seed)
    takes = [store.bind(rule) for rule in BRIEF]
    while True:
        dice = rng.random()
        if dice < 0.4:
            key = rng.randrange(KEYS)
            assert store.decide(plan_of(TRIPLE, f"k{key}")).allowed
            tally.charge(slot, key)
        elif dice < 0.8:
            rng.choice(takes)(str(rng.randrange(200)), rng.randint(1, 9))
        elif dice < 0.9:
            plan = plan_of(BRIEF, f"p{rng.randrange(100)}", 2)
            outcome = store.decide(plan)
            if rng.random() < 0.5:
                store.refund(plan, outcome.at)
        elif dice < 0.95:
            store.reset([f"{rule.scope}{rng.randrange(200)}" for rule in BRIEF])
        elif tally.words[tally.ban(slot)] < 30:
            number = tally.words[tally.ban(slot)]
            plan = plan_of((ONCE,), f"bad{slot}-{number}", 1, LADDER)
            if not store.decide(plan).allowed:
                tally.words[tally.ban(slot)] = number + 1


def contradictions(store: SharedMemoryStore, tally: Tally, kills: int) -> list[str]:
    """Everything that the file says and the victims did not see, or the other way round."""
    with store._lock.held(store._recover):
        found = problems(store)
        for key in range(KEYS):
            known = tally.charges(key)
            totals = set()
            for rule in TRIPLE:
                state = store._table.peek(store._table.places.of(f"{rule.scope}k{key}"))
                totals.add(0 if state is None else counted(state))
            if len(totals) > 1:
                found.append(f"key {key} was charged in part: {totals}")
            if not known <= max(totals) <= known + kills + SLOTS:
                found.append(f"key {key} holds {totals}, and {known} charges were told")
        for slot in range(SLOTS):
            for number in range(tally.words[tally.ban(slot)]):
                record = store._table.peek(store._table.places.of(f"abuse\0bad{slot}-{number}"))
                if record is None or not record.banned:
                    found.append(f"ban {number} of {slot} is lost")
    return found


def start(store: SharedMemoryStore, tally: Tally, slot: int, seed: int, fresh: bool) -> int:
    """Fork a victim, which uses the inherited store or opens its own."""
    pid = os.fork()
    if pid:
        return pid
    try:
        be_victim(SharedMemoryStore(store.name, MAX_KEYS, timeout=20) if fresh else store, tally, slot, seed)
    finally:
        os._exit(1)


def main() -> None:
    name, kills, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rng = Random(seed)
    store = SharedMemoryStore(name, MAX_KEYS, timeout=20)
    tally = Tally()
    pids = [start(store, tally, slot, rng.getrandbits(32), slot == 0) for slot in range(SLOTS)]
    found: list[str] = []
    done = 0
    try:
        while done < kills and not found:
            time.sleep(rng.random() * 0.012)
            slot = rng.randrange(SLOTS)
            os.kill(pids[slot], signal.SIGKILL)
            _, status = os.waitpid(pids[slot], 0)
            if not os.WIFSIGNALED(status):
                found.append(f"a victim ended by itself: {status}")
            done += 1
            found += contradictions(store, tally, done)
            pids[slot] = start(store, tally, slot, rng.getrandbits(32), rng.random() < 0.5)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    charges = sum(tally.charges(key) for key in range(KEYS))
    bans = sum(tally.words[tally.ban(slot)] for slot in range(SLOTS))
    print(
        json.dumps(
            {
                "kills": done,
                "recovered": store.recovered,
                "damaged": store.damaged,
                "charges": charges,
                "bans": bans,
                "overflowed": store.overflowed,
                "found": found,
            }
        )
    )
    store.close()


if __name__ == "__main__":
    main()
