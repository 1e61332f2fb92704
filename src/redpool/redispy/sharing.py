"""What of redis-py's connections can be shared, and what the callers of one get that is lost."""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
from redis.connection import HiredisRespSerializer
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..core.config import MultiplexedConfig
from ..errors import DeadlineExceeded, PoolClosed, ReplyLost, reply_late, reply_lost
from ..wire import commands
from ..wire.attributes import AttributeWatch
from ..wire.pipeline import Request, ServerClosed
from ..wire.table import CONTAINERS, KNOWN
from .internals import (
    HIREDIS_PARSER,
    HIREDIS_PARSERS_ASYNC,
    NOT_ENOUGH_DATA,
    SERVER_CLOSED_CONNECTION_ERROR,
    Encoder,
    untouched,
)
from .lifecycle import own_error
from .retry import final


def probe_after(config: MultiplexedConfig, connection: Any) -> float:
    """Return the seconds of silence after which a multiplexed connection is probed.

    They are the pool's `ping_after_idle` or redis-py's `health_check_interval`, whichever is shorter. An interval of
    0 means none, as in redis-py.
    """
    interval = getattr(connection, "health_check_interval", None) or math.inf
    return float(min(math.inf if config.ping_after_idle is None else config.ping_after_idle, interval))


def retire_after(config: MultiplexedConfig) -> float:
    """Return the seconds after which a multiplexed connection is retired that no caller needs."""
    return math.inf if config.max_idle_time is None or config.min_idle else config.max_idle_time


def hung_up(error: BaseException | None) -> bool:
    """Return whether a multiplexed connection has ended, as `as_raised` puts it, because the server has closed it."""
    cause = None if error is None else error.__cause__
    return isinstance(cause, ServerClosed | ConnectionResetError | BrokenPipeError)


def sharing_names(also: Sequence[str]) -> frozenset[str]:
    """Return the names that are known to share at first sight: the table's, and what the user adds to it.

    Raises `ValueError` for a command that the table knows not to share, and for a name that stands for several.
    """
    names = [commands.command_name((name,)) for name in also]
    for name in names:
        if name in CONTAINERS:
            raise ValueError(f"shareable_commands={name!r}: some of its subcommands need a connection of their own")
        if name in KNOWN and not commands.shares((name,)):
            raise ValueError(f"shareable_commands={name!r}: this command needs a connection of its own")
    return commands.PLAIN | frozenset(names)


def shareable(template: Any) -> bool:
    """Return whether what redpool packs and parses is what such a connection would: with hiredis's parser, for one."""
    parser, encoder = type(getattr(template, "_parser", None)), getattr(template, "encoder", None)
    if type(encoder) is not Encoder or not untouched(parser, ("read_response",)):
        return False
    if parser in HIREDIS_PARSERS_ASYNC:
        return codecs.lookup(encoder.encoding).name == "utf-8"  # those of threads pack so whatever the encoding
    packer = type(getattr(template, "_command_packer", None))
    return parser is HIREDIS_PARSER and packer is HiredisRespSerializer and untouched(packer, ("pack",))


def parser(connection: Any) -> tuple[hiredis.Reader, object, AttributeWatch | None]:
    """Return the connection's own parser, what that returns where it has no whole reply, and what watches its input."""
    reader: hiredis.Reader = connection._parser._reader
    watch = AttributeWatch(reader) if connection.protocol in (3, "3") else None
    if watch is not None and reader.has_data():
        raise RedisConnectionError("unexpected data after the handshake: half a frame")
    return reader, NOT_ENOUGH_DATA, watch


def as_raised(error: BaseException, connection: Any) -> BaseException:
    """Return what ended a multiplexed connection, as redis-py would put it.

    It is kept for all callers: the frames of the one that met it would keep the pool.
    """
    error.__traceback__ = None
    if isinstance(error, RedisConnectionError | RedisTimeoutError):
        return error
    if isinstance(error, ServerClosed):
        raised = RedisConnectionError(SERVER_CLOSED_CONNECTION_ERROR)
    elif isinstance(error, OSError):
        raised = RedisConnectionError(f"Error while talking to {connection._host_error()}: {error}")
    else:
        raised = RedisConnectionError(f"a multiplexed connection was given up: {error}")
    raised.__cause__ = error
    return raised


def lost(request: Request, error: BaseException, rule: str) -> BaseException:
    """Return what the caller gets whose command was sent over a connection that broke."""
    own = own_error(error)
    once = commands.must_run_once(request.commands, rule)
    return own if once is None or not isinstance(own, Exception) else reply_lost(commands.command_name(once), own)


def own_copy(error: BaseException) -> BaseException:
    """Return a caller's own copy of what connecting has raised for all that wait; no policy tries again after it."""
    if isinstance(error, _SETTLED):
        own: BaseException = type(error)(*error.args)
        own.__cause__ = error.__cause__
        return own
    return final(own_error(error))


def late(request: Request, connection: Any, rule: str, may_send_again: Callable[[], bool]) -> BaseException:
    """Return what the caller gets whose reply didn't come in time; `may_send_again` takes from the retry budget."""
    error = lost(request, RedisTimeoutError(f"Timeout reading from {connection._host_error()}"), rule)
    if isinstance(error, ReplyLost) or may_send_again():
        return error
    return reply_late(commands.first_name(request.commands), error)


# -- the master, and the nodes of a cluster ----------------------------------------------------------------------------


def refused(replies: Any) -> bool:
    """Return whether any of the replies says that the server is a replica."""
    several = replies if type(replies) is list else [replies]
    return any(isinstance(each, ReadOnlyError) for each in several)


_SETTLED = (ReplyLost, DeadlineExceeded, PoolClosed, MaxConnectionsError)


def settled(error: object) -> bool:
    """Return whether no other node is to be asked: it may have run, its time is up, or the pool has refused it."""
    return isinstance(error, _SETTLED)
