"""Pools that follow a master, and clusters: what both shells decide alike beside redis-py's own code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ExecAbortError, ReadOnlyError

from ..core.config import MultiplexedConfig
from ..core.pool import PoolCore
from ..wire import commands
from ..wire.pipeline import Request
from . import sharing


class Demoted(RedisConnectionError):
    """The server that was the master has refused a write, so that nothing was changed: there is another master now."""

    def __init__(self, message: str = "The previous master is now a slave") -> None:
        super().__init__(message)


def as_theirs(force_master_ip: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a Sentinel as redis-py's takes them; valkey-py's doesn't know the address of a master."""
    return {**options} if force_master_ip is None else {**options, "force_master_ip": force_master_ip}


def may_start_over(request: Request, replies: Any, rule: str) -> bool:
    """Return whether all of the request may be sent to the next master, where this one has refused some of it."""
    if type(request.commands) is tuple or isinstance(replies[-1], ExecAbortError):
        return True
    ran = [args for args, reply in zip(request.commands, replies, strict=True) if not isinstance(reply, ReadOnlyError)]
    return not ran or commands.must_run_once(ran, rule) is None


class Service:
    """What a pool's connections ask for the address when they are connected, as far as it decides."""

    is_master: bool
    master_address: Any
    _pool: Callable[[], Any]
    """returns the pool, `None` where it is gone"""

    def reset(self) -> None:
        """Know nothing."""
        raise NotImplementedError

    def _found(self, address: Any) -> Any:
        """Note where the master is now; where it is another one, the connections to the last one are replaced."""
        before, self.master_address = self.master_address, address
        pool = self._pool()
        if self.is_master and before not in (None, address) and pool is not None:
            pool.drain()
        return address


class Watchful:
    """Multiplexed connections that notice that the master has become a replica."""

    service: Service
    config: MultiplexedConfig
    home: Any

    def _seen(self, replies: Any, request: Request, before: int | None) -> Any:
        """Return the replies; `before` is the generation over which the request was sent."""
        if self.service.is_master and sharing.refused(replies):
            pool = self.home.pool()
            if pool is not None and before == self._generation():  # else a caller has seen to it
                pool.drain()
                self.service.reset()  # the next connect has nothing to replace
            if may_start_over(request, replies, self.config.retry_sent):
                raise Demoted
        return replies

    def _generation(self) -> int | None:
        core: PoolCore | None = self.home.core()
        return None if core is None else core.generation


class SentinelPool:
    """A pool of the shared connections to a master, or to its replicas."""

    _service_class: Any
    _connection_classes: tuple[type, type]
    """the plain one, and that over TLS"""
    _factory: Any
    connection_class: Any

    def __init__(self, service_name: str, sentinel_manager: Any, **kwargs: Any) -> None:
        self.service_name, self.sentinel_manager = service_name, sentinel_manager
        self.is_master = kwargs.pop("is_master", True)
        self.check_connection = kwargs.pop("check_connection", False)
        self._service = self._service_class(self, self.is_master, self.check_connection, service_name, sentinel_manager)
        self.get_master_address = self._service.get_master_address
        self.rotate_slaves = self.rotate_replicas = self._service.rotate_slaves
        if kwargs.get("name") is None:
            kwargs["name"] = f"{service_name}{'' if self.is_master else ' replicas'}/{kwargs.get('db', 0)}"
        kwargs.setdefault("connection_class", self._connection_classes[bool(kwargs.pop("ssl", False))])
        theirs: Any = super()
        theirs.__init__(**kwargs, connection_pool=self._service)

    def _class_shares(self) -> bool:
        return (
            issubclass(self.connection_class, self._connection_classes[0]) and not self._factory.tracking_class.foreign
        )

    def reset(self) -> None:
        """Begin anew, with no connection, and no master known."""
        theirs: Any = super()
        theirs.reset()
        self._service.reset()

    def starts_over(self, _request: Request | None) -> bool:
        """Return that nothing does: Sentinel says when there is another master, and a replica refuses all writes."""
        return False

    @property
    def master_address(self) -> Any:
        """Host and port of the master that was found last; `None` before."""
        return self._service.master_address


def check_settled(error: object) -> None:
    """Raise an error after which no other node of a cluster is to be asked: see `settled`."""
    if isinstance(error, BaseException) and sharing.settled(error):
        raise error
