"""What the pools of both shells whose connections are shared do alike."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, ClassVar

from ..core.config import MultiplexedConfig, PoolConfig
from ..core.histogram import Summary, members
from ..core.long_waits import MOST_HOLDERS, wait_line
from ..core.pool import PoolCore
from ..core.stats import Decision, Lease, MultiplexedPoolStats, PoolDump, PoolStats, Waiter
from ..errors import PoolTimeout, pool_gone
from ..wire.commands import undone_where_refused
from ..wire.pipeline import Request
from . import sharing
from .calls import Caller, under_way
from .retry import RetryGuard, guarded_copy
from .routing import Routing
from .virtual import Virtual

logger = logging.getLogger("redpool")

_monotonic = time.monotonic

BORROWER = "all who share it"
"""What the dump names as the borrower of a multiplexed connection."""


def hold(connection: Any) -> None:
    """Note that a connection is on lease to the pool itself, for all who share it."""
    slot, connection.sent = connection._redpool.slot, ()
    slot.borrower, slot.taken = BORROWER, None


class MultiplexedPool:
    """What is alike in the pools of both shells whose connections are shared."""

    _config_class: ClassVar[type[PoolConfig]] = MultiplexedConfig
    _multiplexed_class: ClassVar[Any]
    _virtual_class: ClassVar[type[Virtual]]
    _guard_class: ClassVar[type[RetryGuard]] = RetryGuard

    cache: Any
    connection_class: Any
    _factory: Any
    config: Any
    retry_guard: RetryGuard
    sharing = False
    """whether callers share, as `may_share` has found it last: at the first call, and by maintenance"""

    def _prepare_sharing(self) -> None:
        """Make what callers share: once the pool is made, and when it gets another retry policy."""
        pool: Any = self
        self._template = template = pool.make_connection()
        self.retry_guard = self._guard_class(guarded_copy(getattr(template, "retry", None)))
        self._virtual: Any = self._virtual_class.of(template, self.retry_guard)
        self.decodes: bool = pool.get_encoder().decode_responses
        self.sharing_names = sharing.sharing_names(self.config.shareable_commands)

    def set_retry(self, retry: Any) -> None:
        """Use another retry policy, for the connections there are and those to come."""
        theirs: Any = super()
        theirs.set_retry(retry)
        self._prepare_sharing()

    @classmethod
    def option_names(cls) -> frozenset[str]:
        """Return the names of the pool's own options."""
        return cls._config_class.names()

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """Raise `TypeError` or `ValueError` where one of the pool's own among `options` is wrong."""
        names = cls.option_names() - {"instruments", "shareable_commands"}  # may be iterators, to be read once
        cls._config_class.take({name: options[name] for name in names if name in options})

    def may_share(self) -> bool:
        """Find out anew whether callers share connections: not where others have a say in what is sent and read."""
        self._factory.look_again()
        self.sharing = self.cache is None and self._class_shares() and sharing.shareable(self._template)
        return self.sharing

    def _class_shares(self) -> bool:
        return bool(getattr(self._factory.tracking_class, "usual", False))

    def _check_slot_left(self, core: PoolCore) -> None:
        """Raise `PoolTimeout` where a further multiplexed connection would take the last slot."""
        if not core.idle and core.open >= core.most_connections - 1:
            raise PoolTimeout(f"{self.config.name}: no slot is left for a further multiplexed connection")

    def starts_over(self, request: Request | None) -> bool:
        """Return whether a request goes over a new connection, as a replica has refused to write: all are replaced.

        A single command does, of which nothing was done, if the connections are replaced by it, or were by another one
        while it was under way. What is in a pipeline or a transaction, `None`, doesn't.
        """
        replaced = self._refused_write()
        if request is None or type(request.commands) is not tuple:
            return False
        return (replaced or request.outdated) and undone_where_refused(request.commands)

    def _refused_write(self) -> bool:
        """Have all connections replaced, since a replica has refused a write. Return whether they are."""
        raise NotImplementedError

    def owns_connection(self, connection: Any) -> bool:
        """Return whether the connection is this pool's."""
        if isinstance(connection, Virtual):
            return connection.is_of(self)
        theirs: Any = super()
        return bool(theirs.owns_connection(connection))

    def _with_shared(self, own: PoolStats, multiplexed: Routing[Any, Any] | None) -> MultiplexedPoolStats:
        """Return the pool's stats with those of what is shared."""
        values: dict[str, Any] = {field.name: getattr(own, field.name) for field in fields(own)}
        if multiplexed is None:
            return MultiplexedPoolStats(**values)
        counts, batches = multiplexed.counts(), members(multiplexed.batches)
        values["waiting"] += counts.pop("waiting")
        values["oldest_wait"] = max(own.oldest_wait, multiplexed.oldest_wait())
        values["shed"] += 0 if multiplexed.shedding is None else multiplexed.shedding.shed
        return MultiplexedPoolStats(
            **values | counts,
            commands=sum(size * count for size, count in batches),
            writes=sum(count for _, count in batches),
            batch=Summary.of_members(batches),
        )

    def _with_calls(
        self, own: PoolDump, multiplexed: Routing[Any, Any], caller: Caller, borrower_name: Callable[[Any], str]
    ) -> PoolDump:
        """Return the pool's dump with callers that wait for a connect, calls under way, and what was decided."""
        decided, now = multiplexed.spread.decisions.copy(), _monotonic()
        if multiplexed.slow is not None:
            decided += multiplexed.slow.decisions.copy()
        calls, more = under_way(multiplexed.all_there_are(), caller)
        said = tuple(Decision(now - at, what) for at, what in sorted(decided))
        waiters = [Waiter(now - since, borrower_name(borrower)) for since, borrower in multiplexed.awaiting_connect()]
        waiters = sorted([*own.waiters, *waiters], key=lambda waiter: -waiter.age)
        return replace(own, waiters=tuple(waiters), decisions=(*own.decisions, *said), calls=calls, more_calls=more)


