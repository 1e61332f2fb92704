"""redis-py's connections: opened, judged and closed, by threads and on an event loop."""

from __future__ import annotations

import asyncio
import contextlib

# A look-up of names imports this at a process's first connect. A child that was forked in the midst of an import waits
# for ever where it comes to the same module, since the thread is gone that has the module's lock.
import encodings.idna  # noqa: F401  see above
import logging
import traceback
import weakref
from typing import Any

import redis.asyncio.client
import redis.client
from redis.connection import CacheProxyConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..errors import DeadlineExceeded, PoolClosed, PoolFull, PoolOverloaded, PoolTimeout
from ..wire.commands import command_name
from . import retry, sockets
from .internals import ONE_TRY, ONE_TRY_ASYNC, has, unread
from .reference import Reference
from .transports import close_now

logger = logging.getLogger("redpool")

_SUBSCRIBERS = (redis.client.PubSub, redis.asyncio.client.PubSub)


def last_command(connection: Any) -> str | None:
    """Return the name of the last command sent, the first one's of a pipeline; `None` where nothing was."""
    sent = getattr(_inner(connection), "sent", ())
    if isinstance(sent, list):
        sent = sent[0] if sent else ()
    return command_name(sent) if sent else None


def _inner(connection: Any) -> Any:
    return connection._conn if isinstance(connection, CacheProxyConnection) else connection


def awaiting(connection: Any) -> Any:
    """Return the connection of threads behind this one, if it awaits a reply whose time the kernel keeps."""
    inner = _inner(connection)
    if getattr(inner, "receive", None) is None or not inner.unanswered:
        return None
    waits_otherwise = inner.asked is not None or inner.subscribed or inner.socket_timeout is None
    return None if waits_otherwise else inner


def mark(connection: Any, engine: Any, slot: Any, dropped: Any = None) -> Reference:
    """Note whose connection it is; `dropped` is called when it is collected."""
    _weaken(_inner(connection))
    reference = Reference(connection, dropped)
    reference.engine, reference.slot = engine, slot
    connection._redpool = _inner(connection)._redpool = reference
    if not hasattr(connection, "readable"):  # a class that isn't redis-py's
        connection.readable = sockets.unknown
    return reference


def _weaken(connection: Any) -> None:
    """Let redis-py's handlers of maintenance notifications hold their connection weakly.

    Otherwise one that was dropped would wait for the collector of cycles.
    """
    for name in ("_maint_notifications_connection_handler", "_maint_notifications_pool_handler"):
        handler = getattr(connection, name, None)
        if handler is not None and handler.connection is connection:
            handler.connection = weakref.proxy(connection)


def is_open(connection: Any) -> bool:
    """Return whether a connection of threads still has its socket."""
    return getattr(_inner(connection), "_sock", connection) is not None


def intact(connection: Any) -> bool:
    """Return whether a connection that comes back may be used again. It forgets what it was last used for.

    It may if it is open, all that it sent was answered, its session is as it was made, and no caller wants it replaced.
    """
    try:
        connection.sent = ()
        return (
            not connection.unanswered
            and (connection.plain or connection.as_it_was_made())
            and not connection._should_reconnect
            and connection._sock is not None
        )
    except AttributeError:
        return _intact_otherwise(connection)


def intact_async(connection: Any) -> bool:
    """Return whether an event loop's connection that comes back may be used again, as `intact` does."""
    try:
        connection.sent = ()
        return (
            not connection.unanswered
            and (connection.plain or connection.as_it_was_made())
            and not connection._should_reconnect
            and connection._reader is not None
        )
    except AttributeError:
        return _intact_otherwise(connection)


def _intact_otherwise(connection: Any) -> bool:
    inner = _inner(connection)
    if inner is not connection:
        return intact(inner)
    # Not a connection class of redis-py: it can only be asked.
    should_reconnect = getattr(connection, "should_reconnect", bool)
    return not should_reconnect() and bool(getattr(connection, "is_connected", True))


def set_retry(connection: Any, policy: Any) -> None:
    """Give one connection the user's new retry policy."""
    inner = _inner(connection)
    inner.retry = retry.guarded_copy(policy)
    connection.retry = inner.retry


def drop_frames(error: BaseException) -> None:
    """Let the frames go that a failed connect has left behind: the error is kept for long, and would keep the pool."""
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__


# -- by threads --------------------------------------------------------------------------------------------------------


def connect(connection: Any) -> None:
    """Open a connection, handshake and all, trying once: when to try again is the pool's business.

    Whatever goes wrong on the way, a half-made connection is closed.
    """
    inner = _inner(connection)
    policy = getattr(inner, "retry", None)
    inner.retry = ONE_TRY
    try:
        connection.connect()
    except BaseException:
        close(connection)
        raise
    finally:
        inner.retry = policy


def peek(connection: Any) -> bool:
    """Return whether an idle connection is open and has nothing to say but push messages. No round trip."""
    if not getattr(connection, "is_connected", True):
        return False
    try:
        if not connection.can_read() or _only_of_tls(_inner(connection)):
            return True
        # With client-side caching redis-py reads invalidations itself, and needs them.
        return isinstance(connection, CacheProxyConnection) or _read_pushes(connection)
    except (RedisError, OSError):
        return False


def _only_of_tls(connection: Any) -> bool:
    """Return whether what has come is the TLS session's own, a ticket or a new key, and nothing of the server's."""
    sock: Any = getattr(connection, "_sock", None)
    if not hasattr(sock, "pending") or sock.pending():
        return False
    # Only decrypting it tells. What is the server's is the parser's then, hiredis's or the buffer of one in Python.
    parser: Any = connection._parser
    if unread(parser):
        return False
    take_in = getattr(parser, "read_from_socket", None) or parser._buffer._read_from_socket
    return not take_in(timeout=0, raise_on_timeout=False)


