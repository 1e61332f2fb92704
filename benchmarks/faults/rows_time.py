"""Calls that never end, and blocking commands that are cut short: notes 8, 11 and 12."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import redis.connection

from redpool.testing import FaultProxy
from support.faces import Doing

from .rows import Finding, row
from .scenes import Outcome, attempt, attempt_on_a_loop, best
from .sides import Side

_IMPATIENT = {"socket_timeout": 0.2}
_DEADLINE = 0.3
_MARGIN = 0.1


@row(
    8,
    "one GET from a server that accepts and never answers, socket_timeout=0.2, 10 retries; "
    "ours within redpool.deadline(0.3), which redis-py has no counterpart of",
    limit=20,
    timed=True,
)
def a_call_without_end(side: Side) -> Finding:
    """redis-py's figure with all defaults is 58 s."""
    with FaultProxy(side.server.host, side.server.port) as path:
        path.black_hole()
        client = side.threads.client(at=path, socket_timeout=0.2, retry=side.threads.retry())
        return _in_time(best(lambda: _within(side, lambda: client.get("key"))))


@row(8, "the same with asyncio", limit=20, timed=True)
async def a_call_without_end_on_a_loop(side: Side) -> Finding:
    """redis-py's figure with all defaults is 58 s."""
    with FaultProxy(side.server.host, side.server.port) as path:
        path.black_hole()
        client = side.tasks.client(at=path, socket_timeout=0.2, retry=side.tasks.retry())

        async def get() -> Any:
            with side.deadline(_DEADLINE):
                return await client.get("key")

        return _in_time(await attempt_on_a_loop(get))


def _within(side: Side, call: Any) -> Any:
    with side.deadline(_DEADLINE):
        return call()


def _in_time(outcome: Outcome) -> Finding:
    return Finding(outcome.seconds <= _DEADLINE + _MARGIN, str(outcome))


class _CutOff(redis.connection.Connection):
    """Connects until the path is cut, and then counts the attempts; each of them times out, without the wait."""

    cut = False
    attempts = 0

    def _connect(self) -> Any:
        if _CutOff.cut:
            _CutOff.attempts += 1
            raise TimeoutError("timed out")
        return super()._connect()


@row(
    8,
    "the path is cut under a waiting BLPOP, and every connect times out: attempts for this one call, "
    "10 retries without pauses; ours within redpool.deadline(1)",
    limit=30,
    timed=True,
)
def attempts_to_connect(side: Side) -> Finding:
    """At the default of 5 s for a connect, redis-py's 110 attempts are 550 s. They are counted here, not waited for."""
    with FaultProxy(side.server.host, side.server.port) as path:
        client = side.threads.client(at=path, connection_class=_CutOff, retry=side.threads.retry(base=0))
        client.ping()

        def cut() -> None:
            _CutOff.cut = True
            path.reset()

        timer = threading.Timer(0.2, cut)
        timer.start()

        def pop() -> Any:
            with side.deadline(1.0):
                return client.blpop(["jobs"], timeout=10)

        outcome = attempt(pop)
    return Finding(
        outcome.seconds <= 1.0 + _MARGIN and _CutOff.attempts <= 11, f"{_CutOff.attempts} attempts; {outcome}"
    )


def _waited_out(outcome: Outcome, connections: int) -> Finding:
    held = outcome.error is None and outcome.value is None and outcome.seconds >= 1.0
    return Finding(held, f"{outcome}; {connections} connection{'s' * (connections > 1)}")


@row(11, "BLPOP with timeout=1 under socket_timeout=0.2, 10 retries: None is due after 1 s", limit=20, timed=True)
def a_blpop_longer_than_the_socket_timeout(side: Side) -> Finding:
    """The same proportion as 8 s under the default of 5 s, where redis-py's figure is 59 s and 11 connections."""
    before = side.observer().info("stats")["total_connections_received"]
    client = side.threads.client(**_IMPATIENT, retry=side.threads.retry())
    outcome = attempt(lambda: client.blpop(["jobs"], timeout=1))
    after = side.observer().info("stats")["total_connections_received"]
    return _waited_out(outcome, after - before - 1)


@row(11, "BLPOP with timeout=0 on a pool without retries, socket_timeout=0.2; a job comes after 0.5 s", timed=True)
def a_blpop_without_end(side: Side) -> Finding:
    """redis-py's default of 5 s ends it after 5 s."""
    client = side.threads.client(**_IMPATIENT)
    pushing = threading.Timer(0.5, lambda: side.observer().rpush("jobs", "job"))
    pushing.start()
    popping = Doing(lambda: attempt(lambda: client.blpop(["jobs"], timeout=0)))
    outcome = popping.result()
    return Finding(list(outcome.value or []) == [b"jobs", b"job"], str(outcome))


@row(11, "the same with asyncio", timed=True)
async def a_blpop_without_end_on_a_loop(side: Side) -> Finding:
    """redis-py's default of 5 s ends it after 5 s."""
    client = side.tasks.client(**_IMPATIENT)
    popping = asyncio.create_task(attempt_on_a_loop(lambda: client.blpop(["jobs"], timeout=0)))
    await asyncio.sleep(0.5)
    side.observer().rpush("jobs", "job")
    outcome = await popping
    return Finding(list(outcome.value or []) == [b"jobs", b"job"], str(outcome))


@row(
    12,
    "one client; replies take 0.2 s; a caller that can wait for 0.1 s: when does it get its error, and does another "
    "get its value? Ours within redpool.deadline(0.1), which redis-py has no counterpart of",
    timed=True,
)
def one_timeout_for_all(side: Side) -> Finding:
    """redis-py has one socket_timeout for all calls of a client."""
    side.observer().set("bob", "bob-value")
    with FaultProxy(side.server.host, side.server.port) as path:
        client = side.threads.client(at=path)
        client.ping()
        path.delay(0.2)

        def get() -> Any:
            with side.deadline(0.1):
                return client.get("bob")

        hasty, patient = best(get), attempt(lambda: client.get("bob"))
    held = hasty.error is not None and hasty.seconds <= 0.1 + _MARGIN and patient.value == b"bob-value"
    return Finding(held, f"the hasty one {hasty}; the patient one {patient}")
