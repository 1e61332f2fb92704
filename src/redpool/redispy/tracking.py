"""What a connection knows of itself: what it has sent, what was answered, and how its session differs.

A connection may be used again only if everything that was sent over it was answered, and its session is as it was
made. redis-py doesn't know that, so its connection classes get a mixin that does. It must stay true that a command is
counted before its first byte can leave, a reply after its last byte has come, and that a disconnect clears the count
only when it is through: whatever interrupts the caller in between, the count then says "unanswered".

When a reply is lost, the count says whether the command may have run, and the table in `wire.commands` whether running
it once more would make a difference. If it would, the error is `ReplyLost`, which no retry policy gets to retry.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar

import hiredis
from redis.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..deadline import current, deadline
from ..errors import DeadlineExceeded, PoolTimeout, deadline_exceeded, reply_late, reply_lost
from ..wire import commands
from ..wire.session import RESTORING, Session
from . import naming, no_tls, retry, sockets
from .internals import CONNECTION_METHODS, is_finalizer, leaves, untouched

logger = logging.getLogger("redpool")

# redis-py's PubSub knows the answer to this from a message.
HEARTBEAT = PubSub.HEALTH_CHECK_MESSAGE

_SUBSCRIBED = frozenset({"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"})
# One for all: an empty frozenset of its own takes 216 bytes in CPython 3.11.
_NOTHING: frozenset[str] = frozenset()
# A server that says this has run nothing; redis-py has no class of its own for it.
SERVER_FULL = "max number of clients reached"


class Tracked:
    """What both kinds of connection know."""

    redis_pys: ClassVar[type]
    """redis-py's class at the bottom"""
    usual = True
    """whether no caller but redis-py has a say in how bytes are sent and read"""
    foreign = False
    """whether others than redis-py and redpool have a say in it"""
    made_of: ClassVar[type]
    """the class with which this was mixed"""
    replaced: ClassVar[staticmethod[[], bool]]
    """tells whether a method of it was replaced; asked at each command of a task"""
    unanswered = 0
    sent: Any = ()
    """what was sent last: a command as its caller gave it (a tuple), or a list of them"""
    plain = True
    """nothing below was ever touched: the session is as it was made, and no reply was lost"""
    session: Session | None = None
    cached = False
    """redis-py's client-side cache reads what no caller asked for: it needs the invalidations"""
    unread = False
    """something came with the last reply that no caller asked for"""
    lost = 0
    """how many replies were still to come when the connection broke, since it was handed out"""
    at_loss: frozenset[str] = _NOTHING
    """how the session differed before the last command that might change it"""
    session_before: frozenset[str] = _NOTHING
    """how the session differed that broke with them, before they were sent"""
    beat: tuple[float, float] | None = None
    """the last PING to a subscribed connection: what was known then of the last reply, and when it was sent"""
    reading = False
    """a caller waits for messages"""
    handing_over = False
    """its subscriber has left: it is done with"""
    ended = False
    """the pool was closed, and it was cut: its listener gets the error, and connects again only when it asks again"""
    pending_unsubscribes: frozenset[str] = _NOTHING
    """the subscriptions that it was left with"""
    asked: float | None = None
    """how long the command under way has asked the server to wait, in seconds"""
    counted_ahead = False
    """the command under way was counted before a class of others' got it, which may send it in another form"""
    handshaking = False
    """what is sent is the connection's own affair, not its caller's"""
    without_hello: set[Any] | None = None
    """the pool's: endpoints that refuse HELLO; `None` where RESP3 was asked for, so that nothing else will do"""
    tls_proof: no_tls.Proof | None = None
    """the pool's: whether its server speaks TLS; `None` where that is not to be asked"""
    starting_over = False
    """a command that a replica has refused is under way once more"""
    multiplexed = False
    """callers share it, so that its socket has no timeout of its own"""
    shaped = False
    """RESP2 is spoken where RESP3 was expected, so that replies are put into RESP3's shape"""
    namer: Callable[[], str] | None = None
    """returns what the pool calls it; `None` where its user has named it, or wants no name"""
    name_due: str | None = None
    """what it is to be called by the handshake under way"""
    given_name = ""
    """what the server calls it, where the pool has named it"""
    _pipeline: tuple[list[Any], list[Any]] | None = None
    readable: sockets.Readable = staticmethod(sockets.unknown)
    """called with 0: whether there is anything to receive over its socket"""
    _redpool: Any = None  # its lease, with the engine and the slot that it belongs to

    db: Any
    client_name: Any
    if TYPE_CHECKING:
        host: Any
        port: Any
        health_check_interval: Any
        protocol: Any
        is_connected: Any
        next_health_check: Any

    @classmethod
    def look_at_methods(cls) -> None:
        """Find out anew whether it is `usual` and `foreign`: a method may have been replaced since."""
        owner, base = cls.made_of, cls.redis_pys
        foreign = not untouched(owner, CONNECTION_METHODS)
        usual = not foreign and all(
            getattr(owner, name, None) is getattr(base, name, None) for name in CONNECTION_METHODS
        )
        if (cls.foreign, cls.usual) != (foreign, usual):
            cls.foreign, cls.usual = foreign, usual

    # -- the handshake -----------------------------------------------------------------------------------------------

    def write_aside(self, packed: bytes) -> bool:
        """Write what no caller has asked for, where that can be done without waiting; return whether it was."""
        raise NotImplementedError

    # -- what is sent ------------------------------------------------------------------------------------------------

    def pack_commands(self, commands: Iterable[Any]) -> list[Any]:
        """As in redis-py; remembers the commands, since their packed form doesn't tell them apart."""
        commands = list(commands)
        packed: list[Any] = super().pack_commands(commands)  # type: ignore[misc]  # of the class beside it
        self._pipeline = (packed, commands)
        return packed

    def _commands_in(self, packed: Any) -> list[Any]:
        """Return the commands in what was packed elsewhere, which is parsed where it isn't the last pipeline."""
        pipeline, self._pipeline = self._pipeline, None
        return pipeline[1] if pipeline is not None and pipeline[0] is packed else _unpacked(packed)

    def _note_unusual(self, args: Any) -> None:
        """Take in what may block, or may change the session: one command, or several."""
        self.at_loss = self._differences()
        if type(args) is tuple:
            self._note_one(args)
            return
        for each in args:
            if each[0] not in commands.PLAIN:
                self._note_one(each)

    def _note_one(self, args: Sequence[Any]) -> None:
        name = commands.command_name(args)
        if not self.handshaking or name.endswith("SUBSCRIBE"):
            session = self.session or Session(self.db, self.client_name or self.given_name)
            session.note(args)
            if not session.clean:
                self.session, self.plain = session, False
        elif self.name_due is not None:
            naming.send(self, name)
        if name == "PING" and self.subscribed and self._fell_silent():
            self._break_off()
        blocks = commands.blocks_for(args)
        if blocks is not None:
            self.asked = blocks + (self.asked or 0.0)

    def _note_refused(self) -> None:
        """Note that the server has refused something: what was to restore the session may not have done so."""
        several = self.sent if isinstance(self.sent, list) else [self.sent]
        if self.session is not None and any(commands.command_name(args) in RESTORING for args in several):
            self.session.note(("RESET",))

    def _differences(self) -> frozenset[str]:
        """How the session differs, subscriptions aside, which come back by themselves."""
        return _NOTHING if self.session is None else self.session.changed - _SUBSCRIBED

    @property
    def subscribed(self) -> bool:
        """Whether there was a subscription that no caller ended."""
        return self.session is not None and not self.session.changed.isdisjoint(_SUBSCRIBED)

    def may_hand_over(self, frame: FrameType) -> bool:
        """Return whether it is its subscriber that leaves, and the connection could go on to others."""
        if not self.subscribed or self.reading or self.ended or self.protocol not in (3, "3") or not leaves(frame):
            return False
        engine = None if self._redpool is None else self._redpool.engine
        return engine is not None and engine.lends(self) and not self.received()

    def take_socket(self) -> None:
        """Find the shortest way to use what it got from another connection; an event loop knows no other."""

    def received(self) -> bool:
        """Return whether anything has come in that no caller has read."""
        raise NotImplementedError

    def _look_behind(self, parser: Any) -> None:
        """All that was asked for is answered: what the parser still has is a push, or belongs to no caller."""
        try:
            more = parser._reader.has_data()
        except AttributeError:
            more = _has_bytes(parser)
        if more and not self.cached:
            self.unread, self.plain = True, False

    def only_unread(self) -> bool:
        """Return whether nothing speaks against it but what no caller has read: pushes, perhaps."""
        if not self.unread or self.unanswered or self.protocol not in (3, "3"):
            return False
        self.unread = False
        return self.as_it_was_made() and bool(self.is_connected)

    def settled(self) -> None:
        """Note that what was sent has been answered, by pushes, too."""
        self.unanswered, self.pending_unsubscribes = 0, _NOTHING

    def as_it_was_made(self) -> bool:
        """Return whether nothing keeps the connection from being used again; it is asked where it isn't `plain`."""
        if self._redpool is not None and self._redpool.slot is not None and is_finalizer(sys._getframe(2)):
            self._redpool.engine.collected(self._redpool.slot)
        if self.unread or (self.session is not None and not self.session.clean):
            return False
        self.session, self.lost, self.plain = None, 0, True
        self.session_before = _NOTHING
        return True

    def _begin_session(self) -> None:
        """Begin a new session: the connection was closed, and whatever was still to come is lost."""
        if self.unanswered and not self.handshaking:
            self.lost, self.plain = self.unanswered, False
            ordinary = type(self.sent) is tuple and self.sent[:1] and self.sent[0] in commands.PLAIN
            self.session_before = self._differences() if ordinary else self.at_loss
        self.unanswered = 0
        self.session = self.asked = None
        self.readable = sockets.unknown  # its descriptor may be another socket's by now
        if self.unread:
            self.unread = False

    def _reconnects_for(self) -> Any:
        """Return the engine to ask before the connection is opened anew; `None` where the engine opens it itself."""
        if self.handing_over:
            raise RedisConnectionError("the subscriber has left")
        return None if self._redpool is None or self.handshaking else self._redpool.engine

    def _no_turn(self, error: PoolTimeout) -> BaseException:
        """Return what the caller gets whose turn to connect did not come in time."""
        limit = current()
        return self._late(limit) if limit is not None and limit.reached() else error

    # -- how long it may take ----------------------------------------------------------------------------------------

    def _time_for_reply(self, timeout: float | None) -> float | None:
        """Seconds, `None` for ever: what the server was asked to take comes on top of what a reply may take."""
        asked = self.asked or 0.0
        if timeout is None or asked == math.inf:
            return None
        return timeout + asked

    def _check_deadline(self, limit: deadline) -> None:
        """Nothing is begun after the deadline."""
        if limit.reached():
            raise self._late(limit)

    def _late(self, limit: deadline) -> DeadlineExceeded:
        own_affair = self.handshaking or self.subscribed  # confirmations of subscriptions aren't counted
        sent = bool(self.lost or (self.unanswered and not own_affair))
        return deadline_exceeded(limit.seconds, sent)

    def _fell_silent(self) -> bool:
        """Return whether nothing at all has come since the last PING, for as long as the interval between two of them.

        A subscribed connection says little by itself, so that this is how a dead path shows.
        """
        known, now = self.next_health_check, time.monotonic()
        if self.beat is None or self.beat[0] != known:
            self.beat = (known, now)
            return False
        if now - self.beat[1] < self.health_check_interval:
            return False
        self.beat = None
        logger.warning("a subscribed connection has fallen silent: it is opened anew, and subscribes again")
        return True

    def _break_off(self) -> None:
        """Close the connection at once."""
        raise NotImplementedError

    def _starts_over(self, error: ResponseError) -> bool:
        """Return whether a command is to be sent again over a new connection, since a replica has refused this write.

        It is, once, where it stands alone and the session is as it was made. Other connections are replaced, too.
        """
        reference = self._redpool
        if not isinstance(error, ReadOnlyError) or reference is None or reference.slot is None or self.handshaking:
            return False
        alone = type(self.sent) is tuple and not self.unanswered and not self.starting_over
        again = alone and not self._differences() and commands.undone_where_refused(self.sent)
        return bool(reference.engine.refused_write(reference.slot, again)) and again

    # -- what went wrong ---------------------------------------------------------------------------------------------

    def _is_end(self, error: Exception) -> bool:
        """Return whether the pool has ended its listener: no policy answers the error; the next call connects anew."""
        if not self.ended:
            return False
        self.ended = False
        retry.final(error)
        self._break_off()
        return True

    def _explain(self, error: Exception) -> None:
        """Raise what says more than `error`: that the deadline came, or that the command may have run."""
        if self.ended and self._is_end(error):
            return
        limit = current()
        if limit is not None and limit.reached() and not isinstance(error, DeadlineExceeded):
            raise self._late(limit) from error
        if self.handshaking or not (self.lost or self.unanswered) or _is_answer(error):
            return
        once = self._must_run_once()
        if once is not None:
            raise reply_lost(commands.command_name(once), error) from error
        late = isinstance(error, RedisTimeoutError) and not self.subscribed
        if late and self._redpool is not None and not self._redpool.engine.may_send_again():
            raise reply_late(commands.first_name(self.sent), error) from error

    def _must_run_once(self) -> Sequence[Any] | None:
        """Return the first of the commands sent that must not be sent again, by the pool's `retry_sent`."""
        rule = "safe" if self._redpool is None else self._redpool.engine.retry_sent
        several: list[Sequence[Any]] = self.sent if isinstance(self.sent, list) else [self.sent]
        if rule == "all" or not several or not several[0]:
            return None
        if rule == "none" or self.session_before - {"WATCH"}:
            return several[0]  # the session in which it made sense is gone
        if "WATCH" in self.session_before and not _only_looks(several):
            return several[0]
        return commands.first_unrepeatable(several)


def _only_looks(several: list[Sequence[Any]]) -> bool:
    """Return whether redis-py may call it a `WatchError`, after which its callers begin again: nothing was done."""
    return all(commands.read_only(args) or commands.command_name(args) in ("WATCH", "UNWATCH") for args in several)


def _has_bytes(parser: Any) -> bool:
    buffer = getattr(parser, "_buffer", None)  # that of a parser in Python
    unread = getattr(buffer, "unread_bytes", None)
    return bool(unread()) if unread is not None else bool(buffer)


def _is_answer(error: Exception) -> bool:
    """Return whether the server itself said so, which means that it ran nothing."""
    return type(error) not in (RedisConnectionError, RedisTimeoutError) or str(error) == SERVER_FULL


def _unpacked(packed: Any) -> list[Any]:
    reader = hiredis.Reader()
    for piece in [packed] if isinstance(packed, str | bytes | memoryview) else packed:
        reader.feed(piece.encode() if isinstance(piece, str) else bytes(piece))
    several = []
    try:
        while isinstance(args := reader.gets(), list) and args:
            several.append(args)
    except hiredis.HiredisError:
        pass
    return several or [(b"",)]