def _read_pushes(connection: Any) -> bool:
    if getattr(connection, "protocol", 2) != 3 or not has("pushes apart from replies"):
        return False
    parser, pushes = connection._parser, [0]
    dispatch = parser.handle_push_response

    def tracked(response: Any, **kwargs: Any) -> Any:
        pushes[0] += 1
        return dispatch(response, **kwargs)

    def only_pushes() -> bool:
        reads = 0
        while connection.can_read():
            connection.read_response(timeout=0, disconnect_on_error=False, push_request=True)
            reads += 1
            if pushes[0] != reads:
                return False
        return True

    parser.handle_push_response = tracked
    try:
        return only_pushes()
    finally:
        del parser.handle_push_response


def ping(connection: Any) -> bool:
    """Return whether the server answers over this connection, and soon. One round trip.

    An error is an answer, too: the user may not be allowed to PING.
    """
    inner = _inner(connection)
    try:
        inner.send_command("PING", check_health=False)
        return inner.read_response(timeout=sockets.time_to_answer(inner)) in (b"PONG", "PONG")
    except ResponseError:
        return True
    except (RedisError, OSError):
        return False


def close(connection: Any) -> None:
    """Close a connection that no caller uses."""
    if getattr(connection, "_sock", connection) is None:
        return  # it is closed
    try:
        connection.disconnect()
    except Exception:
        logger.debug("closing a connection failed", exc_info=True)


def cut(connection: Any) -> None:
    """End a connection under another thread's hands: its user sees the server hang up, and nothing stranger."""
    sock = getattr(_inner(connection), "_sock", None)
    if sock is not None:
        sockets.cut(sock)


def forget(connection: Any) -> None:
    """In a forked child: drop the inherited descriptor, without a word to the server."""
    inner = _inner(connection)
    sock = getattr(inner, "_sock", None)
    if sock is not None:
        inner._sock = None
        with contextlib.suppress(OSError):
            sock.close()


def forget_async(connection: Any) -> Any:
    """Drop what a forked child inherited of an event loop's connection; return what must never be finalized."""
    inherited = getattr(connection, "_reader", None), getattr(connection, "_writer", None)
    if inherited != (None, None):
        connection._reader = connection._writer = None
    return inherited


# -- on an event loop --------------------------------------------------------------------------------------------------


async def connect_async(connection: Any) -> None:
    """As `connect`, on the running loop; also closes the half-made connection of a cancelled connect."""
    policy = getattr(connection, "retry", None)
    connection.retry = ONE_TRY_ASYNC
    try:
        await connection.connect()
    except BaseException:
        close_now(connection)
        raise
    finally:
        connection.retry = policy


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
    if getattr(connection, "protocol", 2) != 3 or not has("pushes apart from replies"):
        return False
    parser, pushes, reads = connection._parser, [0], 0
    dispatch = parser.handle_push_response

    async def tracked(response: Any) -> Any:
        pushes[0] += 1
        return await dispatch(response)

    parser.handle_push_response = tracked
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
        async with asyncio.timeout(sockets.time_to_answer(connection)):
            await connection.send_command("PING", check_health=False)
            return await connection.read_response() in (b"PONG", "PONG")
    except ResponseError:
        return True
    except (RedisError, OSError):
        return False


def unshared(connection: Any) -> bool:
    """Return whether none but its borrower can use a connection: another thread may read a subscription."""
    return not getattr(_inner(connection), "_connect_callbacks", None)


def listens(connection: Any) -> bool:
    """Return whether its borrower only listens: a subscriber or a monitor, which never ends by itself."""
    inner = _inner(connection)
    session = getattr(inner, "session", None)
    callbacks = [reference() for reference in list(getattr(inner, "_connect_callbacks", ()))]
    subscribers = (isinstance(getattr(each, "__self__", None), _SUBSCRIBERS) for each in callbacks)
    return any(subscribers) or (session is not None and session.listens)


def end(connection: Any) -> None:
    """Have the borrower of a connection that is about to be cut get its error, whatever its retry policy says."""
    _inner(connection).ended = True


def for_others(error: BaseException) -> BaseException:
    """Return what all that wait may get of a failed connect: what ends a program or a loop isn't for others."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return RedisConnectionError(f"the connect was interrupted by {type(error).__name__}")
    return of_connecting(error)


def of_connecting(error: BaseException) -> BaseException:
    """Return what a caller gets of a failed connect: an error of redis-py's, where the operating system has failed it.

    An OSError without a number is none of its: a credential provider has raised it, or a signal handler.
    """
    if not isinstance(error, OSError) or error.errno is None:
        return error
    kind = RedisTimeoutError if isinstance(error, TimeoutError) else RedisConnectionError
    raised = kind(f"Error while connecting: {error}")
    raised.__cause__ = error
    return raised


def own_error(error: BaseException) -> BaseException:
    """Return a caller's own copy of an error that several callers may get, so that their tracebacks don't mix."""
    if isinstance(error, PoolTimeout | PoolFull | PoolOverloaded | PoolClosed) or error.__traceback__ is None:
        return error  # made for one
    copy = bare_copy(error)
    copy.__cause__ = error
    return copy


def bare_copy(error: BaseException) -> BaseException:
    """Return the same error without a traceback and what that keeps alive, to be remembered for others."""
    try:
        return type(error)(*error.args)
    except Exception:
        return RedisConnectionError(str(error))


def says_of_server(error: BaseException | None) -> bool:
    """Return whether a connect that ended so in its caller's own thread or task has failed, rather than its caller."""
    return isinstance(error, RedisError | OSError) and not isinstance(error, DeadlineExceeded)
