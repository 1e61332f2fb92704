"""The pool for threads whose requests go over a few connections, by pipelining."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Self, Unpack, overload

from redis.connection import Connection, UnixDomainSocketConnection

from ..core.callsite import take_site
from ..core.config import MaxConnections
from ..core.pool import PoolCore
from ..core.record import Record
from ..core.stats import MultiplexedPoolStats, PoolDump
from ..errors import pool_gone, shut_down
from ..redispy import sockets
from ..redispy.internals import ONE_CALL, MaintNotificationsConfig
from ..redispy.keywords import SharedThreadOptions, SharedThreadUrlOptions
from ..redispy.multiplexed_pool import MultiplexedPool, WeakHome, hold, report_long_wait
from ..threads import borrower_name
from .connection import MultiplexedConnection
from .connections import MultiplexedConnections
from .pool import ConnectionPool
from .virtual import VirtualConnection

_calling_frame = sys._getframe
_one_call = ONE_CALL.get


class MultiplexedConnectionPool(MultiplexedPool, ConnectionPool):
    """A pool whose connections callers share: the commands of many threads go over one of them.

    It takes the place of any pool for threads, under redis-py's own clients and under `redpool.Redis`:

        pool = redpool.MultiplexedConnectionPool(host="localhost", port=6379, db=0)
        r = redis.Redis(connection_pool=pool)

    A command that can't share (one that blocks, WATCH, a subscription, an unknown command), and a caller of
    `get_connection`, gets a dedicated connection from the same pool.

    Options: those of `ConnectionPool`, and

    - `shared_connections` (1): the most connections that callers share, a part of `max_connections`; a second one is
      opened, and so on, only where a trial shows that it pays. A command takes the one with the least to do.
    - `max_in_flight` (4096): commands that await a reply on one of them; further callers wait for room, `timeout`
      seconds at most.
    - `shareable_commands` (`()`): names of further commands (of modules) that may share, such as `("JSON.GET",
      "FT.SEARCH")`. Name only commands that never block, and that leave the connection as it is.
    - `slow_after` (`None`): commands that were seen to take the server so many seconds go over a connection apart.

    Raises `TypeError` or `ValueError` for a wrong option.
    """

    _multiplexed_class: ClassVar[type[MultiplexedConnections]] = MultiplexedConnections
    _virtual_class: ClassVar[type[VirtualConnection]] = VirtualConnection

    @overload
    def __init__(
        self,
        connection_class: type[Connection | UnixDomainSocketConnection] = ...,
        max_connections: MaxConnections = ...,
        cache_factory: Any = ...,
        maint_notifications_config: MaintNotificationsConfig | None = ...,
        **kwargs: Unpack[SharedThreadOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        connection_class: Callable[..., Any],
        max_connections: MaxConnections = ...,
        cache_factory: Any = ...,
        maint_notifications_config: MaintNotificationsConfig | None = ...,
        **kwargs: Any,
    ) -> None: ...
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        sockets.check_shareable()
        super().__init__(*args, **kwargs)
        self._prepare_sharing()

    @overload  # type: ignore[override]  # it refuses what would fail
    @classmethod
    def from_url(cls, url: str, **kwargs: Unpack[SharedThreadUrlOptions]) -> Self: ...
    @overload
    @classmethod
    def from_url(cls, url: str, *, connection_class: Callable[..., Any], **kwargs: Any) -> Self: ...
    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> Self:
        """Make a pool from a URL, as `ConnectionPool.from_url` does."""
        return super().from_url(url, **kwargs)

    def make_multiplexed(self) -> MultiplexedConnections:
        """Return what a new engine shares."""
        return self._multiplexed_class(self.config, _Home(self))

    def take_shared(self, beside: bool) -> Any:
        """Take a connection that is to be shared; one `beside` others must not take the last slot."""
        if beside:
            self._check_slot_left(self._engine.core)
        connection = ConnectionPool.get_connection(self)
        hold(connection)
        return connection

    # -- checkout and release ----------------------------------------------------------------------------------------

    def get_connection(self, command_name: Any = None, *keys: Any, **unused: Any) -> Any:
        """Return a virtual connection to redis-py's clients, for one call; to all other callers a dedicated connection.

        Raises `PoolClosed`, and what `ConnectionPool.get_connection` raises.
        """
        frame = _calling_frame(1)
        if _one_call(frame.f_code.co_qualname) is not frame.f_globals or not (self.sharing or self.may_share()):
            return self.take_own()
        multiplexed = self._engine.multiplexed
        if multiplexed.closed:
            raise shut_down(self.config.name)
        return self._virtual(multiplexed)

    def take_own(self) -> Any:
        """Check out a dedicated connection, for a command that can't share."""
        engine = self._engine_here()
        core = engine.core
        if not core.idle and core.open >= core.most_connections:
            if engine.multiplexed.is_mine():  # a signal handler's call, which might wait for its own thread
                return engine.overflow_connection()
            engine.multiplexed.make_room()
        connection = ConnectionPool.get_connection(self)
        slot = connection._redpool.slot
        if slot is not None:  # not one that was made beside the pool
            slot.taken = take_site(_calling_frame(1))
        return connection

    def release(self, connection: Any) -> None:
        """Release a connection. Releasing one twice, or one of another pool, has no effect but a warning."""
        if not isinstance(connection, VirtualConnection):
            ConnectionPool.release(self, connection)
            return
        if connection.simple and connection.command is None:
            return
        connection.leave()
        own, connection.bound = connection.bound, None
        if own is not None:
            ConnectionPool.release(self, own)

    def _refused_write(self) -> bool:
        return self._engine.refused_write(None, False)

    # -- the whole pool ----------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Replace every connection: idle and shared ones now, those in use when they are released."""
        super().drain()
        self._engine.multiplexed.retire_all()

    def reset(self) -> None:
        """Begin anew without connections, also after a shutdown: idle ones close now, others once they are done."""
        before = self._engine_here().multiplexed
        super().reset()
        before.shutdown()

    def shutdown(self, timeout: float | None = 5.0, force: bool = False) -> None:
        """End the pool: from now on a call raises `PoolClosed`; commands in flight are answered for `timeout` seconds.

        Subscribers and monitors end at once. With `force` it cuts all connections, and their users get a
        `redis.ConnectionError`.
        """
        self._engine_here().multiplexed.shutdown()
        super().shutdown(timeout, force)

    def stats(self) -> MultiplexedPoolStats:
        """Return the pool's state at this moment, and its counters since it was created or reset."""
        return self._with_shared(super().stats(), self._engine.multiplexed)

    def record(self) -> Record:
        """Return what the pool was asked for: its dedicated connections in the last minute, and commands in all."""
        return replace(super().record(), commands=self.stats().commands)

    def dump(self) -> PoolDump:
        """Return who has which connection and who waits, the calls that share, and what was decided about sharing."""
        return self._with_calls(super().dump(), self._engine.multiplexed, _caller, borrower_name)


