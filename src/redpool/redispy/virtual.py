"""What the virtual connections of both shells do alike: tell packed commands apart, have replies read one by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, ClassVar, Self, cast

from redis.exceptions import ReadOnlyError

from ..wire.pipeline import Request
from . import packing
from .routing import Routing


class Virtual:
    """What a virtual connection has and does, whatever it waits by: one call over the multiplexed connections."""

    _multiplexed: Routing[Any, Any]

    # What one for a single command doesn't need stands here, so that making one sets little.
    _ahead: deque[Any] | None = None
    """replies of a pipeline that were not read yet"""
    _packed: tuple[Any, list[Any]] | None = None
    bound: Any = None
    """the connection of its own"""
    bound_class: ClassVar[Any] = None
    """what it is from then on, where that is another class"""

    simple: bool
    """there is nothing to be released, and no reply to be read but that to the `command`"""
    host: Any
    port: Any
    db: Any
    retry: Any
    """what redis-py asks for at each command; all those of a pool have the same, so `of` makes them a class"""

    @classmethod
    def of(cls, connection: Any, retry: Any) -> type[Self]:
        """Return the class for a pool that makes such connections."""
        same = {name: getattr(connection, name, None) for name in ("host", "port", "db", "retry_on_error")}
        made: Any = type(cls.__name__, (cls,), {"__module__": cls.__module__, "retry": retry, **same})
        # Most have no connection of their own, and with a `__getattr__` each look at an attribute would take longer.
        own = {"__module__": cls.__module__, "__getattr__": cls._of_bound}
        made.bound_class = type(cls.__name__, (made,), own)
        return cast(type[Self], made)

    def _bind(self, own: Any) -> None:
        """Have a connection of its own from now on, and all that one has."""
        self.bound, self.simple = own, False
        self.retry = own.retry
        if self.bound_class is not None:
            self.__class__ = self.bound_class

    def _of_bound(self, name: str) -> Any:
        """Return what the connection of its own has by this name, and the virtual one has not."""
        if self.bound is None:  # released, or not yet there
            raise AttributeError(f"a virtual connection has no {name!r}")
        return getattr(self.bound, name)

    def pack_commands(self, commands: Iterable[Any]) -> list[Any]:
        """As in redis-py; remembers the commands, since their packed form doesn't tell them apart."""
        commands = list(commands)
        packed = [packing.pack_all(commands)]
        self._packed = (packed, commands)
        return packed

    def _shared_commands(self, command: Any) -> list[Any] | None:
        """Return the commands of a packed pipeline that may go over a multiplexed connection; `None` for any other."""
        packed = self._packed
        if self.bound is not None or packed is None or packed[0] is not command:
            return None
        multiplexed = self._multiplexed
        return packed[1] if packing.share(packed[1], multiplexed.sharing_names, multiplexed.decodes) else None

    def _repacked(self, command: Any, own: Any) -> Any:
        """Return a packed pipeline as the connection of its own would have packed it."""
        packed = self._packed
        return command if packed is None or packed[0] is not command else own.pack_commands(packed[1])

    def _check_all_read(self, to_come: object) -> None:
        """Raise `RuntimeError` where there is anything to come over a multiplexed connection."""
        if to_come or self._ahead:
            raise RuntimeError("replies over a multiplexed connection are still to be read: read them first")

    def _add_to_local_cache(self, command: object, reply: object, keys: object) -> None:
        """Forget what valkey-py's clients would have a connection cache."""

    def is_of(self, pool: object) -> bool:
        """Return whether it is a pool's."""
        return self._multiplexed.home.pool() is pool

    def _first(self, request: Request, replies: Any) -> Any:
        """Return the reply to a command, or the first one to a pipeline: those behind it are read next."""
        try:
            if type(request.commands) is tuple:
                return packing.reply(replies)
            self._ahead = deque(replies)
            return self._reply_ahead(self._ahead)
        finally:
            del request, replies  # else an error and this frame, which holds the pool, would keep each other

    def _reply_ahead(self, ahead: deque[Any]) -> Any:
        reply = ahead.popleft()
        try:
            if isinstance(reply, ReadOnlyError):
                self._multiplexed.home.starts_over(None)
            return packing.reply(reply)
        finally:
            del reply  # as above

    def __repr__(self) -> str:
        over = "multiplexed" if self.bound is None else repr(self.bound)
        return f"<VirtualConnection of {self._multiplexed.config.name}, {over}>"
