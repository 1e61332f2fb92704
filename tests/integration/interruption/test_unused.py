"""What an interrupted caller was granted and has not used goes on to the next one: an interruption costs no connect."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import redpool
import redpool.asyncio
from redpool.testing import ScriptedServer
from support.faces import eventually
from support.interrupting import Interrupter, Place

from .test_every_bytecode import IsHandedTo, at_rest, settle

TIMES = 20


class IsHandedOne(IsHandedTo):
    """The caller waits for the connection that another caller releases, and keeps it."""

    def act(self) -> None:
        self.kept = self.pool.get_connection()

    def go_on(self) -> None:
        if hasattr(self, "kept"):
            self.pool.release(self.kept)
            del self.kept


def the_way_through_the_queue() -> list[tuple[int, Place]]:
    """Each place at which a caller could be interrupted, from its call until it has the connection."""
    stage, interrupter = IsHandedOne(), Interrupter()
    interrupter.run(stage.act)
    stage.go_on()
    settle(stage)
    return [(n, place) for n, place in enumerate(interrupter.places, 1) if place.possible]


@pytest.mark.usefixtures("interrupted_anywhere")
def test_a_waiter_interrupted_anywhere_costs_no_connect() -> None:
    """Before, when and after it is granted the connection that another caller releases."""
    costs = []
    for n, place in the_way_through_the_queue():
        stage, interrupter = IsHandedOne(), Interrupter(n)
        interrupter.run(stage.act)
        stage.interrupted.set()
        assert eventually(lambda stage=stage: hasattr(stage, "kept") or at_rest(stage.pool))  # type: ignore[misc]
        if stage.pool.stats().connected != 1 or stage.pool.stats().closed:
            costs.append(f"{n}: {place}: {stage.pool.stats().closed}")
        stage.go_on()
        assert not settle(stage)
    assert not costs, "\n".join(costs)


class Interrupted(Exception):
    """What an alarm raises."""


def test_a_thread_interrupted_again_and_again_as_it_is_granted_costs_no_connect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thread that comes from the queue with a connection it has not used gives it to the next one."""
    with (
        ScriptedServer() as server,
        redpool.ConnectionPool(host=server.host, port=server.port, max_connections=1, timeout=10.0) as pool,
    ):
        connection = pool.get_connection()
        granted = pool._engine.wait

        def wait(ticket: Any) -> None:
            granted(ticket)
            raise Interrupted

        for _ in range(TIMES):
            monkeypatch.setattr(pool._engine, "wait", wait)
            stage = Beside(pool)
            assert eventually(lambda: pool.stats().waiting == 1)
            pool.release(connection)
            stage.ended()
            monkeypatch.undo()
            connection = pool.get_connection()
        pool.release(connection)
        assert (pool.stats().connected, pool.stats().closed) == (1, {})


class Beside:
    """A thread that asks for a connection, and is interrupted."""

    def __init__(self, pool: redpool.ConnectionPool) -> None:
        self._pool, self._interrupted = pool, False
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        try:
            self._pool.get_connection()
        except Interrupted:
            self._interrupted = True

    def ended(self) -> None:
        """Wait for its end."""
        self._thread.join(20.0)
        assert self._interrupted


def test_a_task_cancelled_again_and_again_as_it_is_granted_costs_no_connect() -> None:
    """The same on an event loop: the cancellation comes after the grant, and before the task runs again."""

    async def main(server: ScriptedServer) -> None:
        pool = redpool.asyncio.ConnectionPool(host=server.host, port=server.port, max_connections=1, timeout=10.0)
        connection = await pool.get_connection()
        for _ in range(TIMES):
            waiter = asyncio.create_task(pool.get_connection())
            await asyncio.sleep(0)
            assert pool.stats().waiting == 1
            await pool.release(connection)
            assert pool.stats().in_use == 1  # granted
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
            connection = await pool.get_connection()
        await pool.release(connection)
        assert (pool.stats().connected, pool.stats().closed) == (1, {})
        await pool.aclose()

    with ScriptedServer() as server:
        asyncio.run(main(server))


def test_a_task_interrupted_on_its_way_out_costs_no_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler raises when the task has its connection, and before it is returned."""

    async def main(server: ScriptedServer) -> None:
        pool = redpool.asyncio.ConnectionPool(host=server.host, port=server.port, max_connections=1, timeout=10.0)
        await pool.release(await pool.get_connection())
        monkeypatch.setattr(pool, "_watched", True)

        def interrupt(*args: Any) -> None:
            raise Interrupted

        monkeypatch.setattr(pool._here, "watch", interrupt)
        for _ in range(TIMES):
            with pytest.raises(Interrupted):
                await pool.get_connection()
        assert (pool.stats().connected, pool.stats().closed, pool.stats().in_use) == (1, {}, 0)
        await pool.aclose()

    with ScriptedServer() as server:
        asyncio.run(main(server))


def test_a_connection_whose_check_was_interrupted_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PING may be on its way, and its reply would be another caller's."""
    with (
        ScriptedServer() as server,
        redpool.ConnectionPool(host=server.host, port=server.port, max_connections=1, ping_after_idle=0.0) as pool,
    ):
        pool.release(pool.get_connection())

        def ping(connection: Any) -> bool:
            connection.send_command("PING", check_health=False)
            raise Interrupted

        monkeypatch.setattr("redpool.redispy.lifecycle.ping", ping)
        with pytest.raises(Interrupted):
            pool.get_connection()
        monkeypatch.undo()
        connection = pool.get_connection()
        connection.send_command("ECHO", "mine")
        assert connection.read_response() == b"mine"
        pool.release(connection)
        assert pool.stats().closed == {"error": 1}
