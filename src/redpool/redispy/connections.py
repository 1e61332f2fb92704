"""redis-py's connections: opened, judged and closed, by threads and on an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import Any

import redis.asyncio.connection as aio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import CacheProxyConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry as SyncRetry

from ..errors import PoolClosed, PoolFull, PoolTimeout
from .counting import CountedAsync

logger = logging.getLogger("redpool")

_ONE_TRY = SyncRetry(NoBackoff(), 0)
_ONE_TRY_ASYNC = AsyncRetry(NoBackoff(), 0)


def last_command(connection: Any) -> str | None:
    """The name of the last command sent, read from its RESP form (https://redis.io/docs/latest/develop/reference/
    protocol-spec/): `*3\\r\\n$3\\r\\nSET\\r\\n...`."""
    parts = bytes(getattr(_inner(connection), "last_sent", b"")).split(b"\r\n")
    return parts[2].decode("ascii", "replace") if len(parts) > 2 else None


def _inner(connection: Any) -> Any:
    return connection._conn if isinstance(connection, CacheProxyConnection) else connection


def mark(connection: Any, whose: tuple[Any, Any]) -> None:
    """Note whose connection it is: an engine and the slot there."""
    connection._redpool = _inner(connection)._redpool = whose


def is_open(connection: Any) -> bool:
    """Whether a connection of threads still has its socket."""
    return getattr(_inner(connection), "_sock", connection) is not None


def intact(connection: Any) -> bool:
    """Whether a connection that comes back is open, answered in full, and not marked to be replaced."""
    try:
        return not connection.unanswered and not connection._should_reconnect and connection._sock is not None
    except AttributeError:
        return _intact_otherwise(connection)


def intact_async(connection: Any) -> bool:
    """The same for a connection of an event loop."""
    try:
        return not connection.unanswered and not connection._should_reconnect and connection._reader is not None
    except AttributeError:
        return _intact_otherwise(connection)


def _intact_otherwise(connection: Any) -> bool:
    inner = _inner(connection)
    if inner is not connection:
        return intact(inner)
    # Not a connection class of redis-py: it can only be asked.
    should_reconnect = getattr(connection, "should_reconnect", bool)
    return not should_reconnect() and bool(getattr(connection, "is_connected", True))


def set_retry(connection: Any, retry: Any) -> None:
    """Give one connection the user's new retry policy."""
    connection.retry = retry
    _inner(connection).retry = retry


# -- by threads --------------------------------------------------------------------------------------------------------


def connect(connection: Any) -> None:
    """Open a connection, handshake and all, trying once: when to try again is the pool's business.

    Whatever goes wrong on the way, a half-made connection is closed.
    """
    inner = _inner(connection)
    policy = getattr(inner, "retry", None)
    inner.retry = _ONE_TRY
    try:
        connection.connect()
    except BaseException:
        close(connection)
        raise
    finally:
        inner.retry = policy


def peek(connection: Any) -> bool:
    """Whether a rested connection is open and has nothing to say but push messages. No round trip."""
    if not getattr(connection, "is_connected", True):
        return False
    try:
        if not connection.can_read():
            return True
        # With client-side caching redis-py reads invalidations itself, and needs them.
        return isinstance(connection, CacheProxyConnection) or _read_pushes(connection)
    except (RedisError, OSError):
        return False


def _read_pushes(connection: Any) -> bool:
    if getattr(connection, "protocol", 2) != 3:
        return False
    parser, pushes, reads = connection._parser, [0], 0
    dispatch = parser.handle_push_response

    def counted(response: Any, **kwargs: Any) -> Any:
        pushes[0] += 1
        return dispatch(response, **kwargs)

    parser.handle_push_response = counted
    try:
        while connection.can_read():
            connection.read_response(timeout=0, disconnect_on_error=False, push_request=True)
            reads += 1
            if pushes[0] != reads:
                return False
    finally:
        del parser.handle_push_response
    return True


def ping(connection: Any) -> bool:
    """Whether the server answers over this connection. One round trip, bounded by the connection's own timeouts."""
    inner = _inner(connection)
    try:
        inner.send_command("PING", check_health=False)
        return inner.read_response() in (b"PONG", "PONG")
    except (RedisError, OSError):
        return False


def close(connection: Any) -> None:
    """Close a connection that nobody uses."""
    try:
        connection.disconnect()
    except Exception:
        logger.debug("closing a connection failed", exc_info=True)


def cut(connection: Any) -> None:
    """End a connection under another thread's hands: its user sees the server hang up, and nothing stranger."""
    sock = getattr(_inner(connection), "_sock", None)
    if sock is not None:
        with contextlib.suppress(OSError):
            # Not sock.shutdown(): that of a TLS socket also pulls the session from under a reader.
            shutdown = socket.socket.shutdown if isinstance(sock, socket.socket) else type(sock).shutdown
            shutdown(sock, socket.SHUT_RDWR)


