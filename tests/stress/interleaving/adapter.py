"""What the explorer knows of the multiplexed connection."""

from __future__ import annotations

import sys
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any, ClassVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from redpool import threads
from redpool.core.config import MultiplexedConfig
from redpool.core.pool import PoolCore
from redpool.deadline import deadline
from redpool.errors import DeadlineExceeded, PoolTimeout
from redpool.redispy import multiplexed, packing, routing, sharing, sockets
from redpool.sync import connection, connections, role
from redpool.wire import pipeline

from .world import PATIENCE, Connection, Result, World

OPEN, LOST, DETACHED = pipeline.State.OPEN, pipeline.State.LOST, pipeline.State.DETACHED
_LATE = (DeadlineExceeded, PoolTimeout, RedisTimeoutError)


def deadline_in(world: World, seconds: float | None) -> Any:
    """Return an open deadline of the virtual clock."""
    if seconds is None:
        return None
    made = deadline(seconds)
    made.at, made.over = world.scheduler.now + seconds, False
    return made


def request(token: str) -> Any:
    command = ("ECHO", token)
    return pipeline.Request(command, packing.pack(command))


class One:
    """One multiplexed connection, and what the set does for it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.redis: Connection = world.connect()
        line = pipeline.Pipeline(*sharing.parser(self.redis), 4096, [0] * 4097)
        self.connection = connection.MultiplexedConnection(self.redis, line, PATIENCE)

    request = staticmethod(request)

    def end(self) -> None:
        """Do what the set does; only one thread gets beyond its list of those that are ending."""
        if self.connection.state is not OPEN and self.connection.end() and not self.redis.sock.returned:
            self.world.lend(self.redis)

    def call(self, request: Any, seconds: float | None) -> Result:
        try:
            in_time = self.connection.call(request, deadline_in(self.world, seconds))
        except BaseException:
            self.end()
            raise
        if not in_time:
            return Result("late", None, request.sent)
        result = Result("reply", request.replies, True) if request.done else Result("lost", None, request.sent)
        self.end()
        return result

    def send(self, request: Any) -> None:
        self.connection.send(request)

    def abandon(self, request: Any) -> None:
        self.connection.pipeline.abandon(request)

    def retire(self) -> None:
        self.connection.retire()
        self.end()

    def lose(self) -> None:
        self.connection.lose(RedisConnectionError("lost by another thread"))
        self.end()

    def look_after(self) -> None:
        if not self.redis.sock.returned:  # the set doesn't know it any more
            self.connection.look_after(self.world.scheduler.now)
            self.end()

    close = retire

    def is_lost(self) -> bool:
        return self.connection.state in (LOST, DETACHED)

    def is_done(self, request: Any) -> bool:
        return bool(request.done)


class Several:
    """The set of them."""

    def __init__(self, world: World) -> None:
        self.world = world
        config = MultiplexedConfig(max_connections=4, timeout=PATIENCE)
        self.core = PoolCore(config, 0.0, Random(1))
        home = SimpleNamespace(
            decodes=False,
            connect=lambda beside: world.connect(),
            release=world.lend,
            core=lambda: self.core,
            may_share=lambda: True,
            wake_maintenance=lambda: None,
            stand_in=lambda: None,
            reentered=lambda: False,
        )
        self.set = connections.MultiplexedConnections(config, home)
        self.sent: dict[Any, Any] = {}

    request = staticmethod(request)

    def call(self, request: Any, seconds: float | None) -> Result:
        try:
            reply = connections.ELSEWHERE if seconds is not None else self.set.ask(self.set.only, request.commands)
            if reply is connections.ELSEWHERE:
                reply = self.set.execute(request, deadline_in(self.world, seconds))
            return Result("reply", reply, True)
        except connections.Reentered:
            return Result("elsewhere", None, request.sent)
        except _LATE as error:
            return Result("late", error, getattr(error, "sent", None))
        except RedisConnectionError as error:
            return Result("lost", error, None)

    def send(self, request: Any) -> None:
        self.sent[request] = self.set.send(request)

    def abandon(self, request: Any) -> None:
        connection, sent = self.sent.pop(request)
        connection.pipeline.abandon(sent)

    def retire(self) -> None:
        self.set.retire_all()

    def lose(self) -> None:
        for each in self.set.in_use():
            each.lose(RedisConnectionError("lost by another thread"))

    def look_after(self) -> None:
        self.set.tick(self.world.scheduler.now)

    def close(self) -> None:
        self.set.shutdown()

    def is_lost(self) -> bool:
        return False

    def is_done(self, request: Any) -> bool:
        return bool(request.done)


def start(world: World, work: Any, name: str) -> None:
    """Start a thread of the pool's; before the run there is none yet."""
    if world.scheduler.running:
        world.scheduler.spawn(f"thread{len(world.scheduler.threads)}", work)
    else:
        work()


class _Adapter:
    """The parts that the explorer is given."""

    sources: ClassVar[list[str]] = [
        str(each.__file__) for each in (connection, connections, role, pipeline, routing, multiplexed)
    ]
    one, several = One, Several

    def patches(self, world: World) -> list[tuple[Any, str, Any]]:
        """Every module attribute by which these files reach a lock, a poll, or the clock."""
        return [
            (connection, "threading", world.threading),
            (connection, "_new_lock", world.threading.Lock),
            (connection, "_monotonic", world.clock),
            (connection, "_OF_SOCKETS", connection._OF_SOCKETS | {World.__module__}),
            (threads, "start", lambda work, name, *args: start(world, partial(work, *args), name)),
            (multiplexed, "_monotonic", world.clock),
            (routing, "_monotonic", world.clock),
            (sockets, "Poll", world.poll),
            (sockets, "backlog", lambda sock: 0),
            (role, "threading", world.threading),
            (connections, "threading", world.threading),
            (connections, "_monotonic", world.clock),
            (sys.modules["redpool.deadline"], "_monotonic", world.clock),
        ]


adapter = _Adapter()
