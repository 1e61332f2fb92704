"""The pool for event loops whose requests go over a few connections, by pipelining."""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, ClassVar, Self, Unpack, overload

from redis.asyncio.connection import Connection, UnixDomainSocketConnection

from ..core.callsite import take_site
from ..core.config import MaxConnections
from ..core.pool import PoolCore
from ..core.record import Record
from ..core.stats import MultiplexedPoolStats, PoolDump
from ..errors import pool_gone, shut_down
from ..forks import begin_in_child, same_process
from ..redispy.clients import NO_WAY
from ..redispy.internals import ONE_CALL_ASYNC, MaintNotificationsConfig
from ..redispy.keywords import SharedLoopOptions, SharedLoopUrlOptions
from ..redispy.multiplexed_pool import MultiplexedPool, WeakHome, hold, report_long_wait
from ..redispy.retry import RetryGuardAsync
from .connections import MultiplexedConnections
from .engine import Engine
from .pool import ConnectionPool
from .virtual import DONE, VirtualConnection

_running_loop = asyncio.get_running_loop
_same_process = same_process
_calling_frame = sys._getframe
_one_call = ONE_CALL_ASYNC.get


class MultiplexedConnectionPool(MultiplexedPool, ConnectionPool):
    """A pool whose connections callers share: the commands of many tasks go over one of them.

    It takes the place of any pool for event loops, under redis-py's own clients and under `redpool.asyncio.Redis`:

        pool = redpool.asyncio.MultiplexedConnectionPool(host="localhost", port=6379, db=0)
        r = redis.asyncio.Redis(connection_pool=pool)

    A command that can't share (one that blocks, WATCH, a subscription, an unknown command), and a caller of
    `get_connection`, gets a dedicated connection from the same pool.

    Options: those of `ConnectionPool`, and

    - `shared_connections` (1): the most connections that callers share on each loop, a part of `max_connections`; a
      second one is opened, and so on, only where a trial shows that it pays. A command takes the one with the least to
      do.
    - `max_in_flight` (4096): commands that await a reply on one of them; further callers wait for room, `timeout`
      seconds at most.
    - `shareable_commands` (`()`): names of further commands (of modules) that may share, such as `("JSON.GET",
      "FT.SEARCH")`. Name only commands that never block, and that leave the connection as it is.
    - `slow_after` (`None`): commands that were seen to take the server so many seconds go over a connection apart.

    Raises `TypeError` or `ValueError` for a wrong option.
    """

    _multiplexed_class: ClassVar[type[MultiplexedConnections]] = MultiplexedConnections
    _virtual_class = VirtualConnection
    _guard_class = RetryGuardAsync
    cache = None

    multiplexed: Any
    """what is shared on the loop that has used the pool last"""

    @overload
    def __init__(
        self,
        connection_class: type[Connection | UnixDomainSocketConnection] = ...,
        max_connections: MaxConnections = ...,
        maint_notifications_config: MaintNotificationsConfig | None = ...,
        **kwargs: Unpack[SharedLoopOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        connection_class: Callable[..., Any],
        max_connections: MaxConnections = ...,
        maint_notifications_config: MaintNotificationsConfig | None = ...,
        **kwargs: Any,
    ) -> None: ...
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.multiplexed = NO_WAY.multiplexed
        super().__init__(*args, **kwargs)
        self._prepare_sharing()

    @overload  # type: ignore[override]  # it refuses what would fail
    @classmethod
    def from_url(cls, url: str, **kwargs: Unpack[SharedLoopUrlOptions]) -> Self: ...
    @overload
    @classmethod
    def from_url(cls, url: str, *, connection_class: Callable[..., Any], **kwargs: Any) -> Self: ...
    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> Self:
        """Make a pool from a URL, as `ConnectionPool.from_url` does."""
        return super().from_url(url, **kwargs)

    def make_multiplexed(self, engine: Engine) -> MultiplexedConnections:
        """Return what a new engine shares."""
        return self._multiplexed_class(self.config, engine.loop, _Home(self, engine))

    async def take_shared(self, beside: bool) -> Any:
        """Take a connection that is to be shared; one `beside` others must not take the last slot."""
        here = self._enter()
        if beside:
            self._check_slot_left(here.core)
        connection = await ConnectionPool.get_connection(self)
        hold(connection)
        return connection

    def multiplexed_here(self) -> MultiplexedConnections:
        """Return what is shared on the running loop."""
        if not _same_process[0]:
            begin_in_child()
        here = self._here
        if here is None or here.loop is not _running_loop():
            here = self._enter()
        multiplexed: MultiplexedConnections = here.multiplexed
        self.multiplexed = multiplexed
        return multiplexed

    # -- checkout and release ----------------------------------------------------------------------------------------

    async def get_connection(self, command_name: Any = None, *keys: Any, **unused: Any) -> Any:
        """Return a virtual connection to redis-py's clients, for one call; to all other callers a dedicated connection.

        Raises `PoolClosed`, and what `ConnectionPool.get_connection` raises.
        """
        frame = _calling_frame(1)
        if (
            _one_call(frame.f_code.co_qualname) is frame.f_globals
            and (self.sharing or self.may_share())
            and not self.himport_registry.revision
        ):
            multiplexed = self.multiplexed
            if not multiplexed.in_turn():
                multiplexed = self.multiplexed_here()
            if multiplexed.closed:
                raise shut_down(self.config.name)
            return self._virtual(multiplexed)
        return await self.take_own()

    async def take_own(self) -> Any:
        """Check out a dedicated connection, for a command that can't share."""
        here = self._enter()
        if not here.core.idle and here.core.open >= here.core.most_connections:
            here.multiplexed.make_room()
        connection = await ConnectionPool.get_connection(self)
        connection._redpool.slot.taken = take_site(_calling_frame(1))
        return connection

    def release(self, connection: Any) -> Awaitable[None]:  # type: ignore[override]  # a coroutine in redis-py
        """Release a connection. Releasing one twice, or one of another pool, has no effect but a warning."""
        if isinstance(connection, VirtualConnection) and connection.simple and connection.command is None:
            return DONE
        return self._release(connection)

    async def _release(self, connection: Any) -> None:
        if not isinstance(connection, VirtualConnection):
            await ConnectionPool.release(self, connection)
            return
        connection.leave()
        own, connection.bound = connection.bound, None
        connection.simple = True  # a cluster's node uses it again
        if own is not None:
            await ConnectionPool.release(self, own)

    def _refused_write(self) -> bool:
        return self._enter().refused_write(None, False)

    # -- the whole pool ----------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Replace every connection: idle and shared ones now, those in use when they are released."""
        super().drain()
        self._each(lambda here: here.multiplexed.retire_all())

    def reset(self) -> None:
        """Begin anew without connections, also after a shutdown: idle ones close now, others once they are done."""
        self._each(lambda here: here.multiplexed.shutdown())
        super().reset()
        self.multiplexed = NO_WAY.multiplexed

    def begin_in_child(self) -> None:
        """After a fork, in the child: start empty."""
        super().begin_in_child()
        self.multiplexed = NO_WAY.multiplexed

    async def shutdown(self, timeout: float | None = 5.0, force: bool = False) -> None:
        """End the pool: from now on a call raises `PoolClosed`; commands in flight are answered for `timeout` seconds.

        Subscribers and monitors end at once. With `force` it cuts all connections, and their users get a
        `redis.ConnectionError`.
        """
        self._each(lambda here: here.multiplexed.shutdown())
        await super().shutdown(timeout, force)

    def stats(self) -> MultiplexedPoolStats:
        """Return the state and the counters of the pool on the running loop; outside of one, on the loop used last."""
        here = self._view()
        return self._stats_of(None) if here is None else here.look(self._stats_of)

    def record(self) -> Record:
        """Return what the pool was asked for: its dedicated connections in the last minute, and commands in all."""
        return replace(super().record(), commands=self.stats().commands)

    def _stats_of(self, here: Engine | None) -> MultiplexedPoolStats:
        return self._with_shared(super()._stats_of(here), None if here is None else here.multiplexed)

    def _dump_of(self, here: Engine | None) -> PoolDump:
        own = super()._dump_of(here)
        if here is None:
            return own
        return self._with_calls(own, here.multiplexed, here.caller_of, here.borrower_name)


class _Home(WeakHome):
    """Where the multiplexed connections of a pool on one loop are at home."""

    def __init__(self, pool: MultiplexedConnectionPool, engine: Engine) -> None:
        super().__init__(pool)
        self._engine = weakref.ref(engine)

    def core(self) -> PoolCore | None:
        """Return the core of this loop, `None` where the pool is gone."""
        engine = self._engine()
        return engine.core if engine is not None and self.pool() is not None else None

    def report_long_wait(self, waited: float) -> None:
        """Report that a caller has waited for so many seconds, and what is under way meanwhile."""
        pool, engine = self.pool(), self._engine()
        if pool is not None and engine is not None:
            report_long_wait(pool.config.name, engine.multiplexed, waited, engine.caller_of, engine.borrower_name)

    async def connect(self, beside: bool) -> Any:
        """Take a connection that is to be shared; one `beside` others must not take the last slot."""
        try:
            return await MultiplexedConnectionPool.take_shared(self.passing_pool(), beside)
        except ReferenceError:
            raise pool_gone() from None

    def release(self, connection: Any) -> None:
        """Release a connection to the pool; the engine takes it back where that is gone."""
        pool = self.pool()
        if pool is not None:
            pool._release_now(connection)
        else:
            connection._redpool.engine.reclaim(connection)
