"""One connection to a Redis, of a fleet's own: never out of a user's pool, without retries, with short timeouts.

It belongs to one thread. It speaks RESP2, in which replies look alike on all servers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import MovedError, ResponseError
from redis.retry import Retry

from ..core.config import MultiplexedConfig
from ..redispy import options
from ..redispy.factory import library_option

Command = tuple[str | bytes | int | float, ...]

WITHIN = 2.0
"""So many seconds a connect, and each reply, may take."""

_KEPT = frozenset({
    "host", "port", "path", "db", "username", "password", "credential_provider", "socket_type", "socket_keepalive",
    "socket_keepalive_options",
})  # fmt: skip


class Target(NamedTuple):
    """What to connect to."""

    connection_class: Callable[..., Any]
    options: Mapping[str, Any]

    @property
    def shown(self) -> str:
        """The address, without credentials."""
        scheme = "rediss" if self.connection_class is SSLConnection else "redis"
        if "path" in self.options:
            return f"unix://{self.options['path']}?db={self.options.get('db') or 0}"
        host, port = self.options.get("host", "localhost"), self.options.get("port", 6379)
        return f"{scheme}://{f'[{host}]' if ':' in str(host) else host}:{port}/{self.options.get('db') or 0}"


def target_of_url(url: str, option: str = "url") -> Target:
    """Return what a URL says; options of pools in it are passed over.

    Raises `TypeError` or `ValueError`, with the option's name but not its value, where it is none.
    """
    if not isinstance(url, str):
        raise TypeError(f"{option}= must be the URL of a Redis, not a {type(url).__name__}")
    try:
        found = options.parse_url(url, False, MultiplexedConfig)
    except ValueError as error:
        raise ValueError(f"{option}=: {error}") from None
    return Target(found.get("connection_class", Connection), _kept(found))


def target_of_pool(pool: Any) -> Target | None:
    """Return what a pool connects to; `None` where Sentinel hasn't said it yet, or where it is a replica."""
    asked = pool.connection_kwargs
    found = _kept(asked)
    if "connection_pool" in asked:
        if not pool.is_master or pool.master_address is None:
            return None
        found["host"], found["port"] = pool.master_address
    # By name: the connections of valkey-py, and those for event loops, are other classes.
    over_tls = "SSL" in getattr(pool.connection_class, "__name__", "")
    return Target(UnixDomainSocketConnection if "path" in found else SSLConnection if over_tls else Connection, found)


def _kept(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name in _KEPT or name.startswith("ssl_")}


def _moved(reply: object) -> MovedError | None:
    """Return where a node of a cluster sends its caller, if it does."""
    if isinstance(reply, MovedError):
        return reply
    # Before redis-py 6 only a cluster's own connections know this error by its class.
    if isinstance(reply, ResponseError) and str(reply).startswith("MOVED "):
        return MovedError(str(reply).removeprefix("MOVED "))
    return None


class Link:
    """A connection that opens when it is needed. On a cluster it goes to the node that has the keys."""

    def __init__(self, target: Callable[[], Target | None], name: str) -> None:
        self._target = target
        self._name = name
        self._connection: Any = None
        self._moved: dict[str, Any] = {}

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Return the reply to each command; an error of the server's as an exception in its place.

        Raises `redis.RedisError` or `OSError` where there is no connection; it is closed then.
        """
        try:
            replies = self._ask(commands)
            moved = next(filter(None, map(_moved, replies)), None)
            if moved is not None:
                self._drop()
                self._moved = {"host": moved.host, "port": moved.port} if moved.host else {"port": moved.port}
                replies = self._ask(commands)
        except BaseException:
            self.close()
            raise
        return replies

    def _ask(self, commands: Sequence[Command]) -> list[Any]:
        if self._connection is None:
            self._connect()
        connection = self._connection
        connection.send_packed_command(connection.pack_commands(commands))
        return [self._reply() for _ in commands]

    def _connect(self) -> None:
        target = self._target()
        if target is None:
            raise ConnectionError("the address is not known yet")
        self._connection = target.connection_class(
            **{
                **target.options,
                **self._moved,
                **library_option(target.connection_class, {}),
                "socket_timeout": WITHIN,
                "socket_connect_timeout": WITHIN,
                "retry": Retry(NoBackoff(), 0),
                "protocol": 2,
            }
        )
        self._connection.connect()
        self._connection.send_command("CLIENT", "SETNAME", self._name)
        self._reply()  # a refusal does no harm

    def _reply(self) -> Any:
        try:
            return self._connection.read_response()
        except ResponseError as error:
            return error

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None

    @property
    def shown(self) -> str:
        """The address, without credentials: on a cluster that of the node that has the keys."""
        target = self._target()
        if target is None:
            return "an address that is not known yet"
        return target._replace(options={**target.options, **self._moved}).shown

    def close(self) -> None:
        """Close the connection; the next question opens another, to the address that was given first."""
        self._moved = {}
        self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
