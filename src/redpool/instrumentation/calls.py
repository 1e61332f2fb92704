"""Follow calls of clients over redpool's pools: what each is, what it waits for, and how it ends.

`follow` wraps methods of the clients, and of what they call; until then, and after `leave`, nothing of this is in any
call's way. The clients keep their shorter way: they take what is wrapped here for their own (`look_again`). Where
others have wrapped redis-py's clients before, these stay as they are; redpool's are wrapped all the same.

A call is followed from the outermost method: what that calls in turn belongs to it. The call under way is in a
`ContextVar`, which holds for threads and for tasks.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from importlib import import_module
from typing import Any, Protocol

from ..wire.loop_pipeline import LoopPipeline
from ..wire.pipeline import Pipeline, Request

_monotonic = time.monotonic

# Of these redis-py has two words in one, the second of which is no key either.
_WITH_SUBCOMMANDS = frozenset({
    "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "FUNCTION", "LATENCY", "MEMORY", "MODULE", "OBJECT",
    "PUBSUB", "SCRIPT", "SLOWLOG", "XGROUP", "XINFO",
})  # fmt: skip

EDITIONS = ("redpool", "redpool.valkey")
"""The packages over redis-py and over valkey-py."""


class Write:
    """One of a call's requests, which went out among others' over a shared connection."""

    __slots__ = ("at", "batch", "queued")

    def __init__(self, at: float, queued: float, batch: int) -> None:
        self.at, self.queued = at, queued
        self.batch = batch
        """how many commands were written together"""


class Call(Protocol):
    """What follows one call. All times are in seconds, those `at` which something was are `time.monotonic()`."""

    detailed: bool
    """whether anything is to be noted between its beginning and its end"""
    over: bool
    """whether it has ended: what it has begun, such as a task, may go on in its context"""
    future: Any
    """in which the reply to an ordinary call of a task comes"""

    def waited(self, seconds: float) -> None:
        """Note that it has waited for a connection."""

    def connected(self, seconds: float | None, at: float) -> None:
        """Note that a connection was connected for it, at this time; `None`: how long that took isn't known."""

    def written(self, write: Write) -> None:
        """Note that its request has gone out. That is where the thread or task is that writes for all."""

    def ended(self, error: BaseException | None) -> None:
        """Note that it is over, and with which error."""


Begin = Callable[[Any, str, int, int], "Call | None"]
"""Begins to follow a call of a client or pipeline, by its name, of so many commands and words; `None`: not this one."""

_current: ContextVar[Call | None] = ContextVar("redpool_call", default=None)
_took: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()  # how long each connection took to connect
_taking = threading.local()  # what the thread takes out of a queue just now
_undo: list[tuple[Any, str, Any, Any]] = []  # what is wrapped: of which owner, by which name, what it was and is now
_following = threading.Lock()
_followed: set[str] = set()  # the packages whose methods are wrapped
_begin: Begin | None = None


def follow(begin: Begin) -> None:
    """Have each call of a client over redpool's pools followed from now on, by this alone."""
    global _begin  # noqa: PLW0603  it belongs to the process, as the clients' classes do
    with _following:
        _begin = begin
        if not _followed:
            _follow_requests()
        for package in EDITIONS:
            if package in sys.modules and package not in _followed:
                _followed.add(package)
                _follow_clients(package)
                _follow_waits(package)


def leave() -> None:
    """Follow no call from now on; a call that is under way is followed to its end."""
    global _begin  # noqa: PLW0603  the same
    with _following:
        _begin = None
        _followed.clear()
        for owner, name, before, now in reversed(_undo):
            if vars(owner).get(name) is now:  # else others have wrapped it since: it does nothing from now on
                setattr(owner, name, before)
        _undo.clear()
        _look_again()


