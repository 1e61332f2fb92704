"""Whatever bytecode of a checkout, a release or a shared call an exception comes before, no slot is lost.

Where the handler of a signal could raise, it is tried (over shared connections at some of the places); with `SOAK` set,
every other bytecode is, too.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

import redpool
from support.faces import eventually
from support.interrupting import Interrupter, Place

PATIENCE = 10.0  # seconds
EVERY_BYTECODE = "SOAK" in os.environ


class Quiet(redis.Connection):
    """A connection that needs no server, since nothing is asked over it."""

    def _connect(self) -> socket.socket:
        ours, self.other_end = socket.socketpair()
        return ours

    def on_connect_check_health(self, check_health: bool = True) -> None:
        self._parser.on_connect(self)

    def on_connect(self) -> None:  # what redis-py before 6.0 calls
        self._parser.on_connect(self)

    def disconnect(self, *args: Any, **kwargs: Any) -> None:
        super().disconnect(*args, **kwargs)
        if hasattr(self, "other_end"):
            self.other_end.close()


class Answering(Quiet):
    """The same where every command is a PING, and is answered."""

    def _connect(self) -> socket.socket:
        sock = super()._connect()
        threading.Thread(target=self._answer, args=(self.other_end,), daemon=True).start()
        return sock

    @staticmethod
    def _answer(other_end: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while asked := other_end.recv(65536):
                other_end.sendall(b"+PONG\r\n" * asked.count(b"PING"))


class Scene:
    """A pool, someone who is interrupted, and perhaps another caller with whom it has to do."""

    size = 2
    warm = True
    stride = (
        1  # where the maintenance thread makes good what was lost, each place takes a second: not all are tried at once
    )

    def __init__(self) -> None:
        self.pool = self.make_pool()
        self.faults: list[str] = []
        self.other: threading.Thread | None = None
        if self.warm:
            self.pool.warm_up(1)
            # The thread that has connected it may hold on to a connection for a moment.
            assert eventually(lambda: not connector())
        self.prepare()

    def make_pool(self) -> redpool.ConnectionPool:
        """The pool."""
        return redpool.ConnectionPool(Quiet, max_connections=self.size, timeout=PATIENCE)

    def prepare(self) -> None:
        """What comes before."""

    def go_on(self) -> None:
        """What comes after."""

    def act(self) -> None:
        """What is interrupted."""
        self.pool.release(self.pool.get_connection())

    def beside(self, act: Callable[[], None]) -> None:
        """Have another caller do something, who must come through unharmed."""

        def doing() -> None:
            try:
                act()
            except BaseException as error:
                self.faults.append(f"another caller: {error!r}")

        self.other = threading.Thread(target=doing, daemon=True)
        self.other.start()

    def take_and_return(self) -> None:
        """As any caller does."""
        connection = self.pool.get_connection()
        assert connection is not None
        self.pool.release(connection)


class IdleOne(Scene):
    """A connection is idle."""


class NoneOpen(Scene):
    """A connection is connected for the caller, by another thread."""

    warm = False


class CameBackDirty(Scene):
    """A connection comes back with a command unanswered, and is closed."""

    def act(self) -> None:
        connection = self.pool.get_connection()
        connection.send_command("PING")
        self.pool.release(connection)


class SetAside(Scene):
    """An idle connection is kept from callers for a moment, as client-side caching does that reads from it."""

    size = 1

    def act(self) -> None:
        (slot,) = self.pool._engine.core.slots
        with self.pool._engine.set_aside(slot) as alone:
            assert alone


class LookedAt(Scene):
    """A connection has been idle, so that its socket is looked at."""

    def make_pool(self) -> redpool.ConnectionPool:
        return redpool.ConnectionPool(Quiet, max_connections=self.size, timeout=PATIENCE, validate_after_idle=0.0)


class Dropped(Scene):
    """A connection is dropped instead of released."""

    def act(self) -> None:
        connection = self.pool.get_connection()
        del connection
        gc.collect()


class HandsOver(Scene):
    """The connection that is released is another caller's at once."""

    size = 1

    def prepare(self) -> None:
        self.held = [self.pool.get_connection()]
        self.beside(self.take_and_return)
        while not self.pool.stats().waiting:
            time.sleep(0.0001)

    def act(self) -> None:
        self.pool.release(self.held.pop())


