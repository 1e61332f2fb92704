"""What a redis-py client holds for one call over a shared pool: a connection as far as the client can tell.

A command that may share goes over a shared connection. The first one that may not, or any touch of what only a
connection of one's own has, binds the lease to a connection of its own, until it is released.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

from ..limit import current
from ..redispy import packing
from ..wire.commands import shares
from ..wire.mux import Entry
from .lane import Lane
from .lanes import Lanes, Reentered

if TYPE_CHECKING:
    from .shared import MultiplexedConnectionPool


class Lease:
    """A light lease, good for one thread at a time."""

    # What a lease for one command doesn't need stands here, so that making one sets little.
    entry: Entry | None = None
    """what is to be sent: with the first word of its reply, or before the next"""
    _sent: deque[tuple[Lane, Entry]] | None = None
    """whose replies were not read yet"""
    _ahead: deque[Any] | None = None
    """replies of a pipeline that were not read yet"""
    _packed: tuple[Any, list[Any]] | None = None
    bound: Any = None
    """the connection of its own"""
    simple = True
    """there is nothing to be given back, nor replies that were not read, but for the `entry`"""

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

    @property
    def himport_registry(self) -> Any:
        """redis-py's registry of fieldsets; what was prepared belongs to one connection, so that it can't be shared."""
        if self.bound is None and not self.pool.himport_registry.revision:
            return None
        return self._own().himport_registry

    def should_reconnect(self) -> bool:
        """As in redis-py."""
        return False if self.bound is None else self.bound.should_reconnect()

    def send_command(self, *args: Any, **options: Any) -> None:
        """As in redis-py."""
        if self.bound is None and (args[0] in self.pool.sharing_names or shares(args)):
            if self.entry is not None:
                self._send()
            self.entry = Entry(args, packing.pack(args))
        else:
            self._own().send_command(*args, **options)

    def pack_commands(self, commands: Iterable[Any]) -> list[Any]:
        """As in redis-py; remembers the commands, since their packed form doesn't tell them apart."""
        commands = list(commands)
        packed = [packing.pack_all(commands)]
        self._packed = (packed, commands)
        return packed

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """As in redis-py."""
        packed, self._packed = self._packed, None
        known = packed[1] if packed is not None and packed[0] is command else None
        if (
            self.bound is None
            and known is not None
            and packing.share(known, self.pool.sharing_names, self.pool.decodes)
        ):
            if self.entry is not None:
                self._send()
            self.entry = Entry(known, command[0], len(known))
            return
        own = self._own()
        own.send_packed_command(command if known is None else own.pack_commands(known), check_health)

    def read_response(self, disable_decoding: bool = False, **options: Any) -> Any:
        """As in redis-py."""
        entry = self.entry
        if entry is None or not self.simple:
            return self._read_otherwise(disable_decoding, options)
        self.entry = None
        if disable_decoding and type(entry.commands) is tuple:
            entry.decode = False
        try:
            replies = self._lanes.execute(entry, current())
        except Reentered:
            return self._by_another_way(entry, disable_decoding)
        return self._first(entry, replies) if isinstance(replies, packing.UNUSUAL) else replies

    def _read_otherwise(self, disable_decoding: bool, options: dict[str, Any]) -> Any:
        if self.bound is not None:
            return self.bound.read_response(disable_decoding, **options)
        if self._ahead:
            return packing.reply(self._ahead.popleft())
        if not self._sent:
            if self.entry is None:
                return self._own().read_response(disable_decoding, **options)
            self._send()
            assert self._sent is not None
        lane, entry = self._sent.popleft()
        return self._first(entry, self._lanes.wait(lane, entry))

    def _first(self, entry: Entry, replies: Any) -> Any:
        """The reply to a command, or the first one to a pipeline: those behind it are read next."""
        if type(entry.commands) is tuple:
            return packing.reply(replies)
        self._ahead, self.simple = deque(replies), False
        return packing.reply(self._ahead.popleft())

    def can_read(self, timeout: float | None = 0, **options: Any) -> Any:
        """As in redis-py."""
        if self.entry is not None:
            self._send()
        if self._ahead:
            return True
        if self._sent:
            return self._sent[0][1].done
        return self._own().can_read(timeout, **options)

    def disconnect(self, *args: Any, **options: Any) -> None:
        """As in redis-py; what others share stays open."""
        self.leave()
        if self.bound is not None:
            self.bound.disconnect(*args, **options)

    def leave(self) -> None:
        """Whatever is still to come, nobody waits for it."""
        if self.entry is not None:
            self._send()
        if self._ahead is not None:
            self._ahead = None
        while self._sent:
            lane, entry = self._sent.popleft()
            lane.core.abandon(entry)

    def _send(self) -> None:
        """Send what was to be sent, without waiting for the reply."""
        entry, self.entry = self.entry, None
        assert entry is not None
        self.simple = False
        if self._sent is None:
            self._sent = deque()
        self._sent.append((self._lanes.send(entry), entry))

    def _by_another_way(self, entry: Entry, disable_decoding: bool) -> Any:
        """The thread was interrupted at the shared connection: the rest of this lease goes over one of its own."""
        own = self._own()
        if type(entry.commands) is tuple:
            own.send_command(*entry.commands)
        else:
            own.send_packed_command(own.pack_commands(entry.commands))
        return own.read_response(disable_decoding)

    def _own(self) -> Any:
        """The connection of its own, taken now if need be."""
        if self.bound is None:
            if self.entry or self._sent or self._ahead:
                raise RuntimeError("a shared connection still owes replies: read them first")
            self.bound, self.simple = self.pool.take_own(), False
            self.retry = self.bound.retry
        return self.bound

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._own(), name)

    def __repr__(self) -> str:
        return f"<a lease of {self.pool.config.name}, {'shared' if self.bound is None else repr(self.bound)}>"
