"""What of redis-py's connections can be shared, and what callers over a shared one are told."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from enum import Enum
from typing import Any

import hiredis
from redis._parsers.hiredis import NOT_ENOUGH_DATA, _AsyncHiredisParser, _HiredisParser
from redis._parsers.socket import SERVER_CLOSED_CONNECTION_ERROR
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ExecAbortError, MaxConnectionsError, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..core.config import SharedConfig
from ..errors import DeadlineExceeded, PoolClosed, ReplyLost
from ..limit import deadline
from ..wire import commands
from ..wire.mux import Entry, MuxCore
from ..wire.table import KNOWN
from .connections import own_error
from .counting import lost_reply
from .sockets import ANSWER_WITHIN

LARGEST_BATCH = 4096
"""The most commands in a write that are counted apart."""

LONG_PIPELINE = 500
"""Commands; a longer pipeline holds others up."""

LARGE_REQUEST = 128 * 1024
"""Bytes; the same of what is sent."""

MOST_MOVES = 3
"""How often a call that was not sent moves on to another connection, if they break one after another."""

ASKED = ("PING",)
"""What is sent over a connection that has rested."""

_MOST_HEAVY = 1024

# A server that is busy is silent, too: only after so many times the patience of a caller is a path taken for dead.
_TIMES_SILENT = 3


class Heavy:
    """The commands whose last reply was large, by name and key."""

    def __init__(self) -> None:
        self.known: dict[Any, None] = {}

    def knows(self, entry: Entry) -> bool:
        """Whether its reply was large the last time."""
        return bool(self.known) and self._key(entry) in self.known

    def note(self, entry: Entry) -> None:
        """Its reply has come: remember it if that was large, else no longer."""
        key = self._key(entry)
        if key is None:
            return
        if not entry.large:
            self.known.pop(key, None)
            return
        self.known[key] = None
        if len(self.known) > _MOST_HEAVY:
            with contextlib.suppress(StopIteration, RuntimeError):  # other threads are at it
                self.known.pop(next(iter(self.known)), None)

    @staticmethod
    def _key(entry: Entry) -> Any:
        if type(entry.commands) is not tuple:
            return None
        key = entry.commands[:2]
        return key if all(isinstance(word, str | bytes | int) for word in key) else None


def sharing_names(also: Sequence[str]) -> frozenset[str]:
    """The names that are known to share at first sight: the table's, and what the user adds to it.

    Raises `ValueError` for a command that the table knows not to share.
    """
    names = [name.upper() for name in also]
    for name in names:
        if name in KNOWN and not commands.shares((name,)):
            raise ValueError(f"also_share={name!r}: this command needs a connection of its own")
    return commands.PLAIN | frozenset(names)


def shareable(connection_class: Any, template: Any) -> bool:
    """Whether connections of this class can be taken over: of redis-py's kind, with hiredis's parser."""
    parser = getattr(template, "_parser", None)
    return getattr(connection_class, "usual", False) and isinstance(parser, _HiredisParser | _AsyncHiredisParser)


def parser(connection: Any) -> tuple[hiredis.Reader, object]:
    """The connection's own parser, with whatever it holds already, and what it returns where that isn't enough."""
    return connection._parser._reader, NOT_ENOUGH_DATA


class Fate(Enum):
    """What is to be done about a shared connection, as far as one can tell by looking at it."""

    ASK = "it has rested for long, so that the server is asked for a word"
    RETIRE = "nobody needs it, or it has fallen silent: it takes nothing new"
    LOSE = "it has been silent for so long that it is dead"


def fate(core: MuxCore, now: float, patience: float, config: SharedConfig) -> Fate | None:
    """What is due by this look at it."""
    look = core.looked_at(now)
    pending = core.pending.copy()  # which goes on meanwhile
    probed = len(pending) == 1 and pending[0].commands is ASKED
    if look.silent >= (min(patience, ANSWER_WITHIN) if probed else _TIMES_SILENT * patience):
        return Fate.LOSE
    if look.silent >= patience:
        return Fate.RETIRE
    if config.max_idle_time is not None and look.unused >= config.max_idle_time and not config.min_idle:
        return Fate.RETIRE
    if config.ping_after_idle is not None and look.unheard >= config.ping_after_idle and not core.pending:
        return Fate.ASK
    return None


def fell_silent(connection: Any) -> RedisTimeoutError:
    """What those are told who wait on such a connection."""
    return RedisTimeoutError(f"nothing came back from {connection._host_error()} any more")


def too_late(limit: deadline, sent: bool) -> DeadlineExceeded:
    """What he is told whose deadline came."""
    how = "after the command was sent: it may have run" if sent else "before the command was sent"
    return DeadlineExceeded(f"the deadline of {limit.seconds:g} s came {how}", sent)


def interrupted() -> RedisConnectionError:
    """The same where whoever read or wrote for all was struck in the midst of it, and can't be seen any more."""
    return RedisConnectionError("the thread that read or wrote for all was interrupted")


def retired() -> RedisConnectionError:
    """The same where it was given back just before: nothing is sent over it any more."""
    return RedisConnectionError("the shared connection was given back")


def as_told(error: BaseException, connection: Any) -> BaseException:
    """What ended a shared connection, as redis-py would put it."""
    if isinstance(error, RedisConnectionError | RedisTimeoutError):
        return error
    if isinstance(error, EOFError):
        told = RedisConnectionError(SERVER_CLOSED_CONNECTION_ERROR)
    elif isinstance(error, OSError):
        told = RedisConnectionError(f"Error while talking to {connection._host_error()}: {error}")
    else:
        told = RedisConnectionError(f"a shared connection was given up: {error!r}")
    told.__cause__ = error
    return told


def lost(entry: Entry, error: BaseException, rule: str) -> BaseException:
    """What its caller is told whose command was sent over a connection that broke."""
    told = own_error(error)
    once = _must_run_once(entry.commands, rule)
    if once is not None and isinstance(told, Exception):
        explained = lost_reply(once, told)
        explained.__cause__ = told
        return explained
    return told


def late(entry: Entry, connection: Any, rule: str) -> BaseException:
    """What its caller is told whose reply didn't come in time."""
    return lost(entry, RedisTimeoutError(f"Timeout reading from {connection._host_error()}"), rule)


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


def may_start_over(entry: Entry, replies: Any, rule: str) -> bool:
    """Whether all that the entry says may be sent to the next master, where this one has refused some of it."""
    if type(entry.commands) is tuple or isinstance(replies[-1], ExecAbortError):
        return True
    ran = [args for args, reply in zip(entry.commands, replies, strict=True) if not isinstance(reply, ReadOnlyError)]
    return not ran or _must_run_once(ran, rule) is None


_SETTLED = (ReplyLost, DeadlineExceeded, PoolClosed, MaxConnectionsError)


def settled(error: object) -> bool:
    """Whether no other node is to be asked either: it may have run, its time is up, or the pool has refused it."""
    return isinstance(error, _SETTLED)
