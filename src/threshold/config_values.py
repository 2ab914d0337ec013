"""Limits and ladders as policy files write them: one value of a `Section` in, one object out."""

from __future__ import annotations

from .escalation import Ladder, Rung
from .plan import Limit
from .rate import Rate
from .section import Section, in_seconds
from .sliding_window import SlidingWindow
from .token_bucket import TokenBucket

LIMIT_KEYS = ("rate", "limit", "per", "algorithm", "burst", "precision")
_LIMIT_FORMS = (
    'write a limit as "100/minute", { rate = "100/minute", burst = 20 } or '
    '{ rate = "5 per 5 minutes", algorithm = "sliding-window" }'
)


def dropped(section: Section, key: str, inherited: bool) -> bool:
    """Whether the file says `key = false`: drop what the preset has there."""
    if section.values[key] is not False:
        return False
    if not inherited:
        raise section.error(key, False, "false drops what a preset brings, and there is none: drop the key")
    return True


def limit(section: Section, key: str) -> Limit:
    """The limit under a key: a text, or a table.

    >>> limit(Section("f", (), {"user": {"rate": "100/minute", "burst": 20}}), "user").limit
    20
    """
    value = section.values[key]
    if isinstance(value, str):
        with section.blames(key):
            return TokenBucket(value)
    if not isinstance(value, dict):
        raise section.error(key, value, _LIMIT_FORMS)
    table = section.table(key)
    table.only(LIMIT_KEYS, _LIMIT_FORMS)
    rate = _rate(section, key, table)
    algorithm = table.choice("algorithm", ("token-bucket", "sliding-window"), "token-bucket")
    with table.blames():
        if algorithm == "sliding-window":
            if "burst" in table:
                raise table.error("burst", table.values["burst"], "a sliding window has no burst: drop it")
            return SlidingWindow(rate, table.whole("precision"))
        if "precision" in table:
            remedy = 'only a sliding window has one: add algorithm = "sliding-window"'
            raise table.error("precision", table.values["precision"], remedy)
        return TokenBucket(rate, table.whole("burst"))


def _rate(section: Section, key: str, table: Section) -> Rate:
    """The rate of a limit's table: `rate`, or `limit` and `per`."""
    with table.blames():
        if "rate" in table:
            for other in ("limit", "per"):
                if other in table:
                    raise table.error(other, table.values[other], "the rate says it already: drop either")
            return Rate.parse(table.text("rate", ""))
        most = table.whole("limit")
        if most is None or "per" not in table:
            raise section.error(key, dict(table.values), f"there is no rate; {_LIMIT_FORMS}")
        return Rate(most, table.seconds("per"))


def ladder(root: Section, inherited: Ladder | None) -> Ladder | None:
    """The ladder under `ladder`: "default", or a table; what it leaves out is inherited."""
    if "ladder" not in root:
        return inherited
    if dropped(root, "ladder", inherited is not None):
        return None
    if root.values["ladder"] == "default":
        return Ladder.default()
    if not isinstance(root.values["ladder"], dict):
        raise root.error("ladder", root.values["ladder"], 'give "default", or a table with rungs')
    section = root.table("ladder")
    section.only(("rungs", "decay", "delay"))
    if "rungs" in section:
        rungs = _rungs(section)
    elif inherited is not None:
        rungs = tuple(inherited.rungs)
    else:
        raise section.error("rungs", None, "say what each strike brings: [[ladder.rungs]]")
    model = inherited or Ladder.default()
    with section.blames():
        return Ladder(rungs, section.seconds("decay", in_seconds(model.decay_us)), _delay(section, model))


def _rungs(section: Section) -> tuple[Rung, ...]:
    values = section.values["rungs"]
    if not isinstance(values, list):
        raise section.error("rungs", values, "give a list of tables: [[ladder.rungs]], one per strike")
    rungs = []
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise section.error("rungs", value, 'give tables such as { cooldown = "1 minute" }')
        rung = Section(section.source, (*section.path, "rungs", str(number)), value, section.top)
        rung.only(("forgive", "cooldown", "shadow", "ban"))
        with rung.blames():
            rungs.append(
                Rung(
                    rung.flag("forgive", False),
                    rung.seconds("cooldown"),
                    rung.seconds("shadow"),
                    rung.seconds("ban"),
                )
            )
    return tuple(rungs)


def _delay(section: Section, model: Ladder) -> tuple[float, float]:
    value = section.values.get("delay")
    if value is None:
        return model.delay
    if not isinstance(value, list) or len(value) != 2:
        raise section.error("delay", value, 'give [shortest, longest], e.g. ["1 s", "3 s"]')
    return section.duration("delay", value[0]), section.duration("delay", value[1])
