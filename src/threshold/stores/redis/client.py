"""From what the user gives (a URL, or a client of theirs) to connections that are safe to charge over.

A charging call must never be repeated behind our back: redis-py's clients retry up to ten times and wait 5 s
each, so that one lost reply charges eleven times. Stores therefore never call through a client. They open
connections of their own, to the client's address, with its credentials, without retries, and with time-outs
within the budget; the client's own settings for these do not matter and stay as they are.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from ...errors import ConfigurationError

try:
    import redis
    import redis.asyncio
    import redis.asyncio.cluster
    import redis.asyncio.retry
    import redis.asyncio.sentinel
    import redis.backoff
    import redis.cluster
    import redis.sentinel
except ImportError as error:  # pragma: no cover
    raise ImportError('this store needs redis-py: pip install "threshold[redis]"') from error

Kind = Literal["single", "sentinel", "cluster"]
Kwargs = dict[str, Any]

_URLS = (
    "give redis://, rediss:// or unix:// URL, redis+sentinel://host:port,host:port/service, "
    "redis+cluster://host:port, or a client of redis-py"
)
_SCHEMES = {"redis": "redis", "rediss": "rediss", "unix": "unix", "valkey": "redis", "valkeys": "rediss"}
_ADDRESS = ("host", "port", "path")
_KEPT = (
    *_ADDRESS,
    "db",
    "username",
    "password",
    "credential_provider",
    "client_name",
    "socket_keepalive",
    "socket_keepalive_options",
    "socket_type",
    "socket_read_size",
)
"""What our connections take over from a client's, besides everything about TLS (`ssl_...`)."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the server is and how to reach it."""

    kind: Kind
    connection_class: type[Any]
    kwargs: Mapping[str, Any]
    """Arguments of the connection class: address, credentials, TLS."""
    nodes: tuple[tuple[str, int], ...] = ()
    """Sentinels, or nodes of a cluster to begin with."""
    service: str = ""
    """Name of the master, for Sentinel."""
    sentinel_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Credentials and TLS of the Sentinels themselves."""


def target_of(server: object, *, asynchronous: bool) -> Target:
    """Find out what the user means.

    Raises:
        ConfigurationError: for an unknown URL, a client of the other kind, or one that reads from replicas.
    """
    if isinstance(server, str):
        return _from_url(server, asynchronous)
    _refuse_other_kind(server, asynchronous)
    if isinstance(server, (redis.RedisCluster, redis.asyncio.RedisCluster)):
        return _from_cluster(server, asynchronous)
    if isinstance(server, (redis.Redis, redis.asyncio.Redis)):
        return _from_client(server, asynchronous)
    raise ConfigurationError("server", server, _URLS)


def _from_url(url: str, asynchronous: bool) -> Target:
    parts = urlsplit(url)
    scheme, _, mode = parts.scheme.partition("+")
    if scheme not in _SCHEMES or mode not in ("", "sentinel", "cluster"):
        raise ConfigurationError("server", url, _URLS)
    scheme = _SCHEMES[scheme]
    module = redis.asyncio.connection if asynchronous else redis.connection
    if not mode:
        kwargs = dict(module.parse_url(scheme + url[len(parts.scheme) :]))
        cls = kwargs.pop("connection_class", module.Connection)
        return Target("single", cls, _kept(kwargs, cls))
    credentials, _, hosts = parts.netloc.rpartition("@")
    nodes = tuple(_address(host, url) for host in hosts.split(","))
    path = parts.path.strip("/").split("/")
    db = path[1] if mode == "sentinel" and len(path) > 1 else "0"
    place = f"{credentials}@h" if credentials else "h"
    kwargs = dict(module.parse_url(f"{scheme}://{place}/{db}?{parts.query}"))
    cls = kwargs.pop("connection_class", module.Connection)
    kept = {name: value for name, value in _kept(kwargs, cls).items() if name not in _ADDRESS}
    if mode == "cluster":
        return Target("cluster", cls, kept, nodes)
    if not path[0]:
        raise ConfigurationError("server", url, "name the service: redis+sentinel://host:26379/mymaster")
    return Target("sentinel", cls, kept, nodes, path[0])


def _address(text: str, url: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigurationError("server", url, "give every node as host:port")
    return host.strip("[]"), int(port)


def _from_client(client: Any, asynchronous: bool) -> Target:
    pool = client.connection_pool
    kwargs, cls = pool.connection_kwargs, pool.connection_class
    module = redis.asyncio if asynchronous else redis
    if isinstance(pool, module.sentinel.SentinelConnectionPool):
        if not pool.is_master:
            raise ConfigurationError(
                "server",
                client,
                "this client asks replicas, which cannot count: use sentinel.master_for(...)",
            )
        secure = issubclass(cls, module.connection.SSLConnection)
        plain = module.connection.SSLConnection if secure else module.connection.Connection
        manager = pool.sentinel_manager
        theirs = [sentinel.connection_pool.connection_kwargs for sentinel in manager.sentinels]
        nodes = tuple((known["host"], known["port"]) for known in theirs)
        kept = {name: value for name, value in _kept(kwargs, plain).items() if name not in _ADDRESS}
        return Target("sentinel", plain, kept, nodes, pool.service_name, dict(manager.sentinel_kwargs))
    return Target("single", cls, _kept(kwargs, cls))


def _from_cluster(client: Any, asynchronous: bool) -> Target:
    strategy = getattr(client, "load_balancing_strategy", None)
    if getattr(client, "read_from_replicas", False) or strategy is not None:
        raise ConfigurationError(
            "server", client, "this client reads from replicas, which cannot count: leave that option out"
        )
    if asynchronous:
        kwargs = client.connection_kwargs
        cls = kwargs.get("connection_class", redis.asyncio.Connection)
        nodes = client.nodes_manager.startup_nodes.values()
    else:
        manager = client.nodes_manager
        kwargs, nodes = manager.connection_kwargs, manager.startup_nodes.values()
        cls = redis.connection.SSLConnection if kwargs.get("ssl") else redis.connection.Connection
    kept = {name: value for name, value in _kept(kwargs, cls).items() if name not in _ADDRESS}
    return Target("cluster", cls, kept, tuple((node.host, node.port) for node in nodes))


def _refuse_other_kind(server: object, asynchronous: bool) -> None:
    awaited = isinstance(server, (redis.asyncio.Redis, redis.asyncio.RedisCluster))
    plain = isinstance(server, (redis.Redis, redis.RedisCluster))
    if awaited and not asynchronous:
        raise ConfigurationError(
            "server", server, "this client is awaited: give redis.Redis, or use AsyncRedisStore"
        )
    if plain and not awaited and asynchronous:
        raise ConfigurationError(
            "server", server, "this client blocks: give redis.asyncio.Redis, or use RedisStore"
        )


def _kept(kwargs: Mapping[str, Any], cls: type[Any]) -> Kwargs:
    """What we take over: address, credentials, TLS. Not time-outs, retries, decoding, caching, hooks."""
    tls = "SSL" in cls.__name__
    return {
        name: value
        for name, value in kwargs.items()
        if (name in _KEPT and value is not None) or (tls and name.startswith("ssl_"))
    }


def connection_kwargs(target: Target, budget: float | None, connect_budget: float) -> Kwargs:
    """Arguments for a connection of ours: no retries, short time-outs, plain bytes, no extra commands."""
    kwargs: Kwargs = {
        **target.kwargs,
        "socket_timeout": budget,
        "socket_connect_timeout": connect_budget,
        "retry": None,
        "retry_on_timeout": False,
        "decode_responses": False,
        "health_check_interval": 0,
        "protocol": 2,
    }
    known = inspect.signature(_abstract(target.connection_class).__init__).parameters
    # Naming the library costs two more round trips per connection.
    if "driver_info" in known:
        kwargs["driver_info"] = None
    else:
        kwargs["lib_name"] = kwargs["lib_version"] = None
    if "maint_notifications_config" in known:
        kwargs["maint_notifications_config"] = redis.maint_notifications.MaintNotificationsConfig(
            enabled=False
        )
    return kwargs


def sentinel_kwargs(target: Target, budget: float) -> Kwargs:
    """Arguments for the clients that ask Sentinels: the same care for time, no retries."""
    module = redis.asyncio if issubclass(target.connection_class, redis.asyncio.Connection) else redis
    kwargs = {**target.sentinel_kwargs, "socket_timeout": budget, "socket_connect_timeout": budget}
    return {**kwargs, "retry": module.retry.Retry(redis.backoff.NoBackoff(), 0), "decode_responses": False}


def _abstract(cls: type[Any]) -> type[Any]:
    """The redis-py class that takes the arguments all connections share."""
    for base in cls.__mro__:
        if base.__name__ == "AbstractConnection":
            return base
    return cls