class IsHandedTo(Scene):
    """The caller waits for the connection that another caller releases."""

    size = 1

    def prepare(self) -> None:
        connection, self.interrupted = self.pool.get_connection(), threading.Event()

        def hold() -> None:
            while not self.pool._engine.core.queue and not self.interrupted.is_set():
                time.sleep(0.0001)
            self.pool.release(connection)

        self.beside(hold)


class Shares(Scene):
    """A connection is shared, and no other caller uses it now."""

    def make_pool(self) -> redpool.ConnectionPool:
        pool = redpool.MultiplexedConnectionPool(Answering, max_connections=self.size, timeout=PATIENCE)
        self.client = self.make_client(pool)
        return pool

    def make_client(self, pool: redpool.ConnectionPool) -> redis.Redis:
        """The client: redis-py's or ours."""
        return redpool.Redis(connection_pool=pool)

    def prepare(self) -> None:
        self.client.ping()

    def go_on(self) -> None:
        assert self.client.ping()

    def act(self) -> None:
        self.client.ping()


class SharesByLease(Shares):
    """The same below redis-py's own client."""

    def make_client(self, pool: redpool.ConnectionPool) -> redis.Redis:
        return redis.Redis(connection_pool=pool)


class OpensShared(Shares):
    """The first caller that shares opens the connection."""

    warm = False
    stride = 3

    def prepare(self) -> None:
        pass


class RetiresShared(Shares):
    """The owner has the shared connection replaced."""

    stride = 9

    def act(self) -> None:
        self.pool.drain()


class ReadsForOthers(Shares):
    """Another caller waits for a reply, too, and reads or is read for."""

    stride = 2

    def act(self) -> None:
        self.beside(self.ask)
        self.client.ping()

    def ask(self) -> None:
        """As others do: they may lose a connection, but nothing else."""
        with contextlib.suppress(redis.ConnectionError):
            self.client.ping()


SCENES: list[type[Scene]] = [
    IdleOne, NoneOpen, CameBackDirty, SetAside, LookedAt, Dropped, HandsOver, IsHandedTo,
    Shares, SharesByLease, OpensShared, RetiresShared, ReadsForOthers,
]  # fmt: skip


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.usefixtures("interrupted_anywhere")
def test_an_interruption_anywhere_loses_nothing(scene: type[Scene]) -> None:
    """Afterwards nothing is in use or on its way, and all that the pool may open can be had at once."""
    losses = [f"{n}: {place}: {faults}" for n, place in places(scene) if (faults := interrupt(scene, n))]
    if losses:
        pytest.fail("\n".join(losses), pytrace=False)


