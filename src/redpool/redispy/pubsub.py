"""A subscriber has left: what becomes of its connection, and how one that was only dropped is told from it.

redis-py's PubSub closes its connection when it leaves. A good one can serve others once it is unsubscribed. They get a
new connection object with the socket in it: the caller that still has the old object, say a thread that was polling for
messages, must not read what is others' by then.
"""

from __future__ import annotations

import time
from typing import Any

from redis.exceptions import RedisError, ResponseError
from redis.utils import str_if_bytes

from . import sockets
from .sockets import time_to_answer

_PONGS = (b"PONG", "PONG")


def adopt_socket(connection: Any, successor: Any) -> bool:
    """Move the socket of a connection that its subscriber has left to another, which is to be unsubscribed first.

    False, and nothing is moved, where a caller is reading from it.
    """
    successor.pending_unsubscribes = connection.session.changed
    # The caller that is about to read says so before it looks for the socket, so it is seen here or finds none.
    if hasattr(connection, "_sock"):
        successor._sock, connection._sock = connection._sock, None
    else:
        successor._reader, connection._reader = connection._reader, None
        successor._writer, connection._writer = connection._writer, None
    successor.readable, connection.readable = connection.readable, sockets.unknown
    connection._parser.on_disconnect()
    successor._parser.on_connect(successor)
    connection.receive = connection.readable_in_crowd = None
    successor.take_socket()
    successor.given_name = connection.given_name
    successor.handshake_metadata = getattr(connection, "handshake_metadata", {})
    return not connection.reading


def unsubscribe(connection: Any) -> bool:
    """Return whether the server confirms, in the time for an answer, that nothing is subscribed over the connection.

    The answer to the PING comes behind all confirmations. It may be an error: the user may not be allowed to PING.
    """
    end = time.monotonic() + time_to_answer(connection)
    unconfirmed = {_ending(subscription) for subscription in connection.pending_unsubscribes}
    try:
        for subscription in connection.pending_unsubscribes:
            connection.send_command(_ending(subscription), check_health=False)
        connection.send_command("PING", check_health=False)
        while (said := connection.read_response(timeout=time_to_answer(connection), push_request=True)) not in _PONGS:
            unconfirmed.discard(_kind(said))
            if time.monotonic() > end:
                return False
    except ResponseError:
        if unconfirmed:  # of another one than the PING
            return False
    except (RedisError, OSError):
        return False
    connection.settled()
    return True


async def unsubscribe_async(connection: Any) -> bool:
    """Unsubscribe a connection on the running loop, as `unsubscribe` does."""
    end = time.monotonic() + time_to_answer(connection)
    unconfirmed = {_ending(subscription) for subscription in connection.pending_unsubscribes}
    try:
        for subscription in connection.pending_unsubscribes:
            await connection.send_command(_ending(subscription), check_health=False)
        await connection.send_command("PING", check_health=False)
        patience = time_to_answer(connection)
        while (said := await connection.read_response(timeout=patience, push_request=True)) not in _PONGS:
            unconfirmed.discard(_kind(said))
            if time.monotonic() > end:
                return False
    except ResponseError:
        if unconfirmed:
            return False
    except (RedisError, OSError):
        return False
    connection.settled()
    return True


def _kind(said: Any) -> str:
    """Return what a push is of, in capitals; nothing for anything else."""
    return str(str_if_bytes(said[0])).upper() if isinstance(said, list) and said else ""


def _ending(subscription: str) -> str:
    return subscription.replace("SUBSCRIBE", "UNSUBSCRIBE")
