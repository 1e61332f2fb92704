"""Dropped connections, failing constructors, close, fork, loops: notes 45, 47, 48, 51, 53, 55 and 61."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import redis
from redis._parsers import _HiredisParser, _RESP3Parser

from support.children import begun, ended
from support.faces import Doing

from .rows import Finding, row
from .scenes import Outcome, attempt, attempt_on_a_loop
from .sides import Pools, Side


class _Logged(logging.Handler):
    """Collects what `warnings` and `logging` report from now on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._messages: list[str] = []
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        logging.getLogger().addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.getMessage())

    def naming(self, function: str) -> int:
        """Return how many messages name the inner function, as a stack does."""
        return sum(f"<locals>.{function}" in message for message in self._messages)


@row(51, "asyncio: 10 subscribed PubSubs are dropped, pool of 10: does the log say who took them? Then a PING")
async def dropped_subscribers_on_a_loop(side: Side) -> Finding:
    """The pool reclaims their connections at the latest by garbage collection, or never."""
    client = side.tasks.client(max_connections=10, **side.ours(timeout=5.0))

    async def forgetful() -> None:
        await client.pubsub().subscribe("news")

    return await _after_dropping_on_a_loop(client, forgetful)


@row(51, "asyncio: the same with 10 pipelines after their WATCH")
async def dropped_pipelines_on_a_loop(side: Side) -> Finding:
    """The pool reclaims their connections at the latest by garbage collection, or never."""
    client = side.tasks.client(max_connections=10, **side.ours(timeout=5.0))

    async def forgetful() -> None:
        await client.pipeline().watch("key")

    return await _after_dropping_on_a_loop(client, forgetful)


async def _after_dropping_on_a_loop(client: Any, forgetful: Callable[[], Any]) -> Finding:
    log = _Logged()
    for _ in range(10):
        await forgetful()
    gc.collect()
    await asyncio.sleep(0.05)
    return _reclaimed(await attempt_on_a_loop(client.ping), log)


@row(51, "threads: the same with 10 PubSubs")
def dropped_subscribers(side: Side) -> Finding:
    """redis-py's finalizers release the connections, without a word in the log."""
    client = side.threads.client(max_connections=10, **side.ours(timeout=5.0))

    def forgetful() -> None:
        client.pubsub().subscribe("news")

    return _after_dropping(client, forgetful)


@row(
    51,
    "threads: the same with 10 connections taken from the pool",
    unshared="a multiplexed pool lends virtual connections, which take no slot",
)
def dropped_connections(side: Side) -> Finding:
    """The caller never releases what get_connection() returned."""
    client = side.threads.client(max_connections=10, **side.ours(timeout=5.0))

    def forgetful() -> None:
        client.connection_pool.get_connection()

    return _after_dropping(client, forgetful)


def _after_dropping(client: Any, forgetful: Callable[[], Any]) -> Finding:
    log = _Logged()
    for _ in range(10):
        forgetful()
    gc.collect()
    return _reclaimed(attempt(client.ping), log)


def _reclaimed(ping: Outcome, log: _Logged) -> Finding:
    named = log.naming("forgetful")
    return Finding(ping.error is None and named == 10, f"PING {ping}, {named} of 10 named")


_AT_ONCE = "such a pool creates a connection when it is created, and so fails at once"


@row(
    53,
    "the connection's constructor fails 3 times, max_connections=3; then a PING, the cause being gone",
    unshared=_AT_ONCE,
)
def failing_constructor(side: Side) -> Finding:
    """redis-py counts the connection before it constructs it."""
    return _after_failures(side.threads.client(side.threads.pool(**_failing(redis.Connection))))


@row(53, "the same with the pool that waits", unshared=_AT_ONCE)
def failing_constructor_of_a_waiting_pool(side: Side) -> Finding:
    """redis-py counts the connection before it constructs it."""
    return _after_failures(side.threads.client(side.threads.waiting_pool(**_failing(redis.Connection), timeout=1)))


