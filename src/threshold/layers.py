"""Layers: which rules apply to a method and a path, worked out once per endpoint and tier.

The policy's tables in, a `Column` of rules out. Knows nothing of callers' identities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .endpoints import Endpoints, decoded, normalized
from .errors import ConfigurationError
from .headers import Rules
from .memo import Memo
from .plan import Layer, Limit, OnStoreError, Rule
from .tiers import Category, LimitLike, Tiers, as_limit

Table = LimitLike | Mapping[str, LimitLike]
"""One limit for a whole layer, or endpoint patterns to limits, with "default" for all other requests."""

LAYERS: tuple[Layer, ...] = ("edge", "tenant", "user", "endpoint")
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_LONGEST_REMEMBERED = 512  # letters of method and path together
_MOST_REMEMBERED = 4096


class Listed(NamedTuple):
    """One limit of a policy, as people are shown it."""

    layer: Layer
    name: str
    """The name of its rule, with the tier where there are tiers."""
    limit: Limit


@dataclass(slots=True)
class Column:
    """The rules that apply to one endpoint and tier, and the layers they belong to."""

    rules: Rules
    edge: bool
    tenant: bool
    personal: int
    """Rules, the last ones, that count the caller: by user, or by address."""
    full: bool = field(init=False)
    """Whether there is one of every layer."""

    def __post_init__(self) -> None:
        self.full = self.edge and self.tenant and self.personal == 2


@dataclass(slots=True)
class Target:
    """What the policy says about one endpoint: a rule per layer, and columns made of them on demand."""

    edge: Rule | None
    category: Category
    user: Rule | None
    endpoint: Rule | None
    closed: bool
    untenanted: Column | None = None
    """For callers who belong to no tenant."""
    columns: dict[str | None, Column] = field(default_factory=dict)
    """For tenants, by tier as the app tells it: only tiers that there are, and None."""
    columns_nowhere: dict[tuple[str | None, bool], Column] = field(default_factory=dict)
    """By tier and anonymity, for callers without any address to count."""


class Layers:
    """The compiled tables of one policy."""

    def __init__(
        self,
        scope: str,
        edge: Table | None,
        tiers: Tiers | None,
        user: Table | None,
        endpoints: Mapping[str, LimitLike],
        *,
        one_tier: bool,
        uploads: Iterable[str],
        ai: Iterable[str],
        closed: Iterable[str],
        modes: Mapping[Layer, OnStoreError],
    ) -> None:
        self._scope = scope
        self._modes = modes
        self._tiers = tiers
        self._one_tier = one_tier
        self._uploads = _prefixes("upload_prefixes", uploads)
        self._ai = _prefixes("ai_prefixes", ai)
        self._rules: list[Rule] = []
        self._edge, self._edge_default = self._table("edge", "edge", edge)
        self._user, self._user_default = self._table("user", "user", user)
        self._endpoints, _ = self._table("endpoints", "endpoint", endpoints)
        self._closed = Endpoints("fail_closed", ((pattern, True) for pattern in texts("fail_closed", closed)))
        self._targets: dict[tuple[object, ...], Target] = {}
        self.targets = remembered(self.compiled)
        """`compiled`, by method and path."""

    @property
    def listed(self) -> list[Listed]:
        """Every limit that can be asked, in the order of the layers."""
        listed = [Listed(rule.layer, rule.name, rule.limit) for rule in self._rules]
        for tier, row in () if self._tiers is None else self._tiers.limits.items():
            for category, limit in row.items():
                name = "tenant" if self._one_tier else f"tenant:{category} ({tier})"
                listed.append(Listed("tenant", name, limit))
        return sorted(listed, key=lambda entry: LAYERS.index(entry.layer))

    def column(self, target: Target, tenant: str | None, tier: str | None) -> Column:
        """Line up the rules for one endpoint, and the tier of a tenant if there is one."""
        meant = self._meant(tenant, tier)
        if meant is None:
            if target.untenanted is None:
                target.untenanted = self._lined_up(target, target.edge, None, target.user, target.endpoint)
            return target.untenanted
        column = target.columns.get(meant)
        if column is None:
            column = self._lined_up(target, target.edge, meant, target.user, target.endpoint)
            column = target.columns.setdefault(meant, column)  # another thread may have been first
        if tier is None:
            target.columns[None] = column
        return column

    def column_nowhere(self, target: Target, tenant: str | None, tier: str | None, anonymous: bool) -> Column:
        """The same without any address to count: no edge, and for anonymous callers only the tenant."""
        tier = self._meant(tenant, tier)
        column = target.columns_nowhere.get((tier, anonymous))
        if column is None:
            user, endpoint = (None, None) if anonymous else (target.user, target.endpoint)
            column = self._lined_up(target, None, tier, user, endpoint)
            column = target.columns_nowhere.setdefault((tier, anonymous), column)
        return column

    def _lined_up(
        self, target: Target, edge: Rule | None, tier: str | None, user: Rule | None, endpoint: Rule | None
    ) -> Column:
        tenant = None if tier is None else self._tenant(tier, target.category)
        rules = [rule for rule in (edge, tenant, user, endpoint) if rule is not None]
        if target.closed:
            rules = [Rule(r.name, r.layer, r.limit, r.scope, r.strikes, "deny") for r in rules]
        return Column(
            Rules(rules),
            edge is not None,
            tenant is not None,
            (user is not None) + (endpoint is not None),
        )

    def _meant(self, tenant: str | None, tier: str | None) -> str | None:
        """The tier whose limits hold; None where there is no tenant, or no limit for any."""
        return self._tiers.tier(tier) if tenant and self._tiers is not None else None

    def _tenant(self, tier: str, category: Category) -> Rule | None:
        if self._tiers is None:
            return None
        category = self._tiers.category(tier, category)
        name = "tenant" if self._one_tier else f"tenant:{category}"
        limit = self._tiers.limit(tier, category)
        scope = f"{self._scope}tenant:{tier}:{category}#{limit.fingerprint}\0"
        return Rule(name, "tenant", limit, scope, False, self._modes["tenant"])

    def _table(self, name: str, layer: Layer, table: Table | None) -> tuple[Endpoints[Rule], Rule | None]:
        """The rules of one layer: those with patterns, and the default."""
        if layer == "endpoint" and not isinstance(table, Mapping):
            raise ConfigurationError(name, table, 'give {"POST /api/posts": "10/hour"}')
        if not isinstance(table, Mapping):
            default = None if table is None else self._rule(layer, layer, as_limit(name, table))
            return Endpoints(name, ()), default
        default = None
        rules: list[tuple[str, Rule]] = []
        for pattern, value in table.items():
            limit = as_limit(f"{name}.{pattern}", value)
            if pattern == "default" and layer != "endpoint":
                default = self._rule(layer, layer, limit)
            else:
                title = pattern if layer == "endpoint" else f"{layer}:{pattern}"
                rules.append((pattern, self._rule(layer, title, limit)))
        return Endpoints(name, rules), default

    def _rule(self, layer: Layer, name: str, limit: Limit) -> Rule:
        strikes = layer in ("user", "endpoint")
        rule = Rule.of(
            name, layer, limit, strikes=strikes, on_store_error=self._modes[layer], prefix=self._scope
        )
        self._rules.append(rule)
        return rule

    def _category(self, method: str, path: str) -> Category:
        path = normalized(path) + "/"
        if path.startswith(self._ai):
            return "ai"
        if path.startswith(self._uploads):
            return "uploads"
        return "writes" if method in WRITES else "requests"

    def compiled(self, method: str, path: str) -> Target:
        """What the policy says about a method and a decoded path.

        Paths that mean the same endpoint share one target: there are no more than the policy has endpoints.
        """
        method = method.upper()
        edge = self._edge.match(method, path) or self._edge_default
        user = self._user.match(method, path) or self._user_default
        endpoint = self._endpoints.match(method, path)
        category = self._category(method, path)
        closed = self._closed.match(method, path) is not None
        key = (*(rule and rule.scope for rule in (edge, user, endpoint)), category, closed)
        return self._targets.setdefault(key, Target(edge, category, user, endpoint, closed))

    def fails_closed(self, method: str, path: str) -> bool:
        """Whether some layer answers 503 for this endpoint while the store is away."""
        target = self.compiled(method, path)
        asked = [rule for rule in (target.edge, target.user, target.endpoint) if rule is not None]
        tenant = self._tiers is not None and self._modes["tenant"] == "deny"
        return target.closed or tenant or any(rule.on_store_error == "deny" for rule in asked)


def remembered(target: Callable[[str, str], Target]) -> Memo[tuple[str, str], Target]:
    """What a function says of a method and a path, remembered where they are not too long.

    Some servers pass on methods of 16 kB.
    """
    return Memo(
        lambda key: target(*key),
        _MOST_REMEMBERED,
        worth=lambda key: len(key[0]) + len(key[1]) <= _LONGEST_REMEMBERED,
    )


def texts(name: str, values: Iterable[str]) -> list[str]:
    """A list of texts, checked."""
    several = isinstance(values, Iterable) and not isinstance(values, (str, bytes))
    listed = list(values) if several else []
    if not several or not all(isinstance(value, str) for value in listed):
        raise ConfigurationError(name, values, "give a list of texts")
    return listed


def _prefixes(name: str, values: Iterable[str]) -> tuple[str, ...]:
    prefixes = texts(name, values)
    for prefix in prefixes:
        if not prefix.startswith("/"):
            raise ConfigurationError(name, prefix, 'give paths that start with "/", e.g. "/api/uploads"')
        if "%" in prefix and decoded(prefix) != prefix:
            remedy = f'paths are decoded before they are compared: give "{decoded(prefix)}"'
            raise ConfigurationError(name, prefix, remedy)
    return tuple(normalized(prefix).rstrip("/") + "/" for prefix in prefixes)
