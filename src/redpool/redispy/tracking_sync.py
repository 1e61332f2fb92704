"""The connections of threads, made to count."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import hiredis
from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..deadline import current, deadline
from ..errors import PoolTimeout
from ..forks import begin_in_child, same_process
from ..wire.commands import PLAIN
from . import hello, lifecycle, naming, no_tls, packing, sharing, sockets
from .internals import NOT_ENOUGH_DATA, SENTINEL, SERVER_CLOSED_CONNECTION_ERROR, health_clock, listens
from .tracking import HEARTBEAT, Tracked

_pack, _send_within = packing.pack, sockets.send_within
_PushNotification: Any = getattr(hiredis, "PushNotification", ())  # of RESP3


class TrackedSync(Tracked, AbstractConnection):
    """Mixin for the connection classes of threads.

    A plain socket, whose replies hiredis parses, blocks, and the kernel ends the wait for a reply. So a reply costs one
    system call, and one switch to another thread at most: a timeout of Python's costs another one for a poll. Whatever
    gives the socket a timeout of Python's for a while leaves it blocking again.
    """

    redis_pys = AbstractConnection
    receive: Callable[[Any], int] | None = None
    """receives into a buffer from such a socket; `None` for any other"""
    readable_in_crowd: sockets.Readable | None = None
    """as `readable`, of such a socket, for when other threads are waiting"""
    overdue: tuple[Any, int] | None = None
    """what was sent, and how much of it unanswered, when the socket's time was cut short: see `hurry`"""

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """Open the connection; one that isn't made to the last reply of its handshake is closed."""
        if self.is_connected:
            return
        engine = self._reconnects_for()
        if engine is None:
            self._open_now(args, kwargs)
            return
        try:
            turn = engine.turn_to_connect()
        except PoolTimeout as error:
            raise self._no_turn(error) from error.__cause__
        try:
            self._open_now(args, kwargs)
        except BaseException as error:
            if turn is not None:
                engine.connect_ended(turn, error)
            raise
        if turn is not None:
            engine.connect_ended(turn, None)

    def _open_now(self, args: Any, kwargs: Any) -> None:
        limit, patience = current(), self.socket_connect_timeout
        self.receive = self.overdue = self.readable_in_crowd = None
        if limit is not None:
            self._bound(limit)
            self.socket_connect_timeout = limit.left() if patience is None else min(patience, limit.left())
        self.handshaking, before = True, self.handshaking
        try:
            super().connect_check_health(*args, **kwargs)
            self.take_socket()
            # Looked at with each command: an instance's own is found sooner than its class's.
            self.asked, self.lost, self.plain = self.asked, self.lost, self.plain
        except BaseException as error:
            self.disconnect()
            raised = lifecycle.of_connecting(error)
            if isinstance(raised, RedisConnectionError | RedisTimeoutError):
                self._explain(raised)
            if raised is not error:
                raise raised from error
            raise
        finally:
            self.handshaking = before
            self.socket_connect_timeout = patience

    def take_socket(self) -> None:
        """Find the shortest way to use a socket that was opened, or that another connection had."""
        sock: Any = self._sock
        patience = self.socket_timeout
        self.readable = sockets.readable(sock)
        if self.usual and sockets.may_block(sock) and not self.shaped and patience != 0 and sharing.shareable(self):
            sockets.block(sock, patience)
            self._parser._socket_timeout = None  # to which redis-py sets the socket back
            self.readable_in_crowd = sockets.readable_in_crowd(sock)
            self.receive = sock.recv_into

    def leave_socket(self) -> None:
        """Have the socket's timeout be one of Python's again, as redis-py expects it."""
        if self.receive is not None:
            self.receive = None
            self._parser._socket_timeout = self.socket_timeout
            sockets.unblock(self._sock, self.socket_timeout)

    def hurry(self, sent: Any, unanswered: int) -> None:
        """Have the wait for the reply to this end with the next signal: it is overdue.

        A signal has the kernel begin to wait anew, for as long as the socket's option says by then.
        """
        sock = self._sock  # first: that of a connection which is opened anew meanwhile has its whole time
        self.overdue = sent, unanswered
        with contextlib.suppress(OSError, AttributeError):  # it is closed
            sockets.set_receive_timeout(sock, sockets.AT_ONCE)

    def _is_overdue(self) -> bool:
        """Return whether the wait for a reply is over; not so where the socket was hurried for another one."""
        overdue, self.overdue = self.overdue, None
        if overdue is None or (overdue[0] is self.sent and overdue[1] == self.unanswered):
            return True
        self._set_receive_timeout(self.socket_timeout)
        return False

    def _set_receive_timeout(self, seconds: float | None) -> None:
        with contextlib.suppress(OSError, AttributeError):  # it is closed, as the next receive finds
            sockets.set_receive_timeout(self._sock, seconds)

    def _connect(self) -> Any:
        limit = current()
        if limit is not None:
            self._check_deadline(limit)
        connect = super()._connect  # type: ignore[safe-super]  # a mixin's: the class beside it has it
        if self.tls_proof is None:
            return connect()
        try:
            return self._connect_at_first(self.tls_proof) if limit is None and not self.tls_proof.given else connect()
        except OSError as error:
            no_tls.check_files(self, error)
            raise

    def _connect_at_first(self, proof: no_tls.Proof) -> Any:
        """Connect over TLS for the first time; ask a server that is silent whether it speaks TLS at all."""
        connect = super()._connect  # type: ignore[safe-super]  # as above
        timeout = self.socket_timeout
        self.socket_timeout = no_tls.SILENT_AFTER if timeout is None else min(timeout, no_tls.SILENT_AFTER)
        try:
            sock: Any = connect()
            sock.settimeout(timeout)
        except TimeoutError:
            if no_tls.is_plain(self.host, self.port):
                raise no_tls.plain() from None
            proof.given = True
        except ssl.SSLError as error:
            if no_tls.is_no_handshake(error):
                raise no_tls.plain() from error
            raise
        else:
            proof.given = True
            return sock
        finally:
            self.socket_timeout = timeout
        return connect()

    def on_connect_check_health(self, check_health: bool = True) -> None:
        """Make the handshake, with RESP2 where the server refuses HELLO and RESP3 is only the default."""
        hello.choose(self)
        naming.begin(self)
        try:
            super().on_connect_check_health(check_health)
        except ResponseError as error:
            hello.fall_back(self, error)
        else:
            naming.end(self)
            return
        super().on_connect_check_health(check_health)
        naming.end(self)

    @staticmethod
    def shaping(me: weakref.ref[Any]) -> Any:
        """Return what reads as a connection's parser does, the replies in RESP3's shape."""

        def read_response(*args: Any, **kwargs: Any) -> Any:
            connection: Any = me()
            parser = connection._parser
            return hello.in_shape(connection, type(parser).read_response(parser, *args, **kwargs))

        return read_response

    def write_aside(self, packed: bytes) -> bool:
        """Write to a socket; what isn't one, as in a test double, is left alone."""
        sock: Any = self._sock
        if not isinstance(sock, socket.socket):
            return False
        try:
            sock.sendall(packed)
        except TimeoutError as error:
            raise RedisTimeoutError("Timeout writing to socket") from error
        except OSError as error:
            raise RedisConnectionError(f"Error while writing to socket: {error}") from error
        return True

    def check_health(self) -> None:
        """PING as redis-py does, but not in a handshake, whose own replies tell as much.

        A PING that fails is sent again over a new connection. The handshake would then go on over one that is made
        already: its subscriber has subscribed there, whose confirmation would be taken for the answer.
        """
        if self.handshaking:
            return
        self.handshaking = True
        try:
            super().check_health()
        finally:
            self.handshaking = False

    def _send_ping(self) -> None:
        self.connect_check_health(check_health=False)  # the one before may have found it dead
        with contextlib.suppress(ResponseError):  # an answer, too: the user may not be allowed to PING
            super()._send_ping()

    def send_command(self, *args: Any, check_health: bool = True, **_unused: Any) -> None:
        """Pack and send a command, as the class at hand does."""
        if not self.usual:
            packed: Any = None
        elif self.receive is not None:
            packed = _pack(args)
        else:
            packed = self._command_packer.pack(*args)
        self._send(packed, args, 1, check_health)

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send one or more packed commands."""
        if self.counted_ahead:
            self.counted_ahead = False
            super().send_packed_command(command, check_health=False)
            return
        several = self._commands_in(command)
        self._send(command, several, len(several), check_health)

    def _send(self, packed: Any, args: Any, count: int, check_health: bool) -> None:
        if not same_process[0]:
            begin_in_child()
        limit = current()
        if limit is not None:
            self._bound(limit)
        # A reconnect or a health check sends and reads for itself: let it finish before this command is counted.
        if self._sock is None:
            self._connect_anew()
        if check_health and self.health_check_interval:
            self.check_health()
        if type(args) is list or args[0] not in PLAIN:
            self._note_unusual(args)
            if self._sock is None:
                self._connect_anew()
        if not self.usual and self.receive is not None:
            packed = self._as_redis_py_sends(packed)
        lost = self.lost
        self.unanswered += count
        self.sent = args
        try:
            if type(packed) is bytes and self.receive is not None:
                _send_within(self._sock, packed, self.socket_timeout)
            elif self.usual:
                self._write(packed)
            elif packed is not None:
                super().send_packed_command(packed, check_health=False)
            else:
                self._send_otherwise(args)
        except BaseException as error:
            self._sending_failed(error, args, lost)
            raise

    def _connect_anew(self) -> None:
        """Open the connection again for what is to be sent; a handshake never goes on over another connection."""
        if self.handshaking:
            raise RedisConnectionError("the connection was closed in its handshake")
        self.connect_check_health(check_health=False)

    def _write(self, packed: Any) -> None:
        pieces = [packed] if isinstance(packed, str | bytes) else packed
        if self.receive is None:
            _send_all(self._sock, pieces)
        else:
            for piece in pieces:
                _send_within(self._sock, piece, self.socket_timeout)

    def _as_redis_py_sends(self, packed: Any) -> Any:
        """Go redis-py's way from now on: a method was replaced since the connection was opened."""
        self.leave_socket()
        return [packed] if type(packed) is bytes else packed

    def _send_otherwise(self, args: Any) -> None:
        """By a class that sends in its own way."""
        self.counted_ahead = True
        try:
            super().send_command(*args, check_health=False)
        finally:
            self.counted_ahead = False

    def _sending_failed(self, error: BaseException, args: Any, lost: int) -> None:
        if self.usual:  # else redis-py has closed it where it must be
            self.disconnect()
        raised = error
        if isinstance(error, TimeoutError):
            raised = RedisTimeoutError("Timeout writing to socket")
        elif isinstance(error, OSError):
            raised = RedisConnectionError(f"Error while writing to socket: {error}")
        if isinstance(raised, RedisConnectionError | RedisTimeoutError):
            if type(args) is tuple:
                self.lost = lost  # a single command that wasn't written to its end has not run
            self._explain(raised)
        if raised is not error:
            try:
                raise raised from error
            finally:
                del raised, error  # else they and this frame, which holds the connection, would keep each other

    def read_response(
        self,
        disable_decoding: bool = False,
        *,
        timeout: Any = SENTINEL,
        disconnect_on_error: bool = True,
        push_request: bool = False,
    ) -> Any:
        """Read one reply."""
        if not same_process[0]:
            begin_in_child()
        if push_request or timeout is not SENTINEL or self.asked is not None or current() is not None or not self.usual:
            return self._read_otherwise(disable_decoding, timeout, disconnect_on_error, push_request)
        try:
            if self.receive is not None:
                response = self._read_reply(self.receive, disable_decoding)
            else:
                response = self._parser.read_response(disable_decoding)
        except BaseException as error:
            self._reading_failed(error, disconnect_on_error)
            raise
        self.unanswered -= 1
        if not self.unanswered:
            self._look_behind(self._parser)
        if self.health_check_interval:
            self.next_health_check = health_clock() + self.health_check_interval
        if isinstance(response, ResponseError):
            if not self.plain:
                self._note_refused()
            if self._starts_over(response):
                return self._send_again(disable_decoding)
            try:
                raise response
            finally:
                del response  # else it and this frame, which holds the connection, would keep each other
        return response

    def _read_reply(self, receive: Callable[[Any], int], disable_decoding: bool) -> Any:
        """Return the next reply, as redis-py's parser does: what it says by pushes goes to their handlers."""
        parser = self._parser
        reader, buffer = parser._reader, parser._buffer
        if reader is None:  # another thread has closed the connection
            raise RedisConnectionError(SERVER_CLOSED_CONNECTION_ERROR)
        while True:
            reply = reader.gets(False) if disable_decoding else reader.gets()
            if reply is NOT_ENOUGH_DATA:
                try:
                    size = receive(buffer)
                except BlockingIOError:
                    if self._is_overdue():
                        raise
                    continue
                if not size:
                    raise RedisConnectionError(SERVER_CLOSED_CONNECTION_ERROR)
                reader.feed(buffer, 0, size)
            elif type(reply) is bytes:
                return reply
            elif isinstance(reply, _PushNotification):
                parser.handle_push_response(reply)
            elif isinstance(reply[0] if type(reply) is list and reply else reply, RedisConnectionError):
                try:
                    raise reply[0] if type(reply) is list else reply
                finally:
                    del reply  # else it and this frame, which holds the connection, would keep each other
            else:
                return reply

    def _send_again(self, disable_decoding: bool) -> Any:
        """Connect anew, and send what a replica has refused: nothing of it was done."""
        args = self.sent
        self.starting_over = True
        try:
            self.disconnect()
            self.send_command(*args)
            return self.read_response(disable_decoding)
        finally:
            self.starting_over = False

    def _reading_failed(self, error: BaseException, disconnect: bool) -> None:
        if disconnect:
            self.disconnect()
        raised, server = error, self._host_error()
        if isinstance(error, TimeoutError | BlockingIOError):  # the latter where the kernel has ended the wait
            raised = RedisTimeoutError(f"Timeout reading from {server}")
        elif isinstance(error, OSError):
            raised = RedisConnectionError(f"Error while reading from {server}: {error}")
        if isinstance(raised, RedisConnectionError | RedisTimeoutError):
            self._explain(raised)
        if raised is not error:
            try:
                raise raised from error
            finally:
                del raised, error  # as above

    def _read_otherwise(  # noqa: PLR0912  what follows from the reply, in the order in which it must
        self, disable_decoding: bool, timeout: Any, disconnect: bool, push_request: bool
    ) -> Any:
        """By way of redis-py: with a deadline or a time of its own, for pushes, or for a class with other ways."""
        if push_request and self.health_check_interval and listens(timeout, self.socket_timeout):
            self._await_message()
            timeout = self.health_check_interval  # it has begun to come in
        limit = current()
        timed = limit is not None or self.asked is not None or self.receive is not None
        if timed:
            timeout = self._time_left(timeout, limit)
        for_ever = timeout is None and self.receive is not None
        if for_ever:
            self._set_receive_timeout(None)
        try:
            if push_request:
                self.reading = True
            # What has its default is left out: a class of others' may not know it.
            options: dict[str, Any] = {} if timeout is SENTINEL else {"timeout": timeout}
            options |= {"disable_decoding": True} if disable_decoding else {}
            options |= {} if disconnect else {"disconnect_on_error": False}
            options |= {"push_request": True} if push_request else {}
            response = super().read_response(**options)
        except ResponseError as error:
            self.unanswered -= 1
            if not self.unanswered:
                self.asked = None
            if not self.plain:
                self._note_refused()
            if self._starts_over(error):
                return self._send_again(disable_decoding)
            raise
        except (RedisConnectionError, RedisTimeoutError) as error:
            if push_request and limit is None:
                self._is_end(error)
            else:
                self._explain(error)
            raise
        finally:
            if for_ever:
                self._set_receive_timeout(self.socket_timeout)
            if push_request:
                self.reading = False
        if not push_request:
            self.unanswered -= 1
            if not self.unanswered:
                self.asked = None
                self._look_behind(self._parser)
        return response

    def _time_left(self, timeout: Any, limit: deadline | None) -> float | None:
        seconds: float | None = timeout
        if timeout is SENTINEL:
            seconds = self._time_for_reply(self.socket_timeout)
        if limit is None:
            return seconds
        self._bound(limit)
        return limit.left() if seconds is None else min(seconds, limit.left())

    def _bound(self, limit: deadline) -> None:
        """Nothing is begun after the deadline; what is under way then, the pool's maintenance thread cuts off.

        A timeout of the socket can't do that alone: it begins anew with each byte that comes.
        """
        if limit.reached():
            if self.unanswered and not self.handshaking:
                self.disconnect()
            raise self._late(limit)
        if self._redpool is not None:
            self._redpool.engine.bound(self._redpool.slot, limit)

    def _await_message(self) -> None:
        """Wait for a message, for ever; on a path that fell silent meanwhile, over a new connection."""
        while not self.can_read(self.health_check_interval):
            if self._fell_silent():
                self._break_off()
                self.connect()
            elif self.subscribed:
                self.send_command("PING", HEARTBEAT, check_health=False)

    def _break_off(self) -> None:
        self.disconnect()

    def can_read(self, timeout: float | None = 0) -> bool:
        """Return whether there is something to read within `timeout` seconds."""
        if not same_process[0]:
            begin_in_child()
        if timeout == 0:
            return bool(super().can_read())
        limit = current()
        if limit is not None:
            timeout = limit.left() if timeout is None else min(timeout, limit.left())
        self.reading = True
        try:
            if super().can_read(timeout):  # type: ignore[arg-type]  # None is for ever
                return True
        except RedisConnectionError as error:
            self._is_end(error)
            raise
        finally:
            self.reading = False
        if limit is not None:
            self._check_deadline(limit)
        return False

    def received(self) -> bool:
        """Return whether anything has come in that no caller has read, be it the end."""
        try:
            return bool(super().can_read())
        except (RedisConnectionError, RedisTimeoutError):
            return True

    def update_current_socket_timeout(self, relaxed_timeout: float | None = None) -> None:
        """As in redis-py. Those who share a connection see by `socket_timeout` how long they may wait."""
        if self.multiplexed:
            return
        super().update_current_socket_timeout(relaxed_timeout)
        if self.receive is not None:
            sockets.block(self._sock, self.socket_timeout if relaxed_timeout == -1 else relaxed_timeout)
            self._parser._socket_timeout = None

    def disconnect(self, *args: Any, **kwargs: Any) -> None:
        """Close the connection; one that its subscriber leaves goes on to others."""
        if self.session is not None and self.is_connected and self.may_hand_over(sys._getframe(1)):
            self.handing_over = True
            return
        super().disconnect(*args, **kwargs)
        self._begin_session()


def _send_all(sock: Any, pieces: Iterable[Any]) -> None:
    for piece in pieces:
        sock.sendall(piece)
