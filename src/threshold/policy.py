"""Policy: the four layers, the ladder, and what they mean for one request.

`plan` says which limits apply to a caller; `conclude` says what a store's outcome means. Both are pure
functions around the one call to a store. A policy never changes: build another one instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, get_args

from . import addresses
from .errors import ConfigurationError
from .escalation import Ladder
from .headers import STYLES, Rules, Style
from .layers import LAYERS, Layers, Listed, Table, Target, texts
from .memo import Memo
from .plan import Asked, Layer, Limit, OnStoreError, Outcome, Plan
from .rate import SECOND
from .tiers import LimitLike, Tiers, as_limit
from .verdict import Caller, Verdict, longest_retry

if TYPE_CHECKING:
    from pathlib import Path

MissingAddress = Literal["share", "skip"]
_NO_ADDRESS = "unknown"
_MOST_REMEMBERED_ADDRESSES = 8192


class Policy:
    """State the limits of an app: per address, per tenant and tier, per user, per endpoint.

    Every argument may be left out; a layer that is left out limits nothing. Where a limit is expected,
    "100/minute" (a token bucket), `TokenBucket(...)` or `SlidingWindow(...)` will do. `edge` and `user`
    take a mapping from endpoint patterns to limits as well, with "default" for everything else.

    Args:
        edge: per client address (IPv6: per /64).
        tenant: `Tiers`, or one limit for all tenants. Requests without a tenant skip this layer.
        user: per authenticated user within its tenant; anonymous callers count by address.
        endpoints: "POST /api/posts" to limit; per user (or address) on that endpoint, on top of the rest.
        ladder: what repeated refusals of a user bring; None for plain refusals.
        name: tells this policy from others on the same store, in events and metrics.
        allow: networks, e.g. ["10.0.0.0/8"], that nothing limits.
        allow_users: users that nothing limits.
        upload_prefixes, ai_prefixes: paths whose requests count as "uploads" and "ai" for the tenant's tier.
        strike_anonymous: let anonymous callers climb the ladder by address. An address can be shared.
        missing_address: "share" counts requests without a usable address together under one name, "skip"
            leaves them out of the layers that count addresses.
        ipv6_prefix: count IPv6 addresses together that share this many leading bits, 32 to 128.
        on_store_error: "allow", "deny" (503) or "local" (decide in memory) while the store is away; one
            for all, or a mapping from layers.
        fail_closed: endpoint patterns that are answered 503 while the store is away, whatever the layer.
        headers: "ietf", "x", "both" or "none".
        dry_run: evaluate and report, but let everything through; counts apart from enforced policies.

    Raises:
        ConfigurationError: naming the argument, the value and the remedy.

    >>> policy = Policy(edge="1000/minute", user="100/minute", endpoints={"POST /api/posts": "10/hour"})
    >>> plan = policy.plan(Caller(address="203.0.113.9", user="u1", method="POST", path="/api/posts"))
    >>> [rule.name for rule in plan.rules]
    ['edge', 'user', 'POST /api/posts']
    """

    def __init__(
        self,
        edge: Table | None = None,
        tenant: Tiers | LimitLike | None = None,
        user: Table | None = None,
        endpoints: Mapping[str, LimitLike] | None = None,
        ladder: Ladder | None = None,
        *,
        name: str = "default",
        allow: Iterable[str] = (),
        allow_users: Iterable[str] = (),
        upload_prefixes: Iterable[str] = ("/api/uploads",),
        ai_prefixes: Iterable[str] = ("/api/ai",),
        strike_anonymous: bool = False,
        missing_address: MissingAddress = "share",
        ipv6_prefix: int = 64,
        on_store_error: OnStoreError | Mapping[str, OnStoreError] = "allow",
        fail_closed: Iterable[str] = (),
        headers: Style = "both",
        dry_run: bool = False,
    ) -> None:
        if not isinstance(name, str) or not name or "\0" in name:
            raise ConfigurationError("name", name, "give a non-empty str without NUL")
        if headers not in STYLES:
            raise ConfigurationError("headers", headers, f"give one of {', '.join(STYLES)}")
        if missing_address not in get_args(MissingAddress):
            raise ConfigurationError("missing_address", missing_address, 'give "share" or "skip"')
        if ladder is not None and not isinstance(ladder, Ladder):
            raise ConfigurationError("ladder", ladder, "give a Ladder, e.g. Ladder.default(), or None")
        self.name = name
        self.headers: Style = headers
        self.dry_run = _flag("dry_run", dry_run)
        self.ladder = ladder
        self.strike_anonymous = _flag("strike_anonymous", strike_anonymous)
        self.missing_address: MissingAddress = missing_address
        if type(ipv6_prefix) is not int or not 32 <= ipv6_prefix <= 128:
            raise ConfigurationError("ipv6_prefix", ipv6_prefix, "give a number of bits, 32 to 128")
        self.ipv6_prefix = ipv6_prefix
        self.tiers = _tiers(tenant)
        self._counted: Memo[str | None, str | None] = Memo(
            lambda address: addresses.group(address, ipv6_prefix), _MOST_REMEMBERED_ADDRESSES
        )
        self._allow = addresses.Networks("allow", allow)
        self._allowed: Memo[str | None, bool] = Memo(
            lambda address: self._allow.holds(address or ""), _MOST_REMEMBERED_ADDRESSES
        )
        self._allow_users = frozenset(texts("allow_users", allow_users))
        if "" in self._allow_users:
            raise ConfigurationError("allow_users", "", "an empty user is nobody: name users, or drop it")
        self._exempt = bool(self._allow or self._allow_users)
        # Length and "@" keep names apart from each other, from rules and from rehearsals, whatever they are.
        scope = ("dry" if dry_run else "") + (f"@{len(name)}:{name}:" if dry_run or name != "default" else "")
        self._abuse_scope = f"{scope}abuse\0"
        self._layers = Layers(
            scope,
            edge,
            self.tiers,
            user,
            {} if endpoints is None else endpoints,
            one_tier=not isinstance(tenant, Tiers),
            uploads=upload_prefixes,
            ai=ai_prefixes,
            closed=fail_closed,
            modes=_modes(on_store_error),
        )

    @classmethod
    def default(cls) -> Policy:
        """The shipped policy: the tables of `threshold.presets`, ladder included."""
        from .presets import default_policy

        return default_policy()

    @classmethod
    def from_toml(cls, path: str | Path) -> Policy:
        """Read a policy from a TOML file; see the reference of policy files.

        Raises:
            ConfigurationError: naming file, key, value and remedy.
        """
        from .config import read_policy

        return read_policy(path)

    @property
    def limits(self) -> list[Limit]:
        """Every limit the policy can ask a store to hold."""
        return [entry.limit for entry in self.listed]

    @property
    def listed(self) -> list[Listed]:
        """The same with their layers and names, in the order of the layers.

        >>> [(entry.layer, entry.name) for entry in Policy("9/s", "8/s", {"GET /x": "7/s"}).listed]
        [('edge', 'edge'), ('tenant', 'tenant'), ('user', 'user:GET /x')]
        """
        return self._layers.listed

    def plan(self, caller: Caller) -> Plan | None:
        """Say which limits apply to the caller, and under which keys; None when nothing limits them.

        Raises:
            TypeError, ValueError: for a cost that is no whole number of requests, 0 or more.
        """
        cost = caller.cost
        if type(cost) is not int or cost < 0:
            raise _bad_cost(cost)
        target = self._layers.targets[caller.method, caller.path]
        asked = self.asked(caller.address, caller.tenant, caller.tier, caller.user, target, cost)
        return None if asked is None else Plan(*asked)

    def asked(
        self,
        address: str | None,
        tenant: str | None,
        tier: str | None,
        user: str | None,
        target: Target,
        cost: int,
    ) -> Asked | None:
        """What `plan` plans, from the fields of a caller: spares a `Caller`, and mostly a `Plan`.

        Args:
            target: what `target` says of the request's method and path.
            cost: taken as it is: whoever asks has checked it.
        """
        if self._exempt and (user in self._allow_users or self._allowed[address]):
            return None
        column = target.columns.get(tier) if tenant else target.untenanted
        if column is None:
            column = self._layers.column(target, tenant, tier)
        ladder = self.ladder
        found = self._counted[address]
        if found is not None:
            address = found
        elif self.missing_address == "share":
            address = _NO_ADDRESS
        else:
            address = ""
            column = self._layers.column_nowhere(target, tenant, tier, not user)
        if user:
            who = f"u{len(tenant)}:{tenant}:{user}" if tenant else f"u:{user}"
        else:
            if found is None or not self.strike_anonymous:
                ladder = None
            who = ""
            if ladder is not None or column.personal:
                who = f"a{len(tenant)}:{tenant}:{address}" if tenant else f"a:{address}"
        if column.full and ladder is not None:  # by far the most common: written down at once
            names = [address, f"{tenant}", who, who, who]
            return column.rules, names, cost, self._abuse_scope, ladder, tenant or who
        names = [address] if column.edge else []
        if column.tenant:
            names.append(f"{tenant}")  # as in `who`: text and nothing but text, whatever class it is of
        names += [who] * column.personal
        if not names:
            return None
        if ladder is None:
            return column.rules, names, cost, None, None, tenant or who
        names.append(who)
        return column.rules, names, cost, self._abuse_scope, ladder, tenant or who

    def target(self, method: str, path: str) -> Target:
        """What the policy says about an endpoint: worked out anew, to be remembered by whoever asks often."""
        return self._layers.compiled(method, path)

    def fails_closed(self, method: str, path: str) -> bool:
        """Whether a request that cannot be decided must not pass."""
        return self._layers.fails_closed(method, path)

    def conclude(self, plan: Plan, outcome: Outcome) -> Verdict:
        """Say what a store's outcome means for the request."""
        rules = plan.rules
        assert isinstance(rules, Rules)
        delay = 0.0
        if outcome.shadowed and plan.ladder is not None and not outcome.blocked_us:
            # Refusals are held back like everything else: being faster would give the shadow ban away.
            from random import uniform  # 1 ms for the few policies that ever delay

            low, high = plan.ladder.delay_us
            delay = uniform(low, high) / SECOND
        if outcome.allowed:
            verdict = Verdict(True, 200, outcome, rules, self.headers, delay, outcome.strike > 0)
        else:
            retry = longest_retry(outcome)
            verdict = Verdict(False, 429, outcome, rules, self.headers, delay, False, outcome.banned, retry)
        if self.dry_run:
            return Verdict(True, 200, outcome, rules, "none", rehearsed=verdict)
        return verdict

    def abuse_key(self, user: str | None, tenant: str | None, address: str | None) -> str:
        """Key of the abuse record of a user, or of an anonymous address.

        Raises:
            ConfigurationError: when neither names anybody.
        """
        if user:
            return self._abuse_scope + (f"u{len(tenant)}:{tenant}:{user}" if tenant else f"u:{user}")
        name = self._counted[address]
        if name is None:
            raise ConfigurationError("address", address, "name a user, or an address such as 203.0.113.9")
        return self._abuse_scope + (f"a{len(tenant)}:{tenant}:{name}" if tenant else f"a:{name}")


