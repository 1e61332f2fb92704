"""The pool for event loops whose requests go over a few connections, by pipelining."""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Awaitable
from dataclasses import fields
from typing import Any, ClassVar

from ..core.callsite import take_site
from ..core.config import MultiplexedConfig, PoolConfig
from ..core.histogram import Summary
from ..core.pool import PoolCore
from ..core.stats import MultiplexedPoolStats
from ..errors import PoolClosed, PoolTimeout
from ..forks import begin_in_child, same_process
from ..redispy import sharing
from ..redispy.internals import ONE_CALL_ASYNC
from ..redispy.retry import RetryGuardAsync, guarded_copy
from ..wire.commands import undone_where_refused
from ..wire.pipeline import Request
from .connections import MultiplexedConnections
from .engine import Engine
from .pool import ConnectionPool
from .virtual import DONE, VirtualConnection

# What the dump names as the borrower of a multiplexed connection.
_ALL = "all who share it"

_running_loop = asyncio.get_running_loop
_same_process = same_process
_calling_frame = sys._getframe
_one_call = ONE_CALL_ASYNC.get


class MultiplexedConnectionPool(ConnectionPool):
    """A pool whose connections are shared: many tasks' commands go over one of them, each without waiting.

    It takes the place of any pool for event loops, under redis-py's own clients and under `redpool.asyncio.Redis`::

        pool = redpool.asyncio.MultiplexedConnectionPool(host="localhost", port=6379, db=0)
        r = redis.asyncio.Redis(connection_pool=pool)

    What can't share (a command that blocks, WATCH, a subscription, an unknown command), and a caller that takes a
    connection by itself, gets one of its own from the same pool.

    Options: those of `ConnectionPool`, and

    - `shared_connections` (1): connections that callers share, on each loop; the one with the least to do is taken. Of
      `max_connections` they are a part.
    - `max_in_flight` (4096): commands awaiting a reply on one of them; more callers wait for their turn, `timeout`
      seconds at most.
    - `shareable_commands` (`()`): names of further commands that may share, of modules for instance.
      Take only such as never block and leave the connection as it is: `("JSON.GET", "FT.SEARCH")`.

    Raises `ValueError` or `TypeError` where an option makes no sense.
    """

    _config_class: ClassVar[type[PoolConfig]] = MultiplexedConfig
    _multiplexed_class: ClassVar[type[MultiplexedConnections]] = MultiplexedConnections
    config: MultiplexedConfig
    retry_guard: RetryGuardAsync
    sharing = False
    """whether callers share, as `may_share` has found it last: at the first call, and by maintenance"""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        template = self.make_connection()
        self.retry_guard = RetryGuardAsync(guarded_copy(getattr(template, "retry", None)))
        self._virtual = VirtualConnection.of(template, self.retry_guard)
        self.decodes = self.get_encoder().decode_responses
        self.sharing_names = sharing.sharing_names(self.config.shareable_commands)
        self._template = template

    @classmethod
    def option_names(cls) -> frozenset[str]:
        """The names of the pool's own options."""
        return cls._config_class.names()

    def make_multiplexed(self, engine: Engine) -> MultiplexedConnections:
        """Return what a new engine shares."""
        me, here = weakref.ref(self), weakref.ref(engine)

        async def connect(beside: bool) -> Any:
            pool = me()
            if pool is None:
                raise PoolClosed("the pool is gone")
            return await pool._take_shared(beside)

        def release(connection: Any) -> None:
            pool = me()
            if pool is not None:
                pool._release_now(connection)
            else:
                connection._redpool.engine.reclaim(connection)

        def core() -> PoolCore | None:
            engine = here()
            return engine.core if engine is not None and me() is not None else None

        def may_share() -> bool:
            pool = me()
            return pool is not None and pool.may_share()

        return self._multiplexed_class(self.config, engine.loop, connect, release, core, may_share)

    def may_share(self) -> bool:
        """Find out anew whether callers share connections: not where others have a say in what is sent and read."""
        self._factory.look_again()
        self.sharing = self._class_shares() and sharing.shareable(self._template)
        return self.sharing

    def _class_shares(self) -> bool:
        return bool(getattr(self._factory.tracking_class, "usual", False))

    async def _take_shared(self, beside: bool) -> Any:
        core = self._enter().core
        if beside and not core.idle and core.open >= core.max_connections - 1:
            raise PoolTimeout(f"{self.config.name}: no slot is left for a further multiplexed connection")
        connection = await ConnectionPool.get_connection(self)
        connection._redpool.slot.borrower = _ALL
        return connection

    def multiplexed_here(self) -> MultiplexedConnections:
        """Return what is shared on the running loop."""
        if not _same_process[0]:
            begin_in_child()
        here = self._here
        if here is None or here.loop is not _running_loop():
            here = self._enter()
        multiplexed: MultiplexedConnections = here.multiplexed
        return multiplexed

    # -- checkout and release ----------------------------------------------------------------------------------------

    async def get_connection(self, command_name: Any = None, *keys: Any, **unused: Any) -> Any:
        """Return what a client needs for one call: a virtual connection. All others get one of their own.

        Raises `PoolClosed`, and what `ConnectionPool.get_connection` raises.
        """
        frame = _calling_frame(1)
        if (
            _one_call(frame.f_code.co_qualname) is frame.f_globals
            and (self.sharing or self.may_share())
            and not self.himport_registry.revision
        ):
            multiplexed = self.multiplexed_here()
            if multiplexed.closed:
                raise PoolClosed(f"{self.config.name}: the pool was shut down")
            return self._virtual(self, multiplexed)
        return await self.take_own()

    async def take_own(self) -> Any:
        """Check out a connection for what can't share."""
        here = self._enter()
        if not here.core.idle and here.core.open >= here.core.max_connections:
            here.multiplexed.make_room()
        connection = await ConnectionPool.get_connection(self)
        connection._redpool.slot.taken = take_site(_calling_frame(1))
        return connection

    def release(self, connection: Any) -> Awaitable[None]:  # type: ignore[override]
        """Release a connection. Releasing one twice, or one that isn't this pool's, does nothing but warn."""
        if isinstance(connection, VirtualConnection) and connection.is_done_with:
            return DONE
        return self._release(connection)

    async def _release(self, connection: Any) -> None:
        if not isinstance(connection, VirtualConnection):
            await ConnectionPool.release(self, connection)
            return
        connection.leave()
        own, connection.bound = connection.bound, None
        if own is not None:
            await ConnectionPool.release(self, own)

    def starts_over(self, request: Request | None) -> bool:
        """Return whether a request goes over a new connection, as a replica has refused to write: all are replaced.

        A single command does, of which nothing was done, if the connections are replaced by it, or were by another one
        while it was under way. What is in a pipeline or a transaction, `None`, doesn't.
        """
        replaced = self._enter().refused_write(None, False)
        if request is None or type(request.commands) is not tuple:
            return False
        return (replaced or request.outdated) and undone_where_refused(request.commands)

    def owns_connection(self, connection: Any) -> bool:
        """Return whether the connection is this pool's."""
        if isinstance(connection, VirtualConnection):
            return connection.pool is self
        return super().owns_connection(connection)

    # -- the whole pool ----------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Replace every connection: idle and shared ones now, used ones as they come back."""
        super().drain()
        self._each(lambda here: here.multiplexed.retire_all())

    def reset(self) -> None:
        """Begin anew, with no connection, also after a shutdown: idle ones close now, others once they are done."""
        self._each(lambda here: here.multiplexed.shutdown())
        super().reset()

    async def shutdown(self, timeout: float | None = 5.0, force: bool = False) -> None:
        """End the pool (`PoolClosed` from now on); what is in flight is still answered, for `timeout` seconds at most.

        Subscribers and monitors are ended at once. With `force` all connections are cut: their users see a
        `redis.ConnectionError`.
        """
        self._each(lambda here: here.multiplexed.shutdown())
        await super().shutdown(timeout, force)

    def set_retry(self, retry: Any) -> None:
        """Use another retry policy, for the connections there are and those to come."""
        super().set_retry(retry)
        template = self.make_connection()
        self.retry_guard = RetryGuardAsync(guarded_copy(getattr(template, "retry", None)))
        self._virtual = VirtualConnection.of(template, self.retry_guard)

    def stats(self) -> MultiplexedPoolStats:
        """The pool on the running loop (outside of one: on the loop used last), now and since it was created."""
        own = super().stats()
        values: dict[str, Any] = {field.name: getattr(own, field.name) for field in fields(own)}
        here = self._view()
        if here is None:
            return MultiplexedPoolStats(**values)
        counts = here.multiplexed.counts()
        values["waiting"] += counts.pop("waiting")
        values["oldest_wait"] = max(own.oldest_wait, here.multiplexed.oldest_wait())
        batches = here.multiplexed.batches
        writes, commands = sum(batches), sum(size * count for size, count in enumerate(batches))
        batch = Summary.of_counts(batches)
        return MultiplexedPoolStats(**values | counts, commands=commands, writes=writes, batch=batch)
