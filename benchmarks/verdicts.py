"""What threshold promises about its speed, and whether a run kept it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sampling import Interval, Series, added, ratio

Sections = Mapping[str, Sequence[Series]]


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise and what a run measured."""

    text: str
    bound: float
    measured: Interval
    at_least: bool
    unit: str = ""

    @property
    def met(self) -> bool:
        """The figure is on the right side of the bound."""
        value = self.measured.value
        return value >= self.bound if self.at_least else value <= self.bound

    @property
    def clearly_missed(self) -> bool:
        """Even the kinder end of the interval is on the wrong side."""
        return self.measured.high < self.bound if self.at_least else self.measured.low > self.bound


def promises(sections: Sections) -> Iterator[Promise]:
    """Every promise that the measured sections can answer."""
    for title in ("hot key", "many keys"):
        if title in sections:
            yield from _acquire(title, sections[title])
    if "starlette" in sections:
        yield from _web("Starlette", sections["starlette"], single=5.0, whole=10.0)
    if "flask" in sections:
        yield from _web("Flask", sections["flask"], single=None, whole=12.0)
    for title, series in sections.items():
        for each in series:
            if each.role == "ours" and title in ("hot key", "many keys", "starlette", "flask"):
                spread = each.p99() / each.median()
                yield Promise(
                    f"{title}: p99 of {each.name}, times its median",
                    3,
                    Interval(spread, spread, spread),
                    False,
                )


def _acquire(title: str, series: Sequence[Series]) -> Iterator[Promise]:
    for ours in (each for each in series if each.role == "ours"):
        for peer in (each for each in series if each.role == "peer"):
            bound = 3 if peer.name.startswith("throttled") else 5
            yield Promise(
                f"{title}: {ours.name}, times as fast as {peer.name}", bound, ratio(ours, peer), True
            )


def _web(title: str, series: Sequence[Series], single: float | None, whole: float) -> Iterator[Promise]:
    by_name = {each.name: each for each in series}
    bare = by_name["bare"]
    for name, bound in (("one limit", single), ("whole policy", whole)):
        ours = by_name[f"threshold, {name}"]
        if bound is not None:
            yield Promise(f"{title}: {name} adds, us", bound, _micros(added(ours, bare)), False, "us")
        refused = by_name[f"refused: threshold, {name}"]
        share = ratio(ours, refused)
        yield Promise(f"{title}: a refusal by {name}, share of an admitted request", 0.5, share, False)


def _micros(interval: Interval) -> Interval:
    return Interval(interval.value / 1000, interval.low / 1000, interval.high / 1000)