def _flag(name: str, value: bool) -> bool:
    if not isinstance(value, bool):  # the text "false" is true
        raise ConfigurationError(name, value, "give True or False")
    return value


def _tiers(tenant: Tiers | LimitLike | Mapping[str, object] | None) -> Tiers | None:
    if tenant is None or isinstance(tenant, Tiers):
        return tenant
    if isinstance(tenant, Mapping):
        remedy = 'give Tiers({...}, default="free"), naming the tier of tenants whose tier is unknown'
        raise ConfigurationError("tenant", tenant, remedy)
    return Tiers({"all": as_limit("tenant", tenant)}, "all")


def _bad_cost(cost: object) -> Exception:
    if type(cost) is not int:
        return TypeError(f"cost: {cost!r} is not an int; costs are whole requests")
    return ValueError(f"cost: {cost} is negative; give 0 or more")


def _modes(value: OnStoreError | Mapping[str, OnStoreError]) -> dict[Layer, OnStoreError]:
    modes = value if isinstance(value, Mapping) else dict.fromkeys(LAYERS, value)
    for layer, mode in modes.items():
        if layer not in LAYERS:
            raise ConfigurationError("on_store_error", layer, f"layers are {', '.join(LAYERS)}")
        if mode not in get_args(OnStoreError):
            raise ConfigurationError("on_store_error", mode, 'give "allow", "deny" or "local"')
    return {layer: modes.get(layer, "allow") for layer in LAYERS}
