"""The WSGI shell: a policy in front of Flask, Django or any other WSGI app.

It asks the policy once per request and does what the verdict says. What the rules are, it does not know.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import cast

from .default_store import AUTO, Auto, default_store
from .errors import ConfigurationError
from .events import Hook
from .headers import Rules
from .http import responses, shell
from .http.caller import ClientAddress, routed
from .http.delays import Delays, quarter
from .http.identity import Cached, Identify, check_function, named
from .http.protocols import Environ, Headers, StartResponse, WSGIApp
from .http.wsgi_fields import announcing
from .layers import Target, remembered
from .policy import Policy
from .stores.base import Store
from .threshold import AsyncThreshold, Threshold
from .verdict import Verdict, shut

__all__ = ["Cached", "ThresholdMiddleware"]

Refusal = Callable[[Environ, Verdict], WSGIApp]
"""From a refused request and its verdict to a WSGI app that answers it, such as a Werkzeug response."""

_STATUS = {429: "429 Too Many Requests", 503: "503 Service Unavailable"}


class ThresholdMiddleware:
    """Limit every request of a WSGI app.

    Args:
        policy: a `Policy`; or a `Threshold`, which brings its own store and hooks.
        store: where the state lives. "auto": memory shared by the processes of this app when it has several,
            else the memory of this process, one store for each `Policy` object; the choice and its reason
            are one line in the log.
        tenant, user, tier: functions from the environ to an id, or None; they may be wrapped in `Cached`.
            What they raise, the app's server sees. `tier` is only asked for a tenant.
        cost: requests that each request costs, or a function from the environ to that number.
        trusted_proxies, trusted_hops, client_header: whom to believe about the client's address; see
            `threshold.http.caller.ClientAddress`. By default nobody: the peer of the connection counts.
        on_refused: function from the environ and the verdict to a WSGI app that answers instead of us. The
            policy's header fields are added to what it sends.
        hooks: called with each event of `threshold.events`.
        threads: threads of one server process; None when unknown.
        max_delayed: shadow-banned requests held back at once, each in its thread; at most a quarter of
            `threads`, and by default one. Beyond it they go on at once, as they do where there is only
            one thread.
        max_delayed_per_key: the same for each caller.

    Raises:
        ConfigurationError: naming the argument, the value and the remedy.

    >>> from threshold import Policy
    >>> def app(environ, start_response): ...
    >>> guarded = ThresholdMiddleware(app, policy=Policy(user="100/minute"), threads=8)
    >>> guarded.delayed_active
    0
    """

    __slots__ = (
        "_address",
        "_admit",
        "_ask",
        "_cost",
        "_cost_of",
        "_delays",
        "_header",
        "_judge",
        "_on_refused",
        "_sleep",
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
        app: WSGIApp,
        *,
        policy: shell.Guarded,
        store: Store | Auto = AUTO,
        tenant: Identify[Environ] | None = None,
        user: Identify[Environ] | None = None,
        tier: Identify[Environ] | None = None,
        cost: int | Callable[[Environ], int] = 1,
        trusted_proxies: Iterable[str] = (),
        trusted_hops: int = 0,
        client_header: str | None = None,
        on_refused: Refusal | None = None,
        hooks: Iterable[Hook] = (),
        threads: int | None = None,
        max_delayed: int | None = None,
        max_delayed_per_key: int = 2,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        functions = {"tenant": tenant, "user": user, "tier": tier, "on_refused": on_refused, "sleep": sleep}
        for field, function in functions.items():
            check_function(field, function, asynchronous=False)
        shell.check_cost(cost)
        self.app = app
        self.threshold = _threshold(policy, store, hooks)
        """The front end asked for each request; unban callers here."""
        self._ask = self.threshold.policy.asked
        self._admit = self.threshold.admit
        self._judge = self.threshold.judge
        self._targets = remembered(partial(_target, self.threshold.policy))
        self._style = self.threshold.policy.headers
        self._tenant = tenant
        self._user = user
        self._tier = tier
        self._cost = 1 if callable(cost) else cost
        self._cost_of = cost if callable(cost) else None
        self._address = ClientAddress(trusted_proxies, trusted_hops, client_header)
        header = self._address.header
        self._header = None if header is None else f"HTTP_{header.upper().replace('-', '_')}"
        self._on_refused = on_refused
        self._delays = Delays(quarter(threads, max_delayed), max_delayed_per_key)
        self._sleep = sleep
        self._trouble = shell.Trouble()
        shell.warn_if_divided(self.threshold.store, self.threshold.policy.name)

    @property
    def delayed_active(self) -> int:
        """Requests that are being held back now."""
        return self._delays.active

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        tenant = tier = user = None
        cost = self._cost
        # What the app's own functions raise is not ours to hide. Written out: one more call would show.
        if self._tenant is not None:
            found = self._tenant(environ)
            tenant = found if type(found) is str else named(found)
        if self._tier is not None and tenant:
            found = self._tier(environ)
            tier = found if type(found) is str else named(found)
        if self._user is not None:
            found = self._user(environ)
            user = found if type(found) is str else named(found)
        if self._cost_of is not None:
            cost = shell.charged(self._cost_of(environ))
        try:
            address = environ.get("REMOTE_ADDR") or None
            if self._header is not None:
                address = self._address.find(address, environ.get(self._header))
            target = self._targets[environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")]
            asked = self._ask(address, tenant, tier, user, target, cost)
            verdict: Verdict | None = None
            fields: Headers = []
            if asked is not None:
                said = self._admit(asked)
                if said is None:
                    said = self._judge(asked)
                if type(said) is tuple:
                    rules: Rules = asked[0]  # type: ignore[assignment]  # a policy asks with Rules
                    binding, remaining, reset_us = said
                    fields = rules.text.standing(binding, remaining, reset_us, self._style)
                else:
                    verdict = cast(Verdict, said)
                    fields = verdict.headers
        except Exception:
            self._trouble()
            if not shell.must_not_pass(self._closed, environ):
                return self.app(environ, start_response)
            return self._refuse(environ, start_response, shut())
        if fields:
            start_response = announcing(start_response, fields)
        if verdict is None:
            return self.app(environ, start_response)
        if verdict.delay:
            self._hold(environ, shell.counted(user, tenant, address), verdict.delay)
        if verdict.allowed:
            return self.app(environ, start_response)
        return self._refuse(environ, start_response, verdict)

    def _closed(self, environ: Environ) -> bool:
        """Whether a request that cannot be decided must not pass: by the path that would have decided."""
        path = _decoded(str(environ.get("PATH_INFO", "")))
        return self.threshold.policy.fails_closed(str(environ.get("REQUEST_METHOD", "GET")), path)

    def _hold(self, environ: Environ, key: str, seconds: float) -> None:
        """Hold this thread back, if others are left to serve everybody else."""
        if environ.get("wsgi.multithread") and self._delays.enter(key):
            try:
                self._sleep(seconds)
            finally:
                self._delays.leave(key)

    def _refuse(self, environ: Environ, start_response: StartResponse, verdict: Verdict) -> Iterable[bytes]:
        """Answer a refused request: the policy's fields are added by `start_response`."""
        if self._on_refused is not None:
            try:
                answer: object = self._on_refused(environ, verdict)
            except Exception:
                shell.logger.exception("on_refused failed; the standard refusal went out instead")
            else:
                if callable(answer):
                    return cast(WSGIApp, answer)(environ, start_response)
                shell.logger.error("on_refused returned no WSGI app but %r", answer)
        fields, body = responses.refusal(verdict, environ.get("HTTP_ACCEPT") or "")
        headers = [(name.decode().title(), value.decode()) for name, value in fields]
        start_response(_STATUS[verdict.status], headers)
        return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]


def _target(policy: Policy, method: str, path: str) -> Target:
    """What the policy says about an endpoint."""
    return policy.target(method, _decoded(path))


def _decoded(path: str) -> str:
    """A path as endpoint patterns see it; WSGI hands it over as if its bytes were latin-1."""
    if not path.isascii():
        path = path.encode("latin-1", "replace").decode("utf-8", "replace")
    return routed(path, "")


def _threshold(policy: shell.Guarded, store: Store | Auto, hooks: Iterable[Hook]) -> Threshold:
    """The synchronous front end for a policy; nothing here could await."""
    if isinstance(policy, Policy):
        return Threshold(policy, default_store(policy) if store == AUTO else store, hooks=hooks)
    front = shell.ready(policy, store != AUTO, hooks)
    if isinstance(front, AsyncThreshold):
        if front.local is None:
            raise ConfigurationError("policy", policy, "WSGI cannot await its store: give a Threshold")
        return front.local
    return front