def _caller(connection: MultiplexedConnection, waker: Any) -> tuple[str | None, None]:
    ident = connection.woken_by(waker)
    return (None if ident is None else borrower_name(ident)), None


class _Home(WeakHome):
    """Where the multiplexed connections of a pool are at home."""

    def core(self) -> PoolCore | None:
        """Return the pool's core, `None` where the pool is gone."""
        pool = self.pool()
        return None if pool is None else pool._engine.core

    def connect(self, beside: bool) -> Any:
        """Take a connection that is to be shared; one `beside` others must not take the last slot."""
        try:
            return MultiplexedConnectionPool.take_shared(self.passing_pool(), beside)
        except ReferenceError:
            raise pool_gone() from None

    def release(self, connection: Any) -> None:
        """Release a connection to the pool; the engine takes it back where that is gone."""
        pool = self.pool()
        if pool is not None:
            ConnectionPool.release(pool, connection)
        else:
            connection._redpool.engine.reclaim(connection)

    def report_long_wait(self, waited: float) -> None:
        """Report that a caller has waited for so many seconds, and what is under way meanwhile."""
        pool = self.pool()
        if pool is not None:
            report_long_wait(pool.config.name, pool._engine.multiplexed, waited, _caller, borrower_name)

    def wake_maintenance(self) -> None:
        """Have maintenance look anew how often it is to look."""
        pool = self.pool()
        if pool is not None:
            pool._engine.wake_maintenance()

    def stand_in(self) -> None:
        """Do maintenance's work, where no thread is to be had for it."""
        pool = self.pool()
        if pool is not None:
            pool._engine.stand_in()

    def reentered(self) -> bool:
        """Return whether this thread was interrupted in what connecting has to wait for."""
        pool = self.pool()
        return pool is not None and pool._engine.reentered()