@row(53, "the same with asyncio", unshared=_AT_ONCE)
async def failing_constructor_on_a_loop(side: Side) -> Finding:
    """redis-py counts the connection before it constructs it."""
    client = side.tasks.client(**_failing(redis.asyncio.Connection))
    for _ in range(3):
        await attempt_on_a_loop(client.ping)
    outcome = await attempt_on_a_loop(client.ping)
    return Finding(outcome.error is None, str(outcome))


def _failing(connection_class: Any) -> dict[str, Any]:
    left = [OSError("no certificate")] * 3

    class Failing(connection_class):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            if left:
                raise left.pop()
            super().__init__(**options)

        def __del__(self) -> None:
            """Do nothing: a connection whose constructor raised has nothing to close."""

    return {"connection_class": Failing, "max_connections": 3}


def _after_failures(client: Any) -> Finding:
    for _ in range(3):
        attempt(client.ping)
    outcome = attempt(client.ping)
    return Finding(outcome.error is None, str(outcome))


@row(45, "disconnect() again and again under 8 threads with GET and SET, 0.7 s; which errors do they see?")
def disconnect_under_load(side: Side) -> Finding:
    """A redis.ConnectionError is fine; a wrong value or any other error isn't."""
    return _disconnected(side, _HiredisParser)


@row(45, "the same with redis-py's own parser", unshared="only hiredis's parser can be shared: all else is a TypeError")
def disconnect_under_load_with_the_other_parser(side: Side) -> Finding:
    """A redis.ConnectionError is fine; a wrong value or any other error isn't."""
    return _disconnected(side, _RESP3Parser)


def _disconnected(side: Side, parser: Any) -> Finding:
    pool = side.threads.pool(parser_class=parser, protocol=3, socket_timeout=1)
    client = side.threads.client(pool)
    seen: Counter[str] = Counter()
    end = time.monotonic() + 0.7

    def work(number: int) -> None:
        while time.monotonic() < end:
            try:
                client.set(f"key:{number}", number)
                if client.get(f"key:{number}") != b"%d" % number:
                    seen["wrong value"] += 1
            except redis.ConnectionError:
                pass
            except Exception as error:
                seen[type(error).__name__] += 1

    doings = [Doing(lambda number=number: work(number)) for number in range(8)]  # type: ignore[misc]
    while time.monotonic() < end:
        pool.disconnect()
        time.sleep(0.002)
    for doing in doings:
        doing.result()
    return Finding(not seen, ", ".join(f"{count} {name}" for name, count in seen.most_common()) or "nothing strange")


@row(45, "after shutdown() (redis-py has close() only) a GET raises, and opens no connection")
def a_get_after_shutdown(side: Side) -> Finding:
    """Otherwise an application goes on after its shutdown, unnoticed."""
    client = side.threads.client()
    client.ping()
    getattr(client.connection_pool, "shutdown", client.connection_pool.close)()
    outcome = attempt(lambda: client.get("key"))
    return Finding(isinstance(outcome.error, redis.ConnectionError), str(outcome))


@row(47, "asyncio: a child is forked from the loop and does an INCR on a loop of its own; then the parent one")
async def fork(side: Side) -> Finding:
    """Parent and child share the sockets' file descriptors, and the loop's selector."""
    client = side.tasks.client()
    await client.ping()
    pid = os.fork()
    if pid == 0:
        _in_child(client)
    child = await asyncio.to_thread(_reaped, pid)
    outcome = await attempt_on_a_loop(lambda: asyncio.wait_for(client.incr("n"), _HUNG))
    return Finding(child == "did it" and outcome.value == 2, f"the child {child}; the parent's INCR {outcome}")


