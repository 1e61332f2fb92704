"""What a redis-py client holds for one call over a shared pool: a connection as far as the client can tell.

A command that may share goes over a shared connection. The first one that may not binds the lease to a connection of
its own, until it is released.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

from ..limit import current
from ..redispy import packing
from ..wire.commands import shares
from ..wire.mux import Entry
from .lane import Lane
from .lanes import Lanes

if TYPE_CHECKING:
    from .shared import MultiplexedConnectionPool


class _Done:
    """What may be awaited, and takes no time; cheaper than a coroutine."""

    def __await__(self) -> Iterator[Any]:
        return iter(())


DONE: Awaitable[None] = _Done()  # type: ignore[assignment]  # an iterator of nothing gives None in the end


class Lease:
    """A light lease, good for one task at a time."""

    # What a lease for one command doesn't need stands here, so that making one sets little.
    _entry: Entry | None = None
    """what is to be sent: with the first word of its reply, or before the next"""
    _sent: deque[tuple[Lane, Entry]] | None = None
    """whose replies were not read yet"""
    _ahead: deque[Any] | None = None
    """replies of a pipeline that were not read yet"""
    _packed: tuple[Any, list[Any]] | None = None
    bound: Any = None
    """the connection of its own"""
    himport_registry = None
    """redis-py's fieldsets are prepared over one connection; where there are any, nobody gets a light lease"""

    host: Any
    port: Any
    db: Any
    retry: Any
    """what redis-py asks of at each command; all leases of a pool have the same, so `of` makes them a class"""

    def __init__(self, pool: MultiplexedConnectionPool, lanes: Lanes) -> None:
        self.pool = pool
        self._lanes = lanes

    @classmethod
    def of(cls, connection: Any, retry: Any) -> type[Self]:
        """The leases of a pool that makes such connections."""
        names = ("host", "port", "db")
        return type(cls.__name__, (cls,), {"retry": retry, **{name: getattr(connection, name, None) for name in names}})

    def send_command(self, *args: Any, **options: Any) -> Awaitable[None]:
        """As in redis-py."""
        if self.bound is None and self._entry is None and (args[0] in self.pool.sharing_names or shares(args)):
            self._entry = Entry(args, packing.pack(args))
            return DONE
        return self._send_otherwise(args, options)

    async def _send_otherwise(self, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        if self.bound is None and (args[0] in self.pool.sharing_names or shares(args)):
            await self._send()
            self._entry = Entry(args, packing.pack(args))
        else:
            await (await self._own()).send_command(*args, **options)

    def pack_commands(self, commands: Iterable[Any]) -> list[Any]:
        """As in redis-py; remembers the commands, since their packed form doesn't tell them apart."""
        commands = list(commands)
        packed = [packing.pack_all(commands)]
        self._packed = (packed, commands)
        return packed

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """As in redis-py."""
        packed, self._packed = self._packed, None
        known = packed[1] if packed is not None and packed[0] is command else None
        if (
            self.bound is None
            and known is not None
            and packing.share(known, self.pool.sharing_names, self.pool.decodes)
        ):
            if self._entry is not None:
                await self._send()
            self._entry = Entry(known, command[0], len(known))
            return
        own = await self._own()
        await own.send_packed_command(command if known is None else own.pack_commands(known), check_health)

    async def read_response(self, disable_decoding: bool = False, *args: Any, **options: Any) -> Any:
        """As in redis-py."""
        if self.bound is not None:
            return await self.bound.read_response(disable_decoding, *args, **options)
        if self._ahead:
            return packing.reply(self._ahead.popleft())
        entry = self._entry
        if self._sent:
            lane, entry = self._sent.popleft()
            replies = await self._lanes.wait(lane, entry)
        elif entry is not None:
            self._entry = None
            if disable_decoding and type(entry.commands) is tuple:
                entry.decode = False
            lanes, limit = self._lanes, current()
            started = lanes.start(entry, limit)
            if started is None:
                replies = await lanes.execute(entry, limit)
            else:
                try:
                    await entry.waker
                except BaseException:
                    started.core.abandon(entry)
                    raise
                replies = entry.replies
                if entry.error is not None or started.retired or entry.large or entry.heavy or not entry.done:
                    replies = await lanes.finish(started, entry, limit)
        else:
            return await (await self._own()).read_response(disable_decoding, *args, **options)
        if type(entry.commands) is not tuple:
            self._ahead = deque(replies)
            replies = self._ahead.popleft()
        return packing.reply(replies) if isinstance(replies, packing.UNUSUAL) else replies

    @property
    def is_done_with(self) -> bool:
        """Whether there is nothing to be given back, and nobody to be told that he isn't waited for."""
        return self._entry is None and self.bound is None and not self._sent and not self._ahead

    async def disconnect(self, *args: Any, **options: Any) -> None:
        """As in redis-py; what others share stays open."""
        self.leave()
        if self.bound is not None:
            await self.bound.disconnect(*args, **options)

    def leave(self) -> None:
        """Whatever is still to come, nobody waits for it."""
        entry, self._entry, self._ahead = self._entry, None, None
        if entry is not None and (lane := self._lanes.pick(entry)) is not None:
            lane.send(entry)
        while self._sent:
            lane, entry = self._sent.popleft()
            lane.core.abandon(entry)

    async def _send(self) -> None:
        """Send what was to be sent, without waiting for the reply."""
        entry, self._entry = self._entry, None
        assert entry is not None
        if self._sent is None:
            self._sent = deque()
        self._sent.append((await self._lanes.send(entry), entry))

    async def _own(self) -> Any:
        """The connection of its own, taken now if need be."""
        if self.bound is None:
            if self._entry or self._sent or self._ahead:
                raise RuntimeError("a shared connection still owes replies: read them first")
            self.bound = await self.pool.take_own()
            self.retry = self.bound.retry
        return self.bound

    def __getattr__(self, name: str) -> Any:
        if name == "bound" or self.bound is None:
            raise AttributeError(f"a lease of a shared connection has no {name!r}")
        return getattr(self.bound, name)

    def __repr__(self) -> str:
        return f"<a lease of {self.pool.config.name}, {'shared' if self.bound is None else repr(self.bound)}>"
