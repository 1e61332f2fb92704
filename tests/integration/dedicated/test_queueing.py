"""Exhaustion, limits, queueing: notes 13, 15, 16, 17, 19, 36 and 38."""

from __future__ import annotations

import asyncio
import collections
import inspect
import threading
import time
from typing import Any

import pytest
import redis
import redis.asyncio as redis_asyncio

import redpool
import redpool.asyncio as redpool_asyncio
from redpool import embedded
from support.faces import PATIENCE, Doing, Face, Listener, Recorder, Watch, eventually, together


def test_errors_say_what_happened(face: Face, at: dict[str, Any], refusing: Listener) -> None:
    """Note 13: a full pool, one that was shut down and a server that is gone raise errors of their own, with counts."""
    pool = face.pool(**at, max_connections=1, max_waiting=0, timeout=PATIENCE)
    with pool.connection(), pytest.raises(face.redpool.PoolFull, match=r"1 of 1 in use, 0 waiting, oldest lease"):
        pool.get_connection()
    pool.shutdown()
    with pytest.raises(face.redpool.PoolClosed):
        pool.get_connection()
    gone = face.pool(host="127.0.0.1", port=refusing.port)
    with pytest.raises(redis.ConnectionError) as caught:
        gone.get_connection()
    assert type(caught.value) is redis.ConnectionError
    for error in (face.redpool.PoolFull, face.redpool.PoolTimeout, face.redpool.PoolClosed):
        assert issubclass(error, redis.ConnectionError)


def test_callers_wait_by_default(face: Face, at: dict[str, Any]) -> None:
    """Note 15: 120 callers at once on a default pool all succeed over at most 50 connections."""
    pool = face.pool(**at, timeout=PATIENCE)
    client = face.client(pool)
    assert [doing.error for doing in together(120, lambda _: client.incr("n"))] == [None] * 120
    assert client.get("n") == b"120"
    assert pool.stats().open <= 50


WORKERS = 32


def test_no_caller_starves_threads(threads: Face, at: dict[str, Any]) -> None:
    """Note 16: 32 threads on 4 connections: a caller that gets a turn has waited longer than those that still wait."""
    pool = threads.pool(**at, max_connections=4, timeout=None)
    pool.warm_up(4)
    overtaken: list[float] = []
    queued: list[int] = []

    def work(_: int) -> None:
        for _ in range(25):
            asked = time.monotonic()
            with pool.connection() as connection:
                waiting = [waiter.age for waiter in pool.dump().waiters]
                waited = time.monotonic() - asked
                overtaken.extend(age - waited for age in waiting if age > waited)
                queued.append(len(waiting))
                connection.send_command("PING")
                connection.read_response()

    assert [doing.error for doing in together(WORKERS, work)] == [None] * WORKERS
    assert overtaken == []
    assert any(queued)


def test_no_caller_starves_tasks(at: dict[str, Any]) -> None:
    """Note 16: 32 tasks on 4 connections get the same number of turns."""
    turns: collections.Counter[int] = collections.Counter()

    async def main() -> None:
        async with redpool_asyncio.ConnectionPool(**at, max_connections=4, timeout=None) as pool:
            await pool.warm_up(4)

            async def work(number: int) -> None:
                while turns.total() < 50 * WORKERS:
                    async with pool.connection() as connection:
                        turns[number] += 1
                        await connection.send_command("PING")
                        await connection.read_response()

            await asyncio.gather(*(work(number) for number in range(WORKERS)))

    asyncio.run(main())
    assert len(turns) == WORKERS
    assert max(turns.values()) <= 1.3 * min(turns.values())


def test_a_pool_is_bounded(face: Face) -> None:
    """Note 17: the default is small, and 0 is refused rather than taken for another number."""
    assert face.pool().max_connections == 50
    with pytest.raises(ValueError, match=r"max_connections.*0"):
        face.pool(max_connections=0)


def test_a_burst_opens_few_connections_tasks(at: dict[str, Any], watch: Watch) -> None:
    """Note 19: 100 tasks at once on a cold pool open about 2 x `max_connecting` connections; more on a slow machine."""
    before = watch.connected()

    async def main() -> None:
        async with redpool_asyncio.ConnectionPool(**at) as pool:
            client = redis_asyncio.Redis(connection_pool=pool)
            assert await asyncio.gather(*(client.get("foo") for _ in range(100))) == [None] * 100

    asyncio.run(main())
    assert 1 <= watch.connected() - before < 50