def forget(connection: Any) -> None:
    """In a forked child: drop the inherited descriptor, without a word to the server."""
    inner = _inner(connection)
    sock = getattr(inner, "_sock", None)
    if sock is not None:
        inner._sock = None
        with contextlib.suppress(OSError):
            sock.close()


# -- on an event loop --------------------------------------------------------------------------------------------------


async def connect_async(connection: Any) -> None:
    """As `connect`, on the running loop; also closes the half-made connection of a cancelled dial."""
    policy = getattr(connection, "retry", None)
    connection.retry = _ONE_TRY_ASYNC
    try:
        await connection.connect()
    except BaseException:
        close_now(connection)
        raise
    finally:
        connection.retry = policy


def quiet(connection: Any) -> bool:
    """Whether an event loop's connection is open and has received nothing. No system call: the loop reads for us."""
    try:
        reader = connection._reader
        return not (reader._buffer or reader._eof or reader._exception)
    except AttributeError:
        # Closed; or not a connection of redis-py, which can't be looked into.
        return not hasattr(connection, "_reader")


async def peek_async(connection: Any) -> bool:
    """As `peek`, for a connection that is not `quiet`."""
    reader = connection._reader
    if reader is None or reader.at_eof() or reader.exception() is not None:
        return False
    try:
        return await _read_pushes_async(connection)
    except (RedisError, OSError):
        return False


async def _read_pushes_async(connection: Any) -> bool:
    if getattr(connection, "protocol", 2) != 3:
        return False
    parser, pushes, reads = connection._parser, [0], 0
    dispatch = parser.handle_push_response

    async def counted(response: Any) -> Any:
        pushes[0] += 1
        return await dispatch(response)

    parser.handle_push_response = counted
    try:
        while connection._reader._buffer or parser._reader.has_data():
            # A frame that has only come in part does not come in whole without waiting.
            await connection.read_response(timeout=0.001, disconnect_on_error=False, push_request=True)
            reads += 1
            if pushes[0] != reads:
                return False
    finally:
        del parser.handle_push_response
    return True


async def ping_async(connection: Any) -> bool:
    """As `ping`, on the running loop."""
    try:
        await connection.send_command("PING", check_health=False)
        return await connection.read_response() in (b"PONG", "PONG")
    except (RedisError, OSError):
        return False


def close_now(connection: Any) -> None:
    """Close a connection without waiting for anything: there is nothing left to be sent."""
    if not _closes_as_usual(type(connection)):
        _ask_to_close(connection)
        return
    writer = connection._writer
    connection._parser.on_disconnect()
    connection.reset_should_reconnect()
    connection._reader = connection._writer = None
    if writer is not None:
        _abort(writer)


def _closes_as_usual(connection_class: type) -> bool:
    """Whether `disconnect` is redis-py's, so that what it does is known."""
    bases = (base for base in connection_class.__mro__ if base is not CountedAsync and "disconnect" in vars(base))
    return next(bases, None) is aio.AbstractConnection


def _ask_to_close(connection: Any) -> None:
    with contextlib.suppress(RuntimeError):
        task = asyncio.get_running_loop().create_task(_disconnect(connection))
        _closings.add(task)
        task.add_done_callback(_closings.discard)


async def _disconnect(connection: Any) -> None:
    try:
        await connection.disconnect()
    except Exception:
        logger.debug("closing a connection failed", exc_info=True)


_closings: set[asyncio.Task[None]] = set()


def unshared(connection: Any) -> bool:
    """Whether nobody but its holder can be using a connection: a subscription may be read by another thread."""
    return not getattr(_inner(connection), "_connect_callbacks", None)


def cut_async(connection: Any) -> None:
    """End a connection under another task's hands: its user sees the server hang up, and nothing stranger."""
    writer = getattr(connection, "_writer", None)
    if writer is not None:
        _abort(writer)


class _Gone:
    """What a writer is left with whose loop was closed, so that it doesn't warn of it when it is collected."""

    def is_closing(self) -> bool:
        return True


def _abort(writer: Any) -> None:
    transport = writer.transport
    if not writer._loop.is_closed():
        transport.abort()
        return
    # The loop will never say "connection lost": do at once what it would have done. uvloop has done so already.
    lost = getattr(transport, "_call_connection_lost", None)
    if lost is not None:
        with contextlib.suppress(Exception):
            transport.abort()
        with contextlib.suppress(Exception):
            lost(None)
    writer._transport = _Gone()


def own_error(error: BaseException) -> BaseException:
    """A caller's own copy of an error that several callers may get, so that their tracebacks don't mix."""
    if isinstance(error, PoolTimeout | PoolFull | PoolClosed):
        return error  # made for one
    try:
        copy = type(error)(*error.args)
    except Exception:
        copy = RedisConnectionError(str(error))
    copy.__cause__ = error
    return copy
