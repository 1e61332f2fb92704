"""Servers and proxies that refuse HELLO, where RESP3 is no more than redis-py's default: RESP2 does for them.

HELLO is the first that is sent over a connection, so that one which is refused has changed nothing: the handshake
begins again with RESP2 over the same connection, with AUTH and SELECT. The endpoint is remembered, and is not asked
again. redis-py's clients have chosen by then to read replies as RESP3's: those that RESP2 has in another shape are put
into RESP3's.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from ..wire.shapes import as_resp3
from .internals import RESP2_PARSERS

logger = logging.getLogger("redpool")


def may_speak_resp2(options: Mapping[str, Any]) -> bool:
    """Return whether a pool with these options for its connections has not asked for what only RESP3 has."""
    maintenance = options.get("maint_notifications_config")
    return options.get("protocol") is None and (maintenance is None or maintenance.enabled is not True)


def choose(connection: Any) -> None:
    """Choose the protocol of a connection that begins its handshake, by what is known of the endpoint."""
    known = connection.without_hello
    if known is None:
        return
    refuses = _endpoint(connection) in known
    if refuses and connection.protocol == 3:
        _speak(connection, 2)
    elif connection.shaped and not refuses:
        _speak(connection, 3)


def fall_back(connection: Any, error: ResponseError) -> None:
    """Choose RESP2 where the server has refused HELLO and RESP3 is the default; otherwise raise what went wrong."""
    if not _refuses_hello(connection.sent, error):
        raise error
    said = str(error).partition(", with args")[0]  # what follows may be a password
    where = connection._host_error()
    if connection.without_hello is None:
        raise type(error)(
            f"{where} doesn't speak RESP3, which was asked for (protocol=3, client-side caching, or maintenance "
            f"notifications); leave that out, and RESP2 will do. It has answered HELLO with: {said}"
        ) from None
    logger.info("%s doesn't speak RESP3, so RESP2 is spoken there: %s", where, said)
    connection.without_hello.add(_endpoint(connection))
    _speak(connection, 2)


def _refuses_hello(sent: Any, error: ResponseError) -> bool:
    if type(sent) is not tuple or not sent or sent[0] != "HELLO":
        return False
    text = str(error).lower()
    return isinstance(error, NoPermissionError) or text.startswith(("unknown command", "noproto"))


def _endpoint(connection: Any) -> Any:
    return getattr(connection, "path", None) or (getattr(connection, "host", None), getattr(connection, "port", None))


def _speak(connection: Any, protocol: int) -> None:
    connection.protocol, connection.shaped = protocol, protocol == 2
    parser = connection._parser
    if protocol == 2 and type(parser) in RESP2_PARSERS:
        connection.set_parser(RESP2_PARSERS[type(parser)])
        connection._parser.EXCEPTION_CLASSES = parser.EXCEPTION_CLASSES
        parser = connection._parser
    vars(parser).pop("read_response", None)
    if protocol == 2:
        parser.read_response = connection.shaping(weakref.ref(connection))


def in_shape(connection: Any, reply: Any) -> Any:
    """Return the next reply to what was sent last over a connection, in RESP3's shape."""
    sent, position = connection.sent, 0
    if type(sent) is tuple:
        sent, position = [sent], 1 - connection.unanswered
    elif isinstance(sent, list):
        position = len(sent) - connection.unanswered
    # More may be unanswered than was sent last: then it can't be told what the reply is to.
    return as_resp3(sent, position, reply) if sent and 0 <= position < len(sent) else reply
