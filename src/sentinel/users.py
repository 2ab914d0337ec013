"""Virtual users and their sessions: who sends a request, and the values its templates are filled from."""

from __future__ import annotations

from collections.abc import Mapping

from sentinel.draws import HALF, Draws, Opening
from sentinel.drivers.driver import NO_HEADERS, Headers
from sentinel.scenario import Population
from sentinel.sources import Source
from sentinel.template import Template

FIXED = frozenset({"user", "tenant", "address"})
LASTING = FIXED | {"token"}


class User:
    """Stand for one user: number, tenant, client address, token, and what earlier sessions extracted."""

    __slots__ = ("common", "completed", "headers", "key", "number", "values")

    def __init__(self, number: int, population: Population) -> None:
        self.number = number
        self.key = f"user-{number}"
        self.completed: set[str] = set()
        self.common: Headers | None = None
        self.headers: dict[int, Headers] = {}
        self.values = {
            "user": str(number),
            "tenant": population.tenants[number % len(population.tenants)],
            "address": address(number),
            "token": "",
        }
        if population.token:
            self.values["token"] = Template(population.token).fill(self.values.__getitem__)


def address(number: int) -> str:
    """Make up a private client address for a user; the first 16 million users have one each.

    >>> address(0), address(300)
    ('10.0.0.1', '10.0.1.45')
    """
    number = (number + 1) % (1 << 24)
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


class Users:
    """Give the users of a scenario, made when first needed, and their common headers.

    fixed: a user's common headers are the same in all sessions.
    """

    def __init__(self, population: Population, count: int) -> None:
        self._population = population
        self._count = count
        self._hot = population.hot_share
        self._users: dict[int, User] = {}
        self._headers = [(name, Template(text)) for name, text in population.headers]
        self.fixed = all(FIXED.issuperset(template.names) for _, template in self._headers)

    def of_session(self, number: int, draws: Draws) -> User:
        """Give the user whose session this is: in turn, but for the share that goes to user 0."""
        if self._hot and draws.share() < self._hot:
            return self[0]
        number %= self._count
        return self._users.get(number) or self[number]

    def __getitem__(self, number: int) -> User:
        user = self._users.get(number)
        if user is None:
            user = self._users[number] = User(number, self._population)
        return user

    def common_headers(self, session: Session) -> Headers:
        """Give the headers that all requests of a session carry; kept by the user when they stay the same."""
        known = session.user.common
        if known is None:
            known = fill_headers(self._headers, session) if self._headers else NO_HEADERS
            if self.fixed:
                session.user.common = known
        return known


class Session(Draws):
    """Be one session: its draws, and the values made of them when first asked for, extracted ones on top."""

    __slots__ = ("_sources", "number", "user", "values")

    def __init__(self, opening: Opening, users: Users, sources: Mapping[str, Source]) -> None:
        self.number, bits = opening
        self._state = bits  # as Draws does it, without a second call: sessions are made by the million
        self._left = bits & HALF
        self.values: dict[str, str] = {}
        self._sources = sources
        self.user = users.of_session(self.number, self)

    def look_up(self, name: str) -> str:
        """Give the value of a placeholder; empty when an answer that should have given it never came."""
        value = self.values.get(name)
        if value is None and (value := self.user.values.get(name)) is None:
            source = self._sources.get(name)
            if source is None:
                return str(self.number) if name == "session" else ""
            value = self.values[name] = source.draw(self)
        return value

    def keep(self, name: str, value: str) -> None:
        """Keep an extracted value, for this session and for the user's later ones."""
        self.values[name] = value
        self.user.values[name] = value
        if name in LASTING:
            self.user.headers.clear()


def fill_headers(templates: list[tuple[str, Template]], session: Session) -> Headers:
    """Fill in headers; one with a placeholder that comes out empty is left out."""
    pairs = []
    for name, template in templates:
        values = [session.look_up(placeholder) for placeholder in template.names]
        if all(values):
            pairs.append((name, template.format % tuple(values) if values else template.text))
    return Headers(pairs)