@row(
    61, "a client is used, then C code forks four children, without Python's hooks, that do 200 ECHOs each", limit=90.0
)
def fork_by_c_code(side: Side) -> Finding:
    """As uWSGI does after it has loaded the application. A child that uses its parent's connection gets its replies."""
    client = side.threads.client()
    client.ping()
    gate, opens = os.pipe()

    def child() -> None:
        os.close(opens)
        os.read(gate, 1)  # until all are there
        tokens = [f"{os.getpid()} {turn}" for turn in range(200)]
        outcomes = [attempt(lambda token=token: client.echo(token)) for token in tokens]  # type: ignore[misc]
        right = sum(outcome.value == token.encode() for outcome, token in zip(outcomes, tokens, strict=True))
        os._exit(len(tokens) - right)

    children = [begun(child) for _ in range(4)]
    os.close(opens)
    failed = [ended(pid) for pid in children]
    parent = attempt(client.ping)
    wrong = sum(each or 0 for each in failed)
    hung = f", {failed.count(None)} children hung" if None in failed else ""
    return Finding(
        failed == [0] * 4 and parent.value is True, f"{wrong} of 800 failed{hung}; the parent's PING {parent}"
    )


_HUNG = 4.0  # seconds after which nothing comes any more, on a slow machine either


def _in_child(client: Any) -> None:
    try:
        asyncio._set_running_loop(None)  # noqa: SLF001  the child forgets its parent's loop
        os._exit(0 if asyncio.run(_incr(client)) == 1 else 1)
    finally:
        os._exit(2)


async def _incr(client: Any) -> Any:
    return await client.incr("n")


def _reaped(pid: int) -> str:
    killing = threading.Timer(_HUNG, os.kill, (pid, signal.SIGKILL))
    killing.start()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    killing.cancel()
    return {0: "did it", 1: "got a wrong reply", 2: "failed"}.get(status, f"hung for {_HUNG:g} s")


@row(48, "asyncio: one client in asyncio.run() three times, without closing anything")
def loops_in_turn(side: Side) -> Finding:
    """As in a notebook, or in a web framework's synchronous views."""
    client = side.tasks.client()
    outcomes = []
    for _ in range(3):
        outcomes.append(attempt(lambda: asyncio.run(_ping(client))))
        gc.collect()
    failed = [each for each in outcomes if each.error is not None]
    return Finding(not failed, ", ".join("ok" if each.error is None else repr(each.error) for each in outcomes))


async def _ping(client: Any) -> Any:
    return await client.ping()


@row(48, "asyncio: one client on two loops in two threads, 1000 GETs in all")
def loops_side_by_side(side: Side) -> Finding:
    """Each loop runs ten tasks."""
    client = side.tasks.client()
    seen: Counter[str] = Counter()

    async def get() -> None:
        for _ in range(50):
            outcome = await attempt_on_a_loop(lambda: asyncio.wait_for(client.get("key"), 2.0))
            seen["ok" if outcome.error is None else type(outcome.error).__name__] += 1

    async def main() -> None:
        await asyncio.gather(*(get() for _ in range(10)))

    doings = [Doing(lambda: asyncio.run(main())) for _ in range(2)]
    for doing in doings:
        doing.result()
    return Finding(seen["ok"] == 1000, ", ".join(f"{count} {name}" for name, count in seen.most_common()))


@row(55, "20 times a PubSub is subscribed and closed in good order: connections opened")
def subscribe_and_close(side: Side) -> Finding:
    """Each costs a connect and a handshake, unless the connection is kept."""
    return _subscribed(side, side.threads)


def _subscribed(side: Side, pools: Pools) -> Finding:
    client = pools.client()
    observer = side.observer()
    before = observer.info("stats")["total_connections_received"]
    for _ in range(20):
        subscriber = client.pubsub()
        subscriber.subscribe("news")
        subscriber.get_message(timeout=1.0)
        subscriber.close()
    opened = observer.info("stats")["total_connections_received"] - before
    return Finding(opened <= 2, f"{opened} connections")