def _wrap(owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
    before = vars(owner)[name]
    now = wrap(before)
    _undo.append((owner, name, before, now))
    setattr(owner, name, now)


# -- clients -----------------------------------------------------------------------------------------------------------


def _follow_clients(package: str) -> None:
    internals = import_module(f"{package}.redispy.internals")
    for shell, wrapper in (("sync", _by_thread), ("asyncio", _by_task)):
        client = import_module(f"{package}.{shell}.client")
        cluster = import_module(f"{package}.{shell}.cluster")
        command, batch = functools.partial(wrapper, _one), functools.partial(wrapper, _several)
        _wrap(client.Redis, "execute_command", command)
        _wrap(client.Pipeline, "execute", batch)
        _wrap(cluster.RedisCluster, "execute_command", command)
        for owner, name, wrap in (
            (client.Redis.__bases__[-1], "execute_command", command),
            (client.Pipeline.__bases__[-1], "execute", batch),
            (client.Pipeline.__bases__[-1], "immediate_execute_command", command),
            (cluster.theirs.ClusterPipeline, "execute", batch),
        ):
            if internals.is_own(getattr(owner, name)):
                _wrap(owner, name, wrap)
    _look_again()


def _look_again() -> None:
    for package in EDITIONS:
        for shell in ("sync", "asyncio"):
            client = sys.modules.get(f"{package}.{shell}.client")
            if client is not None:
                client.look_again()


def _one(_client: Any, args: tuple[Any, ...]) -> tuple[str, int, int] | None:
    return _name(args[0]) if args else "", 1, len(args)


def _several(pipe: Any, _args: tuple[Any, ...]) -> tuple[str, int, int] | None:
    if hasattr(pipe, "connection_pool"):
        commands = [args for args, _ in pipe.command_stack]
        own = vars(pipe)  # for threads, redis-py's attribute hides a method of that name
        transaction = own.get("transaction", own.get("is_transaction")) or pipe.explicit_transaction
    else:  # a cluster's has its commands in a strategy, from redis-py 6.2 on
        strategy = getattr(pipe, "_execution_strategy", None)
        commands = [each.args for each in getattr(strategy, "_command_queue", ())]
        transaction = "Transaction" in type(strategy).__name__
    if not commands:
        return None
    kind, names = "MULTI" if transaction else "PIPELINE", {_name(args[0]) for args in commands}
    return f"{kind} {names.pop()}" if len(names) == 1 else kind, len(commands), sum(map(len, commands))


def _name(word: Any) -> str:
    """Return the name of a command that begins with this; a user may have written all of the command in it."""
    text = word if type(word) is str else word.decode(errors="replace") if isinstance(word, bytes) else str(word)
    if text.isalpha():
        return text.upper()
    first, *more = text.upper().split()[:2] or [""]
    return " ".join((first, *more)) if first in _WITH_SUBCOMMANDS else first


def _begun(describe: Any, client: Any, args: tuple[Any, ...]) -> Call | None:
    """Return what follows the call; `None` where none does: it belongs to another one, or is none to follow."""
    begin, call = _begin, _current.get()
    if begin is None or (call is not None and not call.over):
        return None
    described = describe(client, args)
    return None if described is None else begin(client, *described)


def _by_thread(describe: Any, method: Any) -> Any:
    @functools.wraps(method)
    def call(client: Any, *args: Any, **options: Any) -> Any:
        followed = _begun(describe, client, args)
        if followed is None:
            return method(client, *args, **options)
        try:
            _current.set(followed)
            reply = method(client, *args, **options)
        except BaseException as error:
            followed.ended(error)
            raise
        finally:
            followed.over = True
            _current.set(None)
        followed.ended(None)
        return reply

    return call


def _by_task(describe: Any, method: Any) -> Any:
    @functools.wraps(method)
    async def call(client: Any, *args: Any, **options: Any) -> Any:
        followed = _begun(describe, client, args)
        if followed is None:
            return await method(client, *args, **options)
        try:
            _current.set(followed)
            reply = await method(client, *args, **options)
        except BaseException as error:
            followed.ended(error)
            raise
        finally:
            followed.over = True
            _current.set(None)
            if followed.future is not None:
                _asked.pop(followed.future, None)
        followed.ended(None)
        return reply

    return call


# -- what calls wait for -----------------------------------------------------------------------------------------------


def _detailed() -> Call | None:
    call = _current.get()
    return call if call is not None and call.detailed and not call.over else None


def _follow_waits(package: str) -> None:
    _wrap(import_module(f"{package}.core.pool").PoolCore, "connected", _noting_connects)
    _wrap(import_module(f"{package}.redispy.engine_base").EngineBase, "connect_ended", _ending_connects)
    sync, loop = import_module(f"{package}.sync.engine"), import_module(f"{package}.asyncio.engine")
    _wrap(sync.Engine, "wait", _waiting)
    _wrap(loop.Engine, "wait", _waiting_task)
    _wrap(sync.Engine, "turn_to_connect", _awaiting_turn)
    _wrap(loop.Engine, "turn_to_connect", _awaiting_turn_task)
    shared = import_module(f"{package}.sync.connections").MultiplexedConnections
    _wrap(shared, "_await_connection", _awaiting_shared)
    shared = import_module(f"{package}.asyncio.connections").MultiplexedConnections
    _wrap(shared, "_await_connection", _awaiting_shared_task)
    _wrap(shared, "ask", _asking)


def _noting_connects(method: Any) -> Any:
    @functools.wraps(method)
    def connected(core: Any, slot: Any, connection: Any, now: float) -> None:
        with contextlib.suppress(TypeError):  # another's class, of which there are no weak references
            _took[connection] = now - slot.since
        method(core, slot, connection, now)

    return connected


def _note_wait(call: Call, since: float, slot: Any, connection: Any) -> None:
    """Note a wait that has ended, and with which connection, in which slot, if with any."""
    call.waited(_monotonic() - since)
    if slot is not None and slot.connected_at >= since:
        call.connected(_took.get(connection), slot.connected_at)


def _waiting(method: Any) -> Any:
    @functools.wraps(method)
    def wait(engine: Any, ticket: Any) -> Any:
        call, slot = _detailed(), None
        if call is None:
            return method(engine, ticket)
        try:
            slot = method(engine, ticket)
            return slot
        finally:
            _note_wait(call, ticket.since, slot, None if slot is None else slot.connection)

    return wait


def _waiting_task(method: Any) -> Any:
    @functools.wraps(method)
    async def wait(engine: Any, ticket: Any) -> Any:
        call, slot = _detailed(), None
        if call is None:
            return await method(engine, ticket)
        try:
            slot = await method(engine, ticket)
            return slot
        finally:
            _note_wait(call, ticket.since, slot, None if slot is None else slot.connection)

    return wait


def _awaiting_shared(method: Any) -> Any:
    @functools.wraps(method)
    def await_connection(multiplexed: Any, request: Any) -> Any:
        call, since, found = _detailed(), _monotonic(), None
        if call is None:
            return method(multiplexed, request)
        try:
            found = method(multiplexed, request)
            return found
        finally:
            _note_shared(call, since, request, found)

    return await_connection


def _awaiting_shared_task(method: Any) -> Any:
    @functools.wraps(method)
    async def await_connection(multiplexed: Any, request: Any) -> Any:
        call, since, found = _detailed(), _monotonic(), None
        if call is None:
            return await method(multiplexed, request)
        try:
            found = await method(multiplexed, request)
            return found
        finally:
            _note_shared(call, since, request, found)

    return await_connection


def _note_shared(call: Call, since: float, request: Any, found: Any) -> None:
    if type(request) is _Followed:  # it is queued from now on
        request.made_at = _monotonic()
    _note_wait(call, since, _slot_of(found), None if found is None else found.connection)


def _slot_of(found: Any) -> Any:
    reference = None if found is None else getattr(found.connection, "_redpool", None)
    return None if reference is None else reference.slot


# A connection on lease whose server has hung up is connected anew by its borrower, which waits for its turn first.


def _awaiting_turn(method: Any) -> Any:
    @functools.wraps(method)
    def turn_to_connect(engine: Any) -> Any:
        call, since = _detailed(), _monotonic()
        ticket = method(engine)
        return ticket if call is None else _note_turn(call, since, ticket)

    return turn_to_connect


def _awaiting_turn_task(method: Any) -> Any:
    @functools.wraps(method)
    async def turn_to_connect(engine: Any) -> Any:
        call, since = _detailed(), _monotonic()
        ticket = await method(engine)
        return ticket if call is None else _note_turn(call, since, ticket)

    return turn_to_connect


_turns: ContextVar[float] = ContextVar("redpool_turn", default=0.0)


def _note_turn(call: Call, since: float, ticket: Any) -> Any:
    now = _monotonic()
    call.waited(now - since)
    _turns.set(now)
    return ticket


def _ending_connects(method: Any) -> Any:
    @functools.wraps(method)
    def connect_ended(engine: Any, ticket: Any, error: BaseException | None, interrupted: bool = False) -> None:
        call, now = _detailed(), _monotonic()
        if call is not None and error is None and not interrupted:
            call.connected(now - _turns.get(), now)
        method(engine, ticket, error, interrupted)

    return connect_ended


# -- requests over shared connections ----------------------------------------------------------------------------------


_asked: dict[Any, tuple[Call, float]] = {}  # tasks' ordinary calls that are queued, by their futures: since when


def _asking(method: Any) -> Any:
    @functools.wraps(method)
    def ask(multiplexed: Any, args: tuple[Any, ...]) -> Any:
        future, call = method(multiplexed, args), _detailed()
        if call is not None and future is not None:
            now = _monotonic()
            if multiplexed.turn is None:  # it was alone, and is written already
                call.written(Write(now, 0.0, 1))
            else:
                call.future, _asked[future] = future, (call, now)
        return future

    return ask


def _follow_requests() -> None:
    _wrap(Request, "__init__", _making)
    _wrap(Pipeline, "take", _taking_out)
    _wrap(LoopPipeline, "take", _taking_out_of_loop)


class _Sent:
    """`Request.sent` of a request whose call hears of it."""

    def __get__(self, request: Any, _: Any = None) -> Any:
        return False if request is None else vars(request).get("sent", False)

    def __set__(self, request: Any, value: bool) -> None:
        vars(request)["sent"] = value
        if value:
            now = _monotonic()
            write = Write(now, now - request.made_at, request.expects or 1)
            request.call.written(write)
            taken = getattr(_taking, "writes", None)
            if taken is not None:
                taken.append(write)


class _Followed(Request):
    """A request of a call that is followed in detail."""

    sent: Any = _Sent()
    call: Call
    made_at: float


def _making(method: Any) -> Any:
    @functools.wraps(method)
    def init(request: Any, commands: Any, data: bytes, expects: int = 0, decode: bool = True) -> None:
        method(request, commands, data, expects, decode)
        call = _detailed()
        if call is not None:
            request.__class__ = _Followed
            request.call, request.made_at = call, _monotonic()

    return init


def _taking_out(method: Any) -> Any:
    @functools.wraps(method)
    def take(pipeline: Any) -> bytes:
        before, taken = pipeline.written, list[Write]()
        try:
            _taking.writes = taken
            data: bytes = method(pipeline)
        finally:
            _taking.writes = None
        if taken:
            _tell(taken, pipeline.written - before)
        return data

    return take


def _taking_out_of_loop(method: Any) -> Any:
    by_requests = _taking_out(method)

    @functools.wraps(method)
    def take(pipeline: Any) -> bytes:
        before, count = len(pipeline.pending), pipeline.written
        data: bytes = by_requests(pipeline)
        if _asked and data:
            taken = itertools.islice(reversed(pipeline.pending), len(pipeline.pending) - before)
            _tell_asked(taken, pipeline.written - count)
        return data

    return take


def _tell(writes: list[Write], commands: int) -> None:
    for write in writes:
        write.batch = commands


def _tell_asked(entries: Iterable[Any], commands: int) -> None:
    now = _monotonic()
    for entry in entries:
        if type(entry) is tuple and (asked := _asked.pop(entry[0], None)) is not None:
            call, since = asked
            call.written(Write(now, now - since, commands))
