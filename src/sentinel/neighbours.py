"""What other programs did to a run: in which of its seconds they used more of the machine than usual.

A target's p95 rises with its load, and with the load of whoever shares its machine. The record has the
second, so a finding is asked of those seconds in which others were no busier than at low load, or left a
whole core idle: what does not show there may be theirs.

Where the target's own processes are known, their use is taken off. Elsewhere the use of others may be the
target's, and a rise with the load is no disturbance: then seconds are held against others of the same load.
"""

from __future__ import annotations

from collections.abc import Sequence

from sentinel.run import RunRecord

MARGIN = 0.1  # of the machine: by so much the use of a second differs from the next without any reason
ENOUGH_LEFT = 1.0  # cores: who finds one idle need not wait for others
SHARE = 0.25  # of the machine: what is worth a word


def apart(record: RunRecord) -> bool:
    """Tell whether the target is told from other programs. Segments of one run are others to each other."""
    parts = max(record.counters.get("segments", 1), record.counters.get("merged", 1))
    return bool(record.target_cpu) and parts < 2


def neighbours(record: RunRecord) -> tuple[float, ...]:
    """Give the share of the machine (0 .. 1) per second that others used, without the target's processes if
    those are known."""
    if not apart(record):
        return record.others_cpu
    pairs = zip(record.others_cpu, record.target_cpu, strict=False)
    return tuple(max(0.0, others - target / _cores(record)) for others, target in pairs)


def _cores(record: RunRecord) -> int:
    cores = record.host.get("cores", 1)
    return cores if isinstance(cores, int) and cores > 0 else 1


def _left(record: RunRecord, second: int) -> float:
    """Give the cores that nobody used in a second."""
    own = record.generator_cpu[second] if second < len(record.generator_cpu) else 0.0
    return _cores(record) * (1.0 - record.others_cpu[second]) - own


def quiet(
    record: RunRecord, seconds: Sequence[int], low: Sequence[int], *, alike: Sequence[int] = ()
) -> list[int]:
    """Select the seconds in which others left a core idle, or used no more than usual.

    That is what they used in the seconds of `low` load, or, where the target may be among them, in seconds
    that are `alike` in load (by default those to select from).

    What is usual is what a quarter of them stay below: noise in most of them does not become it.
    """
    used = neighbours(record)
    known = sorted(used[at] for at in (low if apart(record) else alike or seconds) if at < len(used))
    if not known:
        return list(seconds)
    bound = known[(len(known) - 1) // 4] + MARGIN
    return [at for at in seconds if at >= len(used) or used[at] <= bound or _left(record, at) >= ENOUGH_LEFT]


def used_by_others(record: RunRecord, seconds: Sequence[int]) -> float:
    """Give the mean share of the machine that others used in some seconds; 0 where nobody knows."""
    used = neighbours(record)
    known = [used[at] for at in seconds if at < len(used)]
    return sum(known) / len(known) if known else 0.0


def named(record: RunRecord) -> str:
    """Name the others, as far as they are known."""
    return "other programs" if apart(record) else "all programs but the generator"