def report_long_wait(
    name: str, multiplexed: Routing[Any, Any], waited: float, caller: Caller, borrower_name: Callable[[Any], str]
) -> None:
    """Log that callers wait for long for room or for a connect, with the oldest calls that are under way."""
    calls, _ = under_way(multiplexed.all_there_are(), caller)
    flying = [Lease(call.age, call.borrower or "unknown", call.waits_at, call.command) for call in calls if call.sent]
    callers = [call.borrower for call in calls if not call.sent]
    callers += [borrower_name(borrower) for _, borrower in multiplexed.awaiting_connect()]
    counts = multiplexed.counts()
    shown = {"in_flight": counts["in_flight"], "waiting": counts["waiting"]}
    line = wait_line(waited, next(iter(callers), None), max(0, counts["waiting"] - 1), shown, flying[:MOST_HOLDERS])
    logger.warning("%s: long wait: %s", name, line)


class WeakHome:
    """What multiplexed connections, and virtual ones over them, know of their pool, which holds them: see `Home`."""

    def __init__(self, pool: Any) -> None:
        self.pool = weakref.ref(pool)
        self.decodes: bool = pool.get_encoder().decode_responses
        self.himport_registry = pool.himport_registry

    def pool_here(self) -> Any:
        """Return the pool, or raise that it is gone."""
        pool = self.pool()
        if pool is None:
            raise pool_gone()
        return pool

    def passing_pool(self) -> Any:
        """Return what stands for the pool, and doesn't keep it, for as long as a connect may take.

        Its methods raise `ReferenceError` once the pool is gone. One that is dropped while a shared connection is
        connected would stay until that has ended; in a cycle, until the next collection, which may be long in coming.
        """
        return weakref.proxy(self.pool_here())

    def may_share(self) -> bool:
        """Find out anew whether callers share connections."""
        pool = self.pool()
        return pool is not None and pool.may_share()

    def starts_over(self, request: Request | None) -> bool:
        """Return whether what a replica has refused to write goes over a new connection."""
        pool = self.pool()
        return pool is not None and pool.starts_over(request)

    def take_own(self) -> Any:
        """Check out a connection for what can't share; on an event loop it is awaited."""
        return self.pool_here().take_own()
