"""Threshold and AsyncThreshold: a whole policy over one store.

The policy says what to ask, the store answers, the policy says what it means. `_Front` holds everything but
that one call, so that the two differ by a single `await`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from .errors import ConfigurationError, StoreUnavailable
from .headers import Rules
from .plan import Admitted, Asked, Outcome, Plan, Rule, binding
from .policy import Policy
from .stores.base import AsyncStore, Store, shortcut
from .stores.memory import MemoryStore
from .verdict import Caller, Verdict, passed, shut

if TYPE_CHECKING:
    from .events import Hook

_LOCAL_KEYS = 100_000


class _Front:
    """What both front ends share: checks, events, and what happens while the store is away."""

    def __init__(
        self, policy: Policy, store: Store | AsyncStore, hooks: Iterable[Hook], reveal: bool
    ) -> None:
        if not isinstance(policy, Policy):
            raise ConfigurationError("policy", policy, "give a Policy, e.g. Policy.default()")
        if not hasattr(store, "decide") or isinstance(store, type):
            raise ConfigurationError("store", store, "give a store such as MemoryStore()")
        for limit in policy.limits:
            store.check(limit)
        self.policy = policy
        from .events import Announcer  # 8 ms that importing the package need not take

        self._announce = Announcer(policy.name, policy.dry_run, hooks, reveal=reveal)
        self._local: MemoryStore | None = None
        self._locals: dict[int, tuple[Sequence[Rule], list[int], Rules]] = {}
        self._passed = passed(policy.headers)
        self._rehearsing = policy.dry_run

    def _concluded(self, plan: Plan, outcome: Outcome) -> Verdict:
        verdict = self.policy.conclude(plan, outcome)
        if outcome.strike or outcome.overflowed or not outcome.allowed:
            self._announce.outcome(plan, outcome, verdict)
        if self._announce.store_is_away:
            self._announce.store_answered()
        return verdict

    def _without_store(self, plan: Plan, error: StoreUnavailable) -> Verdict:
        """Answer each layer as its `on_store_error` says: deny wins, then what a local store decides."""
        self._announce.store_failed(error)
        rules = plan.rules
        if any(rule.on_store_error == "deny" for rule in rules):
            if self.policy.dry_run:
                return self._passed
            return shut(self.policy.headers)
        local, kept_rules = self._decided_here(rules)
        if not local:
            return self._passed
        if self._local is None:
            self._local = MemoryStore(max_keys=_LOCAL_KEYS)
        # What follows the names of the rules is the name of the abuse record.
        names = [*(plan.names[i] for i in local), *plan.names[len(rules) :]]
        kept = replace(plan, rules=kept_rules, names=names)
        outcome = self._local.decide(kept)
        verdict = self.policy.conclude(kept, outcome)
        if outcome.strike or outcome.overflowed or not outcome.allowed:
            self._announce.outcome(kept, outcome, verdict)
        return verdict

    def _decided_here(self, rules: Sequence[Rule]) -> tuple[list[int], Rules]:
        """Which of the rules the local store decides; lined up once, as a store writes out every line-up."""
        known = self._locals.get(id(rules))
        if known is None:
            local = [i for i, rule in enumerate(rules) if rule.on_store_error == "local"]
            known = rules, local, Rules([rules[i] for i in local])  # the first so that its id() stays its own
            self._locals[id(rules)] = known
        return known[1:]


class Threshold(_Front):
    """Apply a policy to callers. For ASGI and WSGI apps, the middlewares do this for you.

    Args:
        policy: what to enforce.
        store: where the state lives. Every limit of the policy must fit it.
        hooks: called with each event (see `threshold.events`); a hook that raises is logged, not raised.
        reveal: put callers' identities into events and logs instead of keyed hashes.

    Raises:
        ConfigurationError: when the store must be awaited, or cannot hold a limit of the policy exactly.

    >>> from threshold import Caller, MemoryStore, Policy, Threshold
    >>> guard = Threshold(Policy(user="1/minute"), store=MemoryStore())
    >>> [guard.check(Caller(user="u1")).status for _ in range(2)]
    [200, 429]
    """

    def __init__(
        self, policy: Policy, store: Store, *, hooks: Iterable[Hook] = (), reveal: bool = False
    ) -> None:
        super().__init__(policy, store, hooks, reveal)
        if getattr(store, "asynchronous", False):
            raise ConfigurationError("store", store, "this store is awaited: use AsyncThreshold")
        self.store = store
        self._quick: Callable[[Asked], Admitted | None] = shortcut(store, "admit") or _nothing

    @property
    def admit(self) -> Callable[[Asked], Admitted | Verdict | None]:
        """The quick way for shells: what the limits said of an ordinary admitted request; else None, mostly.

        Of what is None here, nothing was charged and nothing is known: ask `judge`. To be kept by who asks
        often; kept here, it would tie a circle that keeps the store open until the collector comes.
        """
        if self.policy.dry_run:
            return _nothing
        if isinstance(self.store, MemoryStore):  # it is never away
            return self._quick
        return self._admit

    def check(self, caller: Caller) -> Verdict:
        """Decide one request, and charge it if every limit admits it."""
        plan = self.policy.plan(caller)
        return self._passed if plan is None else self.decide(plan)

    def decide(self, plan: Plan) -> Verdict:
        """Decide a request that the policy has planned already (see `Policy.plan`)."""
        try:
            outcome = self.store.decide(plan)
        except StoreUnavailable as error:
            return self._without_store(plan, error)
        return self._concluded(plan, outcome)

    def _admit(self, asked: Asked) -> Admitted | Verdict | None:
        """`admit`, for a store that can be away."""
        if self._announce.store_is_away:
            return None
        try:
            return self._quick(asked)
        except StoreUnavailable as error:
            return self._without_store(Plan(*asked), error)

    def judge(self, asked: Asked) -> Admitted | Verdict:
        """What a shell asks when `admit` said nothing: the same of an admitted request, or a verdict."""
        plan = Plan(*asked)
        try:
            outcome = self.store.decide(plan)
        except StoreUnavailable as error:
            return self._without_store(plan, error)
        if (
            not outcome.allowed
            or outcome.strike
            or outcome.shadowed
            or outcome.overflowed
            or self._announce.store_is_away
            or self._rehearsing
        ):
            return self._concluded(plan, outcome)
        i = binding(plan.rules, outcome.found)
        return i, outcome.found[i][1], outcome.found[i][2]

    def peek(self, caller: Caller) -> Verdict:
        """Say what `check` would decide now; nothing is charged, struck or announced.

        Raises:
            StoreUnavailable: when the store cannot answer.
        """
        plan = self.policy.plan(caller)
        if plan is None:
            return self._passed
        plan.peek = True
        return self.policy.conclude(plan, self.store.decide(plan))

    def unban(
        self, user: str | None = None, *, tenant: str | None = None, address: str | None = None
    ) -> None:
        """Lift every penalty of a caller and forget the strikes. What their limits have counted stays.

        A user is known by tenant and id: one who was counted under a tenant is only found with it.

        Args:
            user: the user, as identified in its requests; None for an anonymous caller.
            tenant: the tenant under which the caller was counted, if any.
            address: the anonymous caller's address.
        """
        key = self.policy.abuse_key(user, tenant, address)
        self.store.reset([key], tenant)
        self._announce.unbanned(key)

    def close(self) -> None:
        """Close the store."""
        self.store.close()


def _nothing(asked: Asked) -> None:
    """The quick way where there is none."""


class AsyncThreshold(_Front):
    """`Threshold` for asyncio: the same, awaited. Takes asynchronous stores and those in memory.

    >>> import asyncio
    >>> from threshold import AsyncThreshold, Caller, MemoryStore, Policy
    >>> guard = AsyncThreshold(Policy(user="1/minute"), store=MemoryStore())
    >>> asyncio.run(guard.check(Caller(user="u1"))).allowed
    True
    """

    def __init__(
        self,
        policy: Policy,
        store: Store | AsyncStore,
        *,
        hooks: Iterable[Hook] = (),
        reveal: bool = False,
    ) -> None:
        super().__init__(policy, store, hooks, reveal)
        if getattr(store, "blocking", False):
            raise ConfigurationError("store", store, "it would block the event loop: use its async twin")
        self.store = store
        self.local: Threshold | None = None
        """The synchronous front end when the store needs no awaiting; the quick way for shells."""
        if not getattr(store, "asynchronous", False):
            self.local = Threshold(policy, cast(Store, store), hooks=hooks, reveal=reveal)
            self._announce = self.local._announce
        self.admit = _nothing if self.local is None else self.local.admit
        """The quick way for shells (see `Threshold.admit`)."""

    async def check(self, caller: Caller) -> Verdict:
        """Decide one request, and charge it if every limit admits it."""
        plan = self.policy.plan(caller)
        return self._passed if plan is None else await self.decide(plan)

    async def decide(self, plan: Plan) -> Verdict:
        """Decide a request that the policy has planned already (see `Policy.plan`)."""
        if self.local is not None:
            return self.local.decide(plan)
        try:
            outcome = await cast(AsyncStore, self.store).decide(plan)
        except StoreUnavailable as error:
            return self._without_store(plan, error)
        return self._concluded(plan, outcome)

    async def peek(self, caller: Caller) -> Verdict:
        """Say what `check` would decide now; nothing is charged, struck or announced."""
        if self.local is not None:
            return self.local.peek(caller)
        plan = self.policy.plan(caller)
        if plan is None:
            return self._passed
        plan.peek = True
        return self.policy.conclude(plan, await cast(AsyncStore, self.store).decide(plan))

    async def unban(
        self, user: str | None = None, *, tenant: str | None = None, address: str | None = None
    ) -> None:
        """Lift every penalty of a caller and forget the strikes (see `Threshold.unban`)."""
        key = self.policy.abuse_key(user, tenant, address)
        done = self.store.reset([key], tenant)
        if done is not None:
            await done
        self._announce.unbanned(key)

    async def aclose(self) -> None:
        """Close the store."""
        if self.local is not None:
            self.local.close()
        else:
            await cast(AsyncStore, self.store).aclose()