def test_a_burst_opens_few_connections_threads(threads: Face, at: dict[str, Any]) -> None:
    """Note 19: the same with 100 threads: no more than `max_connecting` connects are ever under way."""
    pool = threads.pool(**at, timeout=PATIENCE, max_connecting=2)
    client = threads.client(pool)
    seen = []

    def get(_: int) -> None:
        seen.append(pool.stats().connecting)
        assert client.get("foo") is None

    assert [doing.error for doing in together(100, get)] == [None] * 100
    assert max(seen) <= 2
    assert pool.stats().open < 50


@pytest.mark.needs("clusters that know a full pool")
def test_a_full_pool_is_no_failed_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note 36: in a cluster, an exhausted pool makes the client neither forget its nodes nor ask for them anew."""
    with embedded.start(args=("--cluster-enabled", "yes")) as server:
        with redis.Redis.from_url(server.url) as node:
            node.execute_command("CLUSTER ADDSLOTS", *range(16384))
            assert eventually(lambda: b"cluster_state:ok" in _text(node.execute_command("CLUSTER INFO")))
        cluster = redis.RedisCluster.from_url(
            server.url, connection_pool_class=redpool.ConnectionPool, max_connections=1, timeout=1.0
        )
        try:
            cluster.set("foo", "bar")
            asked: list[bool] = []
            initialize = cluster.nodes_manager.initialize

            def tracked(*args: Any, **options: Any) -> Any:
                asked.append(True)
                return initialize(*args, **options)

            monkeypatch.setattr(cluster.nodes_manager, "initialize", tracked)
            (primary,) = cluster.get_primaries()
            pool = primary.redis_connection.connection_pool
            with pool.connection(), pytest.raises(redpool.PoolTimeout):
                cluster.get("foo")
            assert asked == []
            assert cluster.get("foo") == b"bar"
            assert primary.redis_connection.connection_pool is pool
        finally:
            cluster.close()
            for each in cluster.get_nodes():
                each.redis_connection.connection_pool.close()


def _text(reply: Any) -> bytes:
    if isinstance(reply, dict):
        return b"".join(b"%s:%s\n" % (str(key).encode(), str(value).encode()) for key, value in reply.items())
    return reply if isinstance(reply, bytes) else str(reply).encode()


class Connects(Recorder):
    """Counts connects under way, beside writing down how they ended."""

    def __init__(self, connection_class: Any) -> None:
        super().__init__()
        self.under_way = self.most = self.started = 0
        lock = threading.Lock()
        connects = self

        def begin() -> None:
            with lock:
                connects.started += 1
                connects.under_way += 1
                connects.most = max(connects.most, connects.under_way)

        def end() -> None:
            with lock:
                connects.under_way -= 1

        class Threads(connection_class):  # type: ignore[misc]
            def connect(self) -> None:
                begin()
                try:
                    super().connect()
                finally:
                    end()

        class Asyncio(connection_class):  # type: ignore[misc]
            async def connect(self) -> None:
                begin()
                try:
                    await super().connect()
                finally:
                    end()

        self.connection_class = Asyncio if inspect.iscoroutinefunction(connection_class.connect) else Threads


def test_no_herd_while_the_server_is_down(face: Face, own_server: embedded.Server) -> None:
    """Note 38: 100 waiters, the server down: one connect a pause, each longer; then `max_connecting` at a time."""
    connects = Connects(face.redis.Connection)
    pool = face.pool(
        connects.connection_class, 100, host=own_server.host, port=own_server.port, retry=face.retry(10_000),
        timeout=None, instruments=[connects],
    )  # fmt: skip
    client = face.client(pool)
    own_server.kill()
    doings = [Doing(lambda: client.incr("n")) for _ in range(100)]
    assert eventually(lambda: pool.stats().waiting == 100)
    # Up to `max_connecting` connects may have been under way when the first failed; from here on there are pauses.
    begun = connects.started
    assert eventually(lambda: connects.started >= begun + 2)
    connects.most = 0
    began, first = pool.dump().waiters[-1].age, connects.started
    assert eventually(lambda: connects.started >= first + 4)
    took = pool.dump().waiters[-1].age - began
    assert connects.most == 1
    # Pauses of 20, 40, 80, ... 500 ms, shortened by a fifth at most: so many connects fit into the time and no more.
    assert connects.started - first <= 6 + took / 0.4
    own_server.restart()
    assert [doing.ended() for doing in doings] == [None] * 100
    assert connects.most <= 4
