"""What of redis-py's connections can be shared, how a multiplexed one is judged, and what its callers get."""

from __future__ import annotations

import codecs
import contextlib
import math
from collections.abc import Sequence
from enum import Enum
from typing import Any

import hiredis
from redis._parsers import Encoder
from redis._parsers.hiredis import NOT_ENOUGH_DATA, _AsyncHiredisParser, _HiredisParser
from redis._parsers.socket import SERVER_CLOSED_CONNECTION_ERROR
from redis.connection import HiredisRespSerializer
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ExecAbortError, MaxConnectionsError, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..core.config import MultiplexedConfig
from ..deadline import deadline
from ..errors import DeadlineExceeded, PoolClosed, ReplyLost
from ..wire import commands
from ..wire.attributes import AttributeWatch
from ..wire.pipeline import Pipeline, Request, ServerClosed
from ..wire.table import CONTAINERS, KNOWN
from .internals import untouched
from .lifecycle import own_error
from .retry import final
from .sockets import ANSWER_WITHIN
from .tracking import lost_reply

MOST_ENDING = 4
"""So many connections may still be ending when another one is taken to be stalled: the server may be at fault."""

LARGEST_BATCH = 4096
"""The most commands in a write that are counted apart."""

LONG_PIPELINE = 500
"""Commands; a longer pipeline holds others up."""

LARGE_REQUEST = 128 * 1024
"""Bytes; the same of what is sent."""

MOST_MOVES = 3
"""How often a call that was not sent moves on to another connection, if they break one after another."""

PROBE = ("PING",)
"""What is sent over a connection over which nothing has come for long."""

STALLED_AFTER = 1.0
"""Seconds after which a connection that owes a reply is taken to be stalled, so that others go elsewhere."""

_MOST_LARGE = 1024

# A server that is busy is silent, too: only after so many times the patience of a caller is a path taken to be dead.
_TIMES_SILENT = 3


class LargeReplies:
    """The commands whose last reply was large, or because of which a server has hung up, by name and key."""

    def __init__(self) -> None:
        self.known: dict[Any, bool] = {}  # whether the server has hung up

    def knows(self, request: Request) -> bool:
        """Return whether its reply was large the last time, or never came since the server has hung up."""
        return bool(self.known) and self._key(request) in self.known

    def stands_apart(self, request: Request) -> bool:
        """Return whether it must not go over a connection that others share, if there can be another one."""
        return bool(self.known) and self.known.get(self._key(request), False)

    def note(self, request: Request) -> None:
        """Remember a request whose reply was large; forget one whose reply no longer is."""
        key = self._key(request)
        if key is None:
            return
        if request.large:
            self._remember(key, hung_up=False)
        else:
            self.known.pop(key, None)

    def note_hang_up(self, unanswered: Sequence[Request]) -> None:
        """Remember for which request the server may have hung up, as it does beyond its output buffer limit.

        That stood at the head, but for those whose replies are short: they may have been lost with it. A reply that
        comes next time, and is small, clears it.
        """
        for request in unanswered:
            key = self._key(request)
            if key is None or request.commands is PROBE:
                return
            if commands.may_answer_at_length(request.commands):
                self._remember(key, hung_up=True)
                return

    def forget_hang_ups(self) -> None:
        """Clear all: the server can't be reached, so that it has hung up on everybody."""
        for key in [key for key, hung_up in self.known.copy().items() if hung_up]:
            self.known.pop(key, None)

    def _remember(self, key: Any, hung_up: bool) -> None:
        self.known[key] = hung_up
        if len(self.known) > _MOST_LARGE:
            with contextlib.suppress(StopIteration, RuntimeError):  # other threads are at it
                self.known.pop(next(iter(self.known)), None)

    @staticmethod
    def _key(request: Request) -> Any:
        if type(request.commands) is not tuple:
            return None
        key = request.commands[:2]
        return key if all(isinstance(word, str | bytes | int) for word in key) else None