@pytest.mark.parametrize("scene", [IdleOne, HandsOver, IsHandedTo])
@pytest.mark.usefixtures("interrupted_anywhere")
def test_a_second_interruption_on_the_way_out_loses_nothing(scene: type[Scene]) -> None:
    """Wherever the first one found the caller, and wherever the second finds it while it takes back what it did."""
    first = [n for n, place in places(scene) if place.possible]
    losses = []
    for n in first if EVERY_BYTECODE else first[:: len(first) // 4]:
        for second, place in places_on_the_way_out(scene, n):
            if faults := interrupted(*way_out(scene, n, second)):
                losses.append(f"{n} and {second}: {place}: {faults}")
                break  # each takes seconds
    if losses:
        pytest.fail("\n".join(losses), pytrace=False)


def places_on_the_way_out(scene: type[Scene], n: int) -> Iterator[tuple[int, Place]]:
    """Where a second interruption may come."""
    stage, interrupter = way_out(scene, n)
    interrupted(stage, interrupter)
    possible = [(second, place) for second, place in enumerate(interrupter.places[n:], n + 1) if place.possible]
    yield from possible if EVERY_BYTECODE else possible[::6]


def way_out(scene: type[Scene], *interruptions: int) -> tuple[Scene, Interrupter]:
    """A scene, and an interrupter that after the first interruption goes on in the code that undoes things."""
    stage, interrupter = scene(), Interrupter(*interruptions)
    engine = stage.pool._engine
    for taking_back in ("abandon", "wake_maintenance"):
        setattr(engine, taking_back, resumed(interrupter, getattr(engine, taking_back)))
    return stage, interrupter


def resumed(interrupter: Interrupter, call: Callable[..., None]) -> Callable[..., None]:
    """`call`, in which interruptions are counted anew."""

    def called(*args: object) -> None:
        interrupter.resume()
        call(*args)

    return called


def places(scene: type[Scene]) -> Iterator[tuple[int, Place]]:
    """Where to come, by a run without."""
    stage, interrupter = scene(), Interrupter()
    interrupter.run(stage.act)
    settle(stage)
    found = [(n, place) for n, place in enumerate(interrupter.places, 1) if place.possible or EVERY_BYTECODE]
    assert found, "no bytecode was traced"
    yield from found[:: 1 if EVERY_BYTECODE else scene.stride]


def interrupt(scene: type[Scene], n: int) -> list[str]:
    """What was lost by an interruption at the n-th bytecode."""
    return interrupted(scene(), Interrupter(n))


def interrupted(stage: Scene, interrupter: Interrupter) -> list[str]:
    """What was lost."""
    try:
        interrupter.run(stage.act)
    except redis.RedisError as error:
        stage.faults.append(f"at first: {error}")
    guard = stage.pool._engine.guard
    while guard._is_owned():  # type: ignore[attr-defined]
        # Between a `with` block's last bytecode and the lock's own release: nothing could help there.
        if interrupter.places[-1].possible:
            stage.faults.append("the lock is held for ever")
        guard.release()
        stage.pool._engine.core.inconsistent = True
    return settle(stage)


def settle(stage: Scene) -> list[str]:
    """See to it that all is as it was."""
    if isinstance(stage, IsHandedTo):
        stage.interrupted.set()
    if not eventually(lambda: at_rest(stage.pool)):
        stage.faults.append(f"not at rest: {stage.pool!r}, {stage.pool._engine.core.slots}")
    if stage.other is not None:
        stage.other.join(2 * PATIENCE)
    try:
        stage.go_on()
        stage.pool.warm_up(stage.size, PATIENCE)  # sooner than callers would have them connected
        taken = [stage.pool.get_connection() for _ in range(stage.size)]
        if len({id(each) for each in taken} - {id(None)}) != stage.size:
            stage.faults.append(f"checked out {taken}")
        for connection in taken:
            connection.connect()  # one of its own, though others be shared
        for connection in taken:
            stage.pool.release(connection)
    except redis.RedisError as error:
        stage.faults.append(f"afterwards: {error}")
    stage.pool.shutdown(timeout=0, force=True)
    return stage.faults


def connector() -> list[str]:
    """The threads that connect."""
    names = [each.name for each in threading.enumerate()]
    return [name for name in names if name.startswith("redpool ") and not name.endswith("maintenance thread")]


def at_rest(pool: redpool.ConnectionPool) -> bool:
    """Whether no caller has anything, and nothing is under way. Nothing is done about it here."""
    gc.collect()
    core = pool._engine.core
    multiplexed = pool._engine.multiplexed
    shared = len(multiplexed.in_use()) if multiplexed else 0
    return not core.queue and len(core.empty) + len(core.idle) + shared == len(core.slots)
