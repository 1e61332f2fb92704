"""The connections of an event loop, made to count."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
import weakref
from collections.abc import Coroutine
from typing import Any

import redis.asyncio.connection as aio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..deadline import current, deadline
from ..errors import PoolTimeout
from ..forks import begin_in_child, same_process
from ..wire.commands import PLAIN
from . import hello, lifecycle, naming, no_tls, sockets
from .internals import listens_async
from .tracking import HEARTBEAT, Tracked
from .transports import abort, close_now, quiet


class TrackedAsync(Tracked, aio.AbstractConnection):
    """Mixin for the connection classes of an event loop."""

    redis_pys = aio.AbstractConnection

    closes_as_its_base_does = True

    async def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """Open the connection; one that isn't made to the last reply of its handshake is closed."""
        if self.is_connected:
            return
        engine = self._reconnects_for()
        if engine is None:
            await self._open_now(args, kwargs)
            return
        try:
            turn = await engine.turn_to_connect()
        except PoolTimeout as error:
            raise self._no_turn(error) from error.__cause__
        try:
            await self._open_now(args, kwargs)
        except BaseException as error:
            if turn is not None:
                engine.connect_ended(turn, error)
            raise
        if turn is not None:
            engine.connect_ended(turn, None)

    async def _open_now(self, args: Any, kwargs: Any) -> None:
        self.handshaking, before = True, self.handshaking
        try:
            await super().connect_check_health(*args, **kwargs)
            writer: Any = self._writer
            if writer is not None:  # else a class of others' has only said that it is open
                self.readable = sockets.readable(writer.transport.get_extra_info("socket"))
        except BaseException as error:
            self._break_off()
            raised = lifecycle.of_connecting(error)
            if raised is not error:
                raise raised from error
            raise
        finally:
            self.handshaking = before

    async def _connect(self) -> None:
        limit = current()
        if limit is not None:
            self._check_deadline(limit)
        connect = super()._connect  # type: ignore[safe-super]  # a mixin's: the class beside it has it
        if self.tls_proof is None:
            await connect()
            return
        try:
            await (self._connect_at_first(self.tls_proof) if limit is None and not self.tls_proof.given else connect())
        except OSError as error:
            no_tls.check_files(self, error)
            raise

    async def _connect_at_first(self, proof: no_tls.Proof) -> None:
        """Connect over TLS for the first time; ask a server that is silent whether it speaks TLS at all."""
        connect = super()._connect  # type: ignore[safe-super]  # as above
        try:
            async with asyncio.timeout(no_tls.SILENT_AFTER):
                await connect()
        except TimeoutError:
            if await no_tls.is_plain_async(self.host, self.port):
                raise no_tls.plain() from None
            proof.given = True
        except ssl.SSLError as error:
            if no_tls.is_no_handshake(error):
                raise no_tls.plain() from error
            raise
        else:
            proof.given = True
            return
        await connect()

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        """Make the handshake, with RESP2 where the server refuses HELLO and RESP3 is only the default."""
        hello.choose(self)
        naming.begin(self)
        try:
            await super().on_connect_check_health(check_health)
        except ResponseError as error:
            hello.fall_back(self, error)
        else:
            naming.end(self)
            return
        await super().on_connect_check_health(check_health)
        naming.end(self)

    @staticmethod
    def shaping(me: weakref.ref[Any]) -> Any:
        """Return what reads as a connection's parser does, the replies in RESP3's shape."""

        async def read_response(*args: Any, **kwargs: Any) -> Any:
            connection: Any = me()
            parser = connection._parser
            return hello.in_shape(connection, await type(parser).read_response(parser, *args, **kwargs))

        return read_response

    def write_aside(self, packed: bytes) -> bool:
        """Hand it to the transport; what isn't one of asyncio's, as in a test double, is left alone."""
        writer = self._writer
        if type(writer) is not asyncio.StreamWriter:
            return False
        writer.write(packed)
        return True

    async def check_health(self) -> None:
        """PING as redis-py does, but not in a handshake, whose own replies tell as much.

        A PING that fails is sent again over a new connection. The handshake would then go on over one that is made
        already: its subscriber has subscribed there, whose confirmation would be taken for the answer.
        """
        if self.handshaking:
            return
        self.handshaking = True
        try:
            await super().check_health()
        finally:
            self.handshaking = False

    async def _send_ping(self) -> None:
        await self.connect_check_health(check_health=False)  # the one before may have found it dead
        with contextlib.suppress(ResponseError):  # an answer, too: the user may not be allowed to PING
            await super()._send_ping()

    async def send_command(self, *args: Any, **kwargs: Any) -> None:
        """Pack and send a command, as the class at hand does."""
        if self.usual and self.replaced():
            self.look_at_methods()
        packed = self.pack_command(*args) if self.usual else None
        await self._send_in_time(packed, args, 1, kwargs.get("check_health", True))

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send one or more packed commands."""
        if self.counted_ahead:
            self.counted_ahead = False
            await super().send_packed_command(command, check_health=False)
            return
        if self.usual and self.replaced():
            self.look_at_methods()
        several = self._commands_in(command)
        await self._send_in_time(command, several, len(several), check_health)

    async def _send_in_time(self, packed: Any, args: Any, count: int, check_health: bool) -> None:
        limit = current()
        if limit is None or self.handshaking:
            await self._send(packed, args, count, check_health)
            return
        self._check_deadline(limit)
        try:
            async with asyncio.timeout(limit.left()):
                await self._send(packed, args, count, check_health)
        except TimeoutError as error:
            self._break_off()
            raise self._late(limit) from error

    async def _send(self, packed: Any, args: Any, count: int, check_health: bool) -> None:
        if not same_process[0]:
            begin_in_child()
        # A reconnect or a health check sends and reads for itself: let it finish before this command is counted.
        if not self.is_connected:
            await self._connect_anew()
        elif type(self._writer) is asyncio.StreamWriter and (
            self._writer.transport.is_closing() or self._reader.at_eof()  # type: ignore[union-attr]  # not None now
        ):
            # CPython 3.12 to 3.14.0 forgets, when asked to write to a transport that is closed already, whatever other
            # socket has its descriptor by now: that socket's user would wait for ever.
            self._break_off()
            closed = RedisConnectionError("the connection was closed")
            self._is_end(closed)
            raise closed
        if check_health and self.health_check_interval:
            await self.check_health()
        if type(args) is list or args[0] not in PLAIN:
            self._note_unusual(args)
            if not self.is_connected:
                await self._connect_anew()
        lost = self.lost
        self.unanswered += count
        self.sent = args
        try:
            if self.usual and packed is not None and type(self._writer) is asyncio.StreamWriter:
                await self._write(packed)
            elif packed is not None:
                await super().send_packed_command(packed, check_health=False)
            else:
                await self._send_otherwise(args)
        except (RedisConnectionError, RedisTimeoutError) as error:
            if type(args) is tuple:
                self.lost = lost  # a single command that wasn't written to its end has not run
            self._explain(error)
            raise
        except RuntimeError as error:
            # uvloop says so of a transport that was closed meanwhile.
            raise RedisConnectionError("the connection was closed") from error

    async def _connect_anew(self) -> None:
        """Open the connection again for what is to be sent; a handshake never goes on over another connection."""
        if self.handshaking:
            raise RedisConnectionError("the connection was closed in its handshake")
        await self.connect_check_health(check_health=False)

    async def _send_otherwise(self, args: Any) -> None:
        """By a class that sends in its own way."""
        self.counted_ahead = True
        try:
            await super().send_command(*args, check_health=False)
        finally:
            self.counted_ahead = False

    async def _write(self, packed: Any) -> None:
        """Hand the bytes to the transport; wait only where it can't take them at once.

        redis-py wraps each write in `asyncio.wait_for`, which makes a task of it up to CPython 3.11, and may lose a
        cancellation there.
        """
        writer = self._writer
        assert writer is not None
        if isinstance(packed, str | bytes):
            packed = [packed.encode() if isinstance(packed, str) else packed]
        try:
            writer.writelines(packed)
            if writer.transport.get_write_buffer_size():
                async with asyncio.timeout(self.socket_timeout):
                    await writer.drain()
        except TimeoutError:
            self._break_off()
            raise RedisTimeoutError("Timeout writing to socket") from None
        except OSError as error:
            self._break_off()
            raise RedisConnectionError(f"Error while writing to socket: {error}") from error
        except BaseException:
            self._break_off()
            raise

    async def read_response(  # noqa: PLR0912  each reply comes this way: a call more costs more
        self,
        disable_decoding: bool = False,
        timeout: float | None = None,
        *,
        disconnect_on_error: bool = True,
        push_request: bool | None = False,
    ) -> Any:
        """Read one reply."""
        if not same_process[0]:
            begin_in_child()
        if push_request and self.health_check_interval and listens_async(timeout, self.socket_timeout):
            return await self._await_message(disable_decoding, disconnect_on_error)
        limit = current()
        # A read with a timeout of its own may end without a reply; only pub/sub does that.
        own_time = timeout is not None
        timed = limit is not None or self.asked is not None
        try:
            if push_request:
                self.reading = True
            # What has its default is left out: a class of others' may not know it.
            options: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
            options |= {"disable_decoding": True} if disable_decoding else {}
            options |= {} if disconnect_on_error else {"disconnect_on_error": False}
            options |= {"push_request": True} if push_request else {}
            read = super().read_response(**options)
            response = await (self._in_time(read, limit) if timed else read)
        except ResponseError as error:
            self.unanswered -= 1
            if not self.plain:
                self._note_refused()
            if not self.unanswered:
                self.asked = None
                self._look_behind(self._parser)
            if self._starts_over(error):
                return await self._send_again(disable_decoding)
            raise
        except (RedisConnectionError, RedisTimeoutError) as error:
            if push_request:
                self._is_end(error)
            else:
                self._explain(error)
            raise
        finally:
            if push_request:
                self.reading = False
        if not own_time and not push_request:
            self.unanswered -= 1
            if not self.unanswered:
                self.asked = None
                self._look_behind(self._parser)
        return response

    async def _send_again(self, disable_decoding: bool) -> Any:
        """Connect anew, and send what a replica has refused: nothing of it was done."""
        args = self.sent
        self.starting_over = True
        try:
            self._break_off()
            await self.send_command(*args)
            return await self.read_response(disable_decoding)
        finally:
            self.starting_over = False

    async def _await_message(self, disable_decoding: bool, disconnect_on_error: bool) -> Any:
        """Return the next message, however long it takes; on a path that fell silent, over a new connection."""
        while True:
            message = await self.read_response(
                disable_decoding,
                self.health_check_interval,
                disconnect_on_error=disconnect_on_error,
                push_request=True,
            )
            if message is not None:
                return message
            if self._fell_silent():
                self._break_off()
                await self.connect()
            elif self.subscribed:
                await self.send_command("PING", HEARTBEAT, check_health=False)

    async def _in_time(self, read: Coroutine[Any, Any, Any], limit: deadline | None) -> Any:
        patience = self.socket_timeout
        self.socket_timeout = self._time_for_reply(patience)
        try:
            async with asyncio.timeout(None if limit is None or self.handshaking else limit.left()):
                return await read
        except TimeoutError as error:
            assert limit is not None
            raise self._late(limit) from error
        finally:
            self.socket_timeout = patience

    async def disconnect(self, *args: Any, **kwargs: Any) -> None:
        """Close the connection; one that its subscriber leaves goes on to others."""
        if self.session is not None and self.is_connected and self.may_hand_over(sys._getframe(1)):
            self.handing_over = True
            return
        if self.unanswered and self._writer is not None:
            # No caller wants what may still be to be sent, and a dead path would never take it.
            abort(self._writer)
        await super().disconnect(*args, **kwargs)
        self._begin_session()

    def received(self) -> bool:
        """Return whether anything has come in that no caller has read."""
        reader = getattr(self._parser, "_reader", None)  # hiredis's; others can't be asked
        return reader is None or reader.has_data() or not quiet(self)

    def _break_off(self) -> None:
        close_now(self)
        self._begin_session()