def hung_up(error: BaseException | None) -> bool:
    """Return whether a multiplexed connection has ended, as `as_raised` puts it, because the server has closed it."""
    cause = None if error is None else error.__cause__
    return isinstance(cause, ServerClosed | ConnectionResetError | BrokenPipeError)


def sharing_names(also: Sequence[str]) -> frozenset[str]:
    """The names that are known to share at first sight: the table's, and what the user adds to it.

    Raises `ValueError` for a command that the table knows not to share, and for a name that stands for several.
    """
    names = [commands.command_name((name,)) for name in also]
    for name in names:
        if name in CONTAINERS:
            raise ValueError(f"also_share={name!r}: some of its subcommands need a connection of their own")
        if name in KNOWN and not commands.shares((name,)):
            raise ValueError(f"also_share={name!r}: this command needs a connection of its own")
    return commands.PLAIN | frozenset(names)


def shareable(template: Any) -> bool:
    """Return whether what redpool packs and parses is what such a connection would: with hiredis's parser, for one."""
    parser, encoder = type(getattr(template, "_parser", None)), getattr(template, "encoder", None)
    if type(encoder) is not Encoder or not untouched(parser, ("read_response",)):
        return False
    if parser is _AsyncHiredisParser:
        return codecs.lookup(encoder.encoding).name == "utf-8"  # those of threads pack so whatever the encoding
    packer = type(getattr(template, "_command_packer", None))
    return parser is _HiredisParser and packer is HiredisRespSerializer and untouched(packer, ("pack",))


def parser(connection: Any) -> tuple[hiredis.Reader, object, AttributeWatch | None]:
    """Return the connection's own parser, what that returns where it has no whole reply, and what watches its input."""
    reader: hiredis.Reader = connection._parser._reader
    watch = AttributeWatch(reader) if connection.protocol in (3, "3") else None
    if watch is not None and reader.has_data():
        raise RedisConnectionError("unexpected data after the handshake: half a frame")
    return reader, NOT_ENOUGH_DATA, watch


class HealthAction(Enum):
    """What is to be done about a multiplexed connection, as far as observing it can tell."""

    PROBE = "nothing has come for long, so that the server is asked for a word"
    SUSPECT = "nothing has flowed for a while, though a reply is awaited: new requests had better go elsewhere"
    RETIRE = "no caller needs it"
    LOSE = "nothing has flowed for so long that it is dead"


def probe_after(config: MultiplexedConfig, connection: Any) -> float:
    """Return the seconds of silence after which a multiplexed connection is probed.

    They are the pool's `ping_after_idle` or redis-py's `health_check_interval`, whichever is shorter. An interval of
    0 means none, as in redis-py.
    """
    interval = getattr(connection, "health_check_interval", None) or math.inf
    return float(min(math.inf if config.ping_after_idle is None else config.ping_after_idle, interval))


def health_action(
    pipeline: Pipeline, flow: int, now: float, patience: float, config: MultiplexedConfig, probe_after: float
) -> HealthAction | None:
    """Return what is due; `flow` changes whenever bytes have come or have got on their way."""
    seen = pipeline.observe(now, flow)
    pending = pipeline.pending.copy()  # which goes on meanwhile
    probed = len(pending) == 1 and pending[0].commands is PROBE
    if seen.silent >= (min(patience, ANSWER_WITHIN) if probed else _TIMES_SILENT * patience):
        return HealthAction.LOSE
    if pending and seen.silent >= min(patience, STALLED_AFTER):
        return HealthAction.SUSPECT
    if config.max_idle_time is not None and seen.unused >= config.max_idle_time and not config.min_idle:
        return HealthAction.RETIRE
    if seen.unheard >= probe_after and not pending:
        return HealthAction.PROBE
    return None


def may_go_elsewhere(pipeline: Pipeline, request: Request) -> bool:
    """Return whether a request had better go over another connection than the one that is stalled.

    It may where it only reads, and waits behind one that doesn't: a write while the server pauses writes, for one.
    """
    try:
        head = pipeline.pending[0]
    except IndexError:
        return False
    return head is not request and may_move(request) and not _only_reads(head.commands)


