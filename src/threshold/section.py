"""Section: one table of a policy file, and where it stands in it.

Knows how to read a value of the right kind and how to say what is wrong with one: file, key, value,
remedy. Knows nothing of limits or policies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TypeVar

from .errors import ConfigurationError
from .rate import SECOND, UNITS

T = TypeVar("T", bound=str)

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_DURATION = re.compile(r"\s*(\d{1,18})(?:\.(\d{1,6}))?\s*([a-z]+)\s*", re.ASCII | re.IGNORECASE)


class Section:
    """A table of a policy file.

    >>> Section("threshold.toml", ("ladder",), {"decay": "24 h"}).seconds("decay")
    86400
    """

    __slots__ = ("path", "source", "top", "values")

    def __init__(
        self, source: str, path: tuple[str, ...], values: Mapping[str, object], top: tuple[str, ...] = ()
    ) -> None:
        self.source = source
        self.path = path
        self.values = values
        self.top = top
        """Keys of the file's top level: written below a [table] they silently belong to that table."""

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def dotted(self, key: str) -> str:
        """The full name of a key, as one could write it in the file.

        >>> Section("f", ("endpoints",), {}).dotted("POST /api/posts")
        'endpoints."POST /api/posts"'
        """
        return ".".join(_quoted(part) for part in (*self.path, key))

    def error(self, key: str, value: object, remedy: str) -> ConfigurationError:
        """The error for a key of this table."""
        return ConfigurationError(self.dotted(key), value, remedy, source=self.source)

    @contextmanager
    def blames(self, key: str | None = None) -> Iterator[None]:
        """Say of errors raised inside that this key is to blame; None: the key named like their field."""
        try:
            yield
        except ConfigurationError as error:
            if error.source is not None:
                raise
            raise self.error(key or error.field, error.value, error.remedy) from None

    def only(self, keys: Iterable[str], forms: str = "") -> None:
        """Refuse keys that mean nothing here."""
        known = list(keys)
        for key, value in self.values.items():
            if key not in known:
                raise self.unknown(key, value, known, forms)

    def unknown(self, key: str, value: object, known: Iterable[str], forms: str = "") -> ConfigurationError:
        """The error for a key that means nothing here, with the nearest that does."""
        if self.path and key in self.top:
            return self.error(key, value, f'move "{key}" to the top of the file, above the first [table]')
        names = list(known)
        near = get_close_matches(key, names, n=1, cutoff=0.6)
        hint = f': did you mean "{near[0]}"?' if near else f": {_listed(names)}" if names else ""
        return self.error(key, value, f"unknown key{hint}; {forms}" if forms else f"unknown key{hint}")

    def table(self, key: str) -> Section:
        """The table under a key."""
        value = self.values[key]
        if not isinstance(value, dict):
            raise self.error(key, value, f"give a table: [{self.dotted(key)}]")
        return Section(self.source, (*self.path, key), value, self.top)

    def flag(self, key: str, default: bool) -> bool:
        """A boolean."""
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, value, "give true or false")
        return value

    def text(self, key: str, default: str) -> str:
        """A text."""
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self.error(key, value, "give a text in quotes")
        return value

    def texts(self, key: str, default: Iterable[str]) -> tuple[str, ...]:
        """A list of texts."""
        value = self.values.get(key)
        if value is None:
            return tuple(default)
        if not isinstance(value, list):
            raise self.error(key, value, "give a list of texts in brackets")
        for item in value:
            if not isinstance(item, str):
                raise self.error(key, item, "give a list of texts in brackets")
        return tuple(value)

    def choice(self, key: str, choices: tuple[T, ...], default: T) -> T:
        """One of a few texts."""
        value = self.values.get(key, default)
        for choice in choices:
            if choice == value:
                return choice
        near = get_close_matches(value, choices, n=1) if isinstance(value, str) else []
        hint = f' (did you mean "{near[0]}"?)' if near else ""
        raise self.error(key, value, f"{_listed(choices)}{hint}")

    def whole(self, key: str) -> int | None:
        """A whole number, or None when the key is not there."""
        value = self.values.get(key)
        if value is None or type(value) is int:
            return value
        raise self.error(key, value, "give a whole number")

    def seconds(self, key: str, default: float = 0) -> float:
        """A duration in seconds; the file may say it as a number or as "5 minutes"."""
        value = self.values.get(key)
        return default if value is None else self.duration(key, value)

    def duration(self, key: str, value: object) -> float:
        """A value under this key as a duration in seconds."""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
        found = _DURATION.fullmatch(value) if isinstance(value, str) else None
        unit = None if found is None else UNITS.get(found[3].lower())
        if found is None or unit is None:
            raise self.error(key, value, 'give seconds, or a text such as "5 minutes", "24 h" or "1.5 s"')
        micros = int(found[1]) * unit + int((found[2] or "").ljust(6, "0")) * unit // 1_000_000
        return in_seconds(micros)


def in_seconds(micros: int) -> float:
    """Microseconds as seconds: a whole number where it is one.

    >>> in_seconds(60_000_000), in_seconds(1_500_000)
    (60, 1.5)
    """
    return micros // SECOND if micros % SECOND == 0 else micros / SECOND


def _quoted(part: str) -> str:
    if _BARE.fullmatch(part):
        return part
    return '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _listed(names: Iterable[str]) -> str:
    return "give one of " + ", ".join(f'"{name}"' for name in names)
