"""The transports of an event loop: what has come over them, and how to close them at once, whatever the loop does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import redis.asyncio.connection as aio

from . import recording, sockets

logger = logging.getLogger("redpool")

# A loop reads what has come in its next turn, or the one after.
_MOST_TURNS = 10


def quiet(connection: Any) -> bool:
    """Return whether an event loop's connection is open and has received nothing; without a system call.

    The loop has read what came, unless it was blocked: see `catch_up`.
    """
    try:
        reader = connection._reader
        return not (reader._buffer or reader._eof or reader._exception)
    except AttributeError:
        # Closed; or a test double, which can't be looked into.
        return getattr(connection, "_reader", connection) is not None


async def catch_up(connection: Any) -> None:
    """Let the loop read what has come over the socket of a connection that it takes for `quiet`.

    The loop's knowledge is out of date where a callback has blocked it, or its process was stopped. Over TLS the bytes
    may turn out to be none.
    """
    turns = 0 if connection.readable is sockets.unknown else _MOST_TURNS
    while turns and quiet(connection) and connection.readable(0):
        turns -= 1
        await asyncio.sleep(0)


def take_over(connection: Any, protocol: asyncio.Protocol) -> tuple[Any, Any, bytes, bool]:
    """Give a connection's transport another protocol. Return the transport, the protocol before, unread bytes, the end.

    That is whether the server has hung up already: a transport says so once, and the protocol before was told.
    """
    transport, reader = connection._writer.transport, connection._reader
    before, unread = transport.get_protocol(), bytes(reader._buffer)
    ended = reader._eof or reader._exception is not None
    reader._buffer.clear()
    transport.set_protocol(protocol)
    if not transport.is_reading():
        transport.resume_reading()
    return transport, before, unread, ended


def readable(connection: Any) -> sockets.Readable:
    """Return the probe of the connection's socket; where it can't be probed, one that never finds bytes.

    Then what the loop has read is all that can be known.
    """
    return _nothing if connection.readable is sockets.unknown else connection.readable


def _nothing(_timeout: int) -> bool:
    return False


def restore(transport: Any, protocol: Any) -> None:
    """Give the transport back its protocol, as redis-py had it."""
    transport.set_protocol(protocol)


def backlog(transport: Any) -> int:
    """Return how many bytes of a large request the transport and the kernel still have; 0 for a small one."""
    sock, buffered = transport.get_extra_info("socket"), int(transport.get_write_buffer_size())
    size = buffered + (0 if sock is None else sockets.backlog(sock))
    return size if size > sockets.LARGE_BACKLOG else 0


def close_now(connection: Any, error: BaseException | None = None) -> None:
    """Close a connection at once, without waiting for unsent bytes: there are none. The `error` is what ended it."""
    if not _closes_as_usual(type(connection)):
        _ask_to_close(connection)
        return
    writer = connection._writer
    connection._parser.on_disconnect()
    connection.reset_should_reconnect()
    connection._reader = connection._writer = None
    if writer is not None:
        recording.note_closed(True, error)
        abort(writer)


def _closes_as_usual(connection_class: type) -> bool:
    """Return whether `disconnect` is redis-py's own, so that its effects are known."""
    bases = (base for base in connection_class.__mro__ if "disconnect" in vars(base))
    bases = (base for base in bases if not getattr(base, "closes_as_its_base_does", False))
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


def cut_async(connection: Any) -> None:
    """End a connection that another task is using: that task gets the error of a server that hung up, and no other."""
    writer = getattr(connection, "_writer", None)
    if writer is not None:
        abort(writer)


class _Gone:
    """The transport of a writer whose loop was closed, so that it doesn't warn when it is collected."""

    def is_closing(self) -> bool:
        return True


def abort(writer: Any) -> None:
    """End a writer's transport at once."""
    transport = writer.transport if isinstance(writer, asyncio.StreamWriter) else None
    if transport is None:
        writer.close()  # a test double, whose transport can do less, if it has one
        return
    if not writer._loop.is_closed():
        transport.abort()
        return
    # A closed loop never calls `connection_lost`: do at once what it would have done. uvloop has done so already.
    lost = getattr(transport, "_call_connection_lost", None)
    if lost is not None:
        with contextlib.suppress(Exception):
            transport.abort()
        with contextlib.suppress(Exception):
            lost(None)
    writer._transport = _Gone()