def may_move(request: Request) -> bool:
    """Return whether a request can be sent over another connection, too, without making any difference."""
    return request.moves < MOST_MOVES and _only_reads(request.commands)


def _only_reads(sent: Sequence[Any]) -> bool:
    several: Sequence[Any] = [sent] if type(sent) is tuple else sent
    return all(commands.read_only(args) for args in several)


def fell_silent(connection: Any) -> RedisTimeoutError:
    """Return what callers get that wait on a connection over which nothing has come for long."""
    return RedisTimeoutError(f"no response from {connection._host_error()} any more")


def stopped_reading() -> RedisTimeoutError:
    """Return what callers get where the server takes nothing more of what they send."""
    return RedisTimeoutError("timed out writing: the server stopped reading")


def too_late(limit: deadline, sent: bool) -> DeadlineExceeded:
    """Return what the caller gets whose deadline has come."""
    how = "after the command was sent: it may have run" if sent else "before the command was sent"
    return DeadlineExceeded(f"the deadline of {limit.seconds:g} s came {how}", sent)


def interrupted(at: str) -> RedisConnectionError:
    """Return what the others get where a thread was interrupted in the midst of what it did for all."""
    return RedisConnectionError(f"the thread {at} this connection was interrupted")


def retired() -> RedisConnectionError:
    """Return what callers get where one connection after the other ended before their commands were sent."""
    return RedisConnectionError("the multiplexed connection was released before the command was sent")


def inherited() -> RedisConnectionError:
    """Return what callers get in a forked child whose command the parent has sent."""
    return RedisConnectionError("the connection is the parent process's")


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
    once = _must_run_once(request.commands, rule)
    if once is not None and isinstance(own, Exception):
        explained = lost_reply(once, own)
        explained.__cause__ = own
        return explained
    return own


def own_copy(error: BaseException) -> BaseException:
    """Return a caller's own copy of what connecting has raised for all that wait; no policy tries again after it."""
    if isinstance(error, _SETTLED):
        own: BaseException = type(error)(*error.args)
        own.__cause__ = error.__cause__
        return own
    return final(own_error(error))


def late(request: Request, connection: Any, rule: str) -> BaseException:
    """Return what the caller gets whose reply didn't come in time."""
    return lost(request, RedisTimeoutError(f"Timeout reading from {connection._host_error()}"), rule)


def _must_run_once(sent: Sequence[Any], rule: str) -> Sequence[Any] | None:
    """The first command that must not be sent again, by the pool's `retry_sent`."""
    several: Sequence[Any] = [sent] if type(sent) is tuple else sent
    if rule == "all":
        return None
    if rule == "none":
        first: Sequence[Any] = several[0]
        return first
    return commands.first_unrepeatable(several)


# -- the master, and the nodes of a cluster ----------------------------------------------------------------------------


class Demoted(RedisConnectionError):
    """The server that was the master has refused a write, so that nothing was changed: there is another master now."""

    def __init__(self, message: str = "The previous master is now a slave") -> None:
        super().__init__(message)


def refused(replies: Any) -> bool:
    """Whether any of the replies says that the server is a replica."""
    several = replies if type(replies) is list else [replies]
    return any(isinstance(each, ReadOnlyError) for each in several)


def may_start_over(request: Request, replies: Any, rule: str) -> bool:
    """Whether all of the request may be sent to the next master, where this one has refused some of it."""
    if type(request.commands) is tuple or isinstance(replies[-1], ExecAbortError):
        return True
    ran = [args for args, reply in zip(request.commands, replies, strict=True) if not isinstance(reply, ReadOnlyError)]
    return not ran or _must_run_once(ran, rule) is None


_SETTLED = (ReplyLost, DeadlineExceeded, PoolClosed, MaxConnectionsError)


def settled(error: object) -> bool:
    """Whether no other node is to be asked either: it may have run, its time is up, or the pool has refused it."""
    return isinstance(error, _SETTLED)
