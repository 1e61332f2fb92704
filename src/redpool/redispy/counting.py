"""redis-py's connection classes, made to count.

A connection may be used again only if everything that was sent over it was answered. redis-py doesn't know that, so
its connection classes get a mixin that counts commands sent against replies read. It must stay true that a command is
counted before its first byte can leave, a reply after its last byte has come, and that a disconnect clears the count
only when it is through: whatever interrupts the caller in between, the count then says "unanswered".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import redis.asyncio.connection as aio
from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.utils import SENTINEL

from ..errors import PoolClosed

# Enough of a packed command to hold any command's name.
_HEAD = 48


class Counted:
    """What both kinds of connection count."""

    unanswered = 0
    last_sent: Any = b""
    _pipeline: tuple[list[Any], int] | None = None
    _redpool: tuple[Any, Any] = (None, None)  # the engine and the slot that it belongs to

    def pack_commands(self, commands: Iterable[Any]) -> list[Any]:
        commands = list(commands)
        packed: list[Any] = super().pack_commands(commands)  # type: ignore[misc]
        self._pipeline = (packed, len(commands))
        return packed

    def _note_sent(self, command: Any) -> None:
        if type(command) is list and self._pipeline is None:
            self.unanswered += 1
            self.last_sent = command[0][:_HEAD]
        else:
            self._note_unusual(command)

    def _note_unusual(self, command: Any) -> None:
        pipeline, self._pipeline = self._pipeline, None
        self.unanswered += pipeline[1] if pipeline is not None and pipeline[0] is command else 1
        if isinstance(command, list | tuple):
            command = command[0] if command else b""
        if isinstance(command, str | bytes | memoryview):
            self.last_sent = command[:_HEAD].encode() if isinstance(command, str) else command[:_HEAD]

    def _check_open(self) -> None:
        """A connection of a closed pool is not opened again, whatever a retry policy says."""
        engine = self._redpool[0]
        if engine is not None and engine.core.closed:
            raise PoolClosed("the pool was closed")


class CountedSync(Counted, AbstractConnection):
    """Mixin for the connection classes of threads."""

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        self._check_open()
        super().connect_check_health(*args, **kwargs)

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        # A reconnect or a health check sends and reads for itself: let it finish before this command is counted.
        if self._sock is None:
            self.connect_check_health(check_health=False)
        if check_health and self.health_check_interval:
            self.check_health()  # type: ignore[no-untyped-call]
        self._note_sent(command)
        super().send_packed_command(command, check_health=False)  # type: ignore[no-untyped-call]

    def read_response(
        self,
        disable_decoding: bool = False,
        *,
        timeout: Any = SENTINEL,
        disconnect_on_error: bool = True,
        push_request: bool = False,
    ) -> Any:
        try:
            response = super().read_response(
                disable_decoding, timeout=timeout, disconnect_on_error=disconnect_on_error, push_request=push_request
            )
        except ResponseError:
            self.unanswered -= 1
            raise
        if not push_request:
            self.unanswered -= 1
        return response

    def disconnect(self, *args: Any, **kwargs: Any) -> None:
        super().disconnect(*args, **kwargs)  # type: ignore[no-untyped-call]
        self.unanswered = 0


class CountedAsync(Counted, aio.AbstractConnection):
    """Mixin for the connection classes of an event loop."""

    async def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        self._check_open()
        await super().connect_check_health(*args, **kwargs)

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        elif self._writer.transport.is_closing():  # type: ignore[union-attr]
            # CPython 3.12 to 3.14.0 forgets, when asked to write to a transport that is closed already, whatever other
            # socket has its descriptor by now: that socket's user would wait for ever.
            await self.disconnect(nowait=True)
            raise RedisConnectionError("the connection was closed")
        if check_health and self.health_check_interval:
            await self.check_health()  # type: ignore[no-untyped-call]
        self._note_sent(command)
        try:
            await super().send_packed_command(command, check_health=False)
        except RuntimeError as error:
            # uvloop says so of a transport that was closed meanwhile.
            raise RedisConnectionError("the connection was closed") from error

    async def read_response(
        self,
        disable_decoding: bool = False,
        timeout: float | None = None,
        *,
        disconnect_on_error: bool = True,
        push_request: bool | None = False,
    ) -> Any:
        try:
            response = await super().read_response(
                disable_decoding, timeout, disconnect_on_error=disconnect_on_error, push_request=push_request
            )
        except ResponseError:
            self.unanswered -= 1
            raise
        # A read with a timeout of its own may end without a reply; only pub/sub does that.
        if timeout is None and not push_request:
            self.unanswered -= 1
        return response

    async def disconnect(self, *args: Any, **kwargs: Any) -> None:
        await super().disconnect(*args, **kwargs)
        self.unanswered = 0


_made: dict[type, type] = {}


def counting(connection_class: Any) -> Any:
    """`connection_class` with the counting mixed in; anything that isn't a connection class of redis-py, as it is."""
    if not isinstance(connection_class, type) or issubclass(connection_class, Counted):
        return connection_class
    if connection_class in _made:
        return _made[connection_class]
    if issubclass(connection_class, AbstractConnection):
        mixin: type = CountedSync
    elif issubclass(connection_class, aio.AbstractConnection):
        mixin = CountedAsync
    else:
        return connection_class
    names = {"__module__": connection_class.__module__, "__qualname__": connection_class.__qualname__}
    made = _made[connection_class] = type(connection_class.__name__, (mixin, connection_class), names)
    return made


def counted(connection: Any) -> Any:
    """A connection that a factory has made, given the counting too, where it is one of redis-py's."""
    counts = counting(type(connection))
    if counts is not type(connection):
        connection.__class__ = counts
    return connection
