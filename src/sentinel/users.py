"""Virtual users and their sessions: who sends a request, and the values its templates are filled from."""

from __future__ import annotations

from collections.abc import Mapping

from sentinel.drivers.driver import NO_HEADERS, Headers
from sentinel.scenario import Population
from sentinel.sources import Draws, Source
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
        self.headers: dict[int, tuple[str, Headers]] = {}
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
    """Give the users of a scenario, made when first needed, and their common headers."""

    def __init__(self, population: Population, count: int) -> None:
        self._population = population
        self._count = count
        self._users: dict[int, User] = {}
        self._headers = [(name, Template(text)) for name, text in population.headers]
        self._fixed = all(FIXED.issuperset(template.names) for _, template in self._headers)

    def of_session(self, number: int, draws: Draws) -> User:
        """Give the user whose session this is: in turn, but for the share that goes to user 0."""
        hot = self._population.hot_share
        if hot and draws.share() < hot:
            return self[0]
        return self[number % self._count]

    def __getitem__(self, number: int) -> User:
        user = self._users.get(number)
        if user is None:
            user = self._users[number] = User(number, self._population)
        return user

    def common_headers(self, session: Session) -> Headers:
        """Give the headers that all requests of a session carry."""
        if not self._headers:
            return NO_HEADERS
        known = session.user.common
        if known is None:
            known = fill_headers(self._headers, session)
            if self._fixed:
                session.user.common = known
        return known


class Session:
    """Hold the values of one session: drawn when first asked for, extracted ones on top."""

    __slots__ = ("_sources", "draws", "number", "user", "values")

    def __init__(self, number: int, user: User, draws: Draws, sources: Mapping[str, Source]) -> None:
        self.number = number
        self.user = user
        self.draws = draws
        self.values: dict[str, str] = {}
        self._sources = sources

    def look_up(self, name: str) -> str:
        """Give the value of a placeholder; empty when an answer that should have given it never came."""
        value = self.values.get(name)
        if value is None:
            value = self.user.values.get(name)
            if value is None:
                value = self._make(name)
        return value

    def _make(self, name: str) -> str:
        if name == "session":
            return str(self.number)
        source = self._sources.get(name)
        if source is None:
            return ""
        value = self.values[name] = source.draw(self.draws)
        return value

    def keep(self, name: str, value: str) -> None:
        """Keep an extracted value, for this session and for the user's later ones."""
        self.values[name] = value
        self.user.values[name] = value


def fill_headers(templates: list[tuple[str, Template]], session: Session) -> Headers:
    """Fill in headers; one with a placeholder that comes out empty is left out."""
    pairs = []
    for name, template in templates:
        values = [session.look_up(placeholder) for placeholder in template.names]
        if all(values):
            pairs.append((name, template.format % tuple(values) if values else template.text))
    return Headers(pairs)
