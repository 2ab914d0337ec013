"""The ASGI shell: a policy in front of Starlette, FastAPI, Litestar or any other ASGI app.

It asks the policy once per request and does what the verdict says. What the rules are, it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from inspect import isawaitable
from typing import cast

from .default_store import AUTO, Auto, default_store
from .errors import ConfigurationError
from .events import Hook
from .headers import Field, Rules
from .http import responses, shell
from .http.asgi_fields import announcing
from .http.caller import ClientAddress, routed
from .http.delays import Delays
from .http.identity import Cached, Identify, check_function, named
from .http.protocols import ASGIApp, Receive, Scope, Send
from .http.repeats import Repeats, Timed
from .http.waiting import Waiting
from .http.websocket_messages import TRY_AGAIN_LATER, LimitedSocket, MessageLimit
from .layers import Target, remembered
from .plan import Plan
from .policy import Policy
from .stores.base import AsyncStore, Store
from .threshold import AsyncThreshold, Threshold
from .tiers import LimitLike
from .verdict import Verdict, shut

__all__ = ["Cached", "ThresholdMiddleware"]

Refusal = Callable[[Scope, Verdict], object]
"""From a refused request and its verdict to an ASGI app that answers it, such as a Starlette response."""

_MOST_DELAYED = 256
_TOO_MANY = "too many requests"


class ThresholdMiddleware:
    """Limit every HTTP request and WebSocket handshake of an ASGI app.

    Put it around the whole app: behind a router (Litestar's `middleware=`) it sees no 404 and no 405.

    Args:
        policy: a `Policy`; or a `Threshold` or `AsyncThreshold`, which brings its own store and hooks.
        store: where the state lives. "auto": memory shared by the processes of this app when it has several,
            else the memory of this process, one store for each `Policy` object; the choice and its reason
            are one line in the log.
        tenant, user, tier: functions from the scope to an id, or None; they may be async, and be wrapped in
            `Cached`. What they raise, the app's error handling sees. `tier` is only asked for a tenant.
        cost: requests that each request costs, or a function from the scope to that number.
        trusted_proxies, trusted_hops, client_header: whom to believe about the client's address; see
            `threshold.http.caller.ClientAddress`. By default nobody: the peer of the connection counts.
            A server that rewrites the peer from such headers itself (uvicorn does by default, for peers on
            127.0.0.1) must be told not to, or be the only one.
        on_refused: function from the scope and the verdict to an ASGI app that answers instead of us; may
            be async. The policy's header fields are added to what it sends.
        hooks: called with each event of `threshold.events`.
        max_delayed: shadow-banned requests held back at once, 0 to 1,000,000; beyond it they go on at once.
        max_delayed_per_key: the same for each caller.
        websocket_messages: limit on the messages of one caller's WebSockets; default: none.

    Raises:
        ConfigurationError: naming the argument, the value and the remedy.

    >>> from threshold import Policy
    >>> async def app(scope, receive, send): ...
    >>> guarded = ThresholdMiddleware(app, policy=Policy(user="100/minute"))
    >>> guarded.delayed_active
    0
    """

    __slots__ = (
        "_address",
        "_admit",
        "_ask",
        "_cost",
        "_cost_of",
        "_decide",
        "_delays",
        "_header",
        "_judge",
        "_messages",
        "_on_refused",
        "_repeats",
        "_style",
        "_targets",
        "_tenant",
        "_tier",
        "_trouble",
        "_user",
        "app",
        "threshold",
    )

    def __init__(
        self,
        app: ASGIApp,
        *,
        policy: shell.Guarded,
        store: Store | AsyncStore | Auto = AUTO,
        tenant: Identify[Scope] | None = None,
        user: Identify[Scope] | None = None,
        tier: Identify[Scope] | None = None,
        cost: int | Callable[[Scope], int] = 1,
        trusted_proxies: Iterable[str] = (),
        trusted_hops: int = 0,
        client_header: str | None = None,
        on_refused: Refusal | None = None,
        hooks: Iterable[Hook] = (),
        max_delayed: int = _MOST_DELAYED,
        max_delayed_per_key: int = 2,
        websocket_messages: LimitLike | None = None,
    ) -> None:
        functions = {"tenant": tenant, "user": user, "tier": tier, "on_refused": on_refused}
        for field, function in functions.items():
            check_function(field, function, asynchronous=True)
        shell.check_cost(cost)
        self.app = app
        self.threshold = _threshold(policy, store, hooks)
        """The front end asked for each request; unban callers here."""
        local = self.threshold if isinstance(self.threshold, Threshold) else self.threshold.local
        self._ask = self.threshold.policy.asked
        self._admit = self.threshold.admit
        self._judge = None if local is None else local.judge  # None: the store is awaited
        self._style = self.threshold.policy.headers
        self._targets = remembered(partial(_target, self.threshold.policy))
        self._decide = cast(AsyncThreshold, self.threshold).decide
        store = self.threshold.store
        self._repeats = Repeats(store) if isinstance(store, Timed) and on_refused is None else None
        self._tenant = tenant
        self._user = user
        self._tier = tier
        self._cost = 1 if callable(cost) else cost
        self._cost_of = cost if callable(cost) else None
        self._address = ClientAddress(trusted_proxies, trusted_hops, client_header)
        self._header = None if self._address.header is None else self._address.header.encode()
        self._on_refused = on_refused
        self._delays = Delays(max_delayed, max_delayed_per_key)
        self._trouble = shell.Trouble()
        self._messages: MessageLimit | None = None
        name = self.threshold.policy.name
        if websocket_messages is not None:
            self._messages = MessageLimit(websocket_messages, self.threshold.store, name)
        shell.warn_if_divided(self.threshold.store, name)

    @property
    def delayed_active(self) -> int:
        """Requests that are being held back now."""
        return self._delays.active

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        if kind != "http" and kind != "websocket":
            await self.app(scope, receive, send)
            return
        tenant = tier = user = None
        cost = self._cost
        # What the app's own functions raise is not ours to hide. Written out: one more coroutine would show.
        if self._tenant is not None:
            found = self._tenant(scope)
            tenant = found if type(found) is str else await _settled(found)
        if self._tier is not None and tenant:
            found = self._tier(scope)
            tier = found if type(found) is str else await _settled(found)
        if self._user is not None:
            found = self._user(scope)
            user = found if type(found) is str else await _settled(found)
        if self._cost_of is not None:
            cost = shell.charged(self._cost_of(scope))
        again = None
        try:
            client = scope.get("client")
            address = client[0] if client else None
            if self._header is not None:
                address = self._address.find(address, _joined(scope, self._header))
            path = scope["path"]
            root = scope.get("root_path")
            if root:
                path = routed(path, root)
            method = scope["method"] if kind == "http" else "GET"
            asked = self._ask(address, tenant, tier, user, self._targets[method, path], cost)
            repeats = self._repeats if kind == "http" and method != "HEAD" else None
            if repeats is not None and asked is not None:
                generation = repeats.store.generation
                if repeats.kept:
                    again = repeats.find(asked, _joined(scope, b"accept"))
            verdict: Verdict | None = None
            fields: list[Field] = []
            if again is None and asked is not None:
                said = self._admit(asked)
                if said is None:
                    said = await self._decide(Plan(*asked)) if self._judge is None else self._judge(asked)
                if isinstance(said, Verdict):
                    verdict = said
                    fields = said.wire
                else:
                    rules: Rules = asked[0]  # type: ignore[assignment]  # a policy asks with Rules
                    binding, remaining, reset_us = said
                    fields = rules.wire.standing(binding, remaining, reset_us, self._style)
                # A verdict on other rules than were asked is not the store's: it was away.
                if verdict is not None and repeats is not None and verdict.rules is asked[0]:
                    if verdict.outcome.strike:
                        repeats.struck(asked, verdict)
                    if not verdict.allowed and not verdict.delay:
                        accept = _joined(scope, b"accept")
                        again = responses.answer(verdict, fields, accept)
                        repeats.keep(asked, accept, verdict, generation, again)
        except Exception:
            self._trouble()
            if not shell.must_not_pass(self._closed, scope):
                await self.app(scope, receive, send)
                return
            verdict, fields = shut(), []
        if again is not None:
            await _send(send, *again)
        elif verdict is not None and verdict.delay:
            await self._hold(scope, receive, send, shell.counted(user, tenant, address), verdict, fields)
        elif verdict is not None and not verdict.allowed:
            await self._refuse(scope, receive, send, verdict, fields)
        elif self._messages is not None and kind == "websocket":
            await self._serve(scope, receive, announcing(send, fields), shell.counted(user, tenant, address))
        elif fields:
            await self.app(scope, receive, announcing(send, fields))
        else:
            await self.app(scope, receive, send)

    def _closed(self, scope: Scope) -> bool:
        """Whether a request that cannot be decided must not pass: by the path that would have decided."""
        path = routed(str(scope.get("path")), str(scope.get("root_path") or ""))
        return self.threshold.policy.fails_closed(str(scope.get("method", "GET")), path)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, key: str) -> None:
        """Let the app answer; the policy's header fields are added by `send`."""
        if self._messages is not None and scope["type"] == "websocket":
            socket = LimitedSocket(self._messages, key, receive, send)
            await self.app(scope, socket.receive, socket.send)
        else:
            await self.app(scope, receive, send)

    async def _hold(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        key: str,
        verdict: Verdict,
        fields: list[Field],
    ) -> None:
        """Hold a shadow-banned request back, if there is a place, and then do as for anybody else."""
        waiting = Waiting(receive)
        try:
            if self._delays.enter(key):
                try:
                    stayed = await waiting.elapses(verdict.delay)
                finally:
                    self._delays.leave(key)
                if not stayed:
                    return
            if verdict.allowed:
                await self._serve(scope, waiting.receive, announcing(send, fields), key)
            else:
                await self._refuse(scope, waiting.receive, send, verdict, fields)
        finally:
            waiting.end()

    async def _refuse(
        self, scope: Scope, receive: Receive, send: Send, verdict: Verdict, fields: list[Field]
    ) -> None:
        """Answer a refused request without troubling the app."""
        prefix = ""
        if scope["type"] == "websocket":
            if "websocket.http.response" not in (scope.get("extensions") or ()):
                await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": _TOO_MANY})
                return
            prefix = "websocket."
        if self._on_refused is not None:
            answer = await self._custom(scope, verdict)
            if answer is not None:
                await answer(scope, receive, announcing(send, fields))
                return
        status, headers, body = responses.answer(verdict, fields, _joined(scope, b"accept"))
        await _send(send, status, headers, b"" if scope.get("method") == "HEAD" else body, prefix)

    async def _custom(self, scope: Scope, verdict: Verdict) -> ASGIApp | None:
        """The app's own answer to a refused request; None when its hook failed."""
        assert self._on_refused is not None
        try:
            answer = self._on_refused(scope, verdict)
            if isawaitable(answer):
                answer = await answer
        except Exception:
            shell.logger.exception("on_refused failed; the standard refusal went out instead")
            return None
        if callable(answer):
            return cast(ASGIApp, answer)
        shell.logger.error("on_refused returned no ASGI app but %r", answer)
        return None


def _target(policy: Policy, method: str, path: str) -> Target:
    """What the policy says about an endpoint; behind a mount point, the path is below it already."""
    return policy.target(method, routed(path, None))


async def _settled(answer: object) -> str | None:
    """The id that an identity function's answer means, awaited if need be."""
    return named(await answer if isawaitable(answer) else answer)


def _threshold(
    policy: shell.Guarded, store: Store | AsyncStore | Auto, hooks: Iterable[Hook]
) -> Threshold | AsyncThreshold:
    """The front end for a policy; its store must not block the event loop."""
    if isinstance(policy, Policy):
        return AsyncThreshold(policy, default_store(policy) if store == AUTO else store, hooks=hooks)
    front = shell.ready(policy, store != AUTO, hooks)
    if isinstance(front, Threshold) and getattr(front.store, "blocking", False):
        remedy = "its store would block the event loop: give an AsyncThreshold over the async twin"
        raise ConfigurationError("policy", policy, remedy)
    return front


def _joined(scope: Scope, name: bytes) -> str | None:
    """All lines of one header field, joined with commas; None when there is none."""
    joined: bytes | None = None
    for key, value in scope.get("headers") or ():
        if key == name:
            joined = value if joined is None else joined + b"," + value
    return None if joined is None else joined.decode("latin-1")


async def _send(send: Send, status: int, headers: list[Field], body: bytes, prefix: str = "") -> None:
    """Send a whole response; the list of fields is copied, as a later middleware may add to it."""
    await send({"type": f"{prefix}http.response.start", "status": status, "headers": headers.copy()})
    await send({"type": f"{prefix}http.response.body", "body": body})
