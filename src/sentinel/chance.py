"""How likely a count is by chance alone: the tails of the binomial distribution."""

from __future__ import annotations

from math import exp, lgamma, log


def at_least(count: int, trials: int, share: float) -> float:
    """Give the probability of `count` or more hits in `trials` that hit with probability `share` (0 .. 1).

    >>> round(at_least(2, 3, 0.5), 6), at_least(0, 40, 0.05), round(at_least(6, 40, 0.05), 4)
    (0.5, 1.0, 0.0139)
    """
    if count <= 0 or share >= 1:
        return 1.0 if count <= trials else 0.0
    if share <= 0 or count > trials:
        return 0.0
    below = sum(exp(_log_ways(hits, trials) + hits * log(share) + (trials - hits) * log(1 - share))
                for hits in range(count))  # fmt: skip
    return max(0.0, 1.0 - below)


def most_by_chance(trials: int, share: float, doubt: float = 0.05) -> int:
    """Give the largest count of hits that is no surprise: more come by chance in less than `doubt` of cases.

    >>> [most_by_chance(trials, 0.01) for trials in (10, 40, 172)]
    [1, 2, 4]
    """
    count = 0
    while at_least(count + 1, trials, share) >= doubt:
        count += 1
    return count


def _log_ways(hits: int, trials: int) -> float:
    return lgamma(trials + 1) - lgamma(hits + 1) - lgamma(trials - hits + 1)
