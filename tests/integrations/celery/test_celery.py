"""A worker whose tasks and results go over our pools, through faults; and what it leaves behind: nothing."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery, group
from kombu import Connection

import redpool.contrib.celery  # noqa: F401  it makes the URLs known
from redpool.embedded import Server
from redpool.testing import FaultProxy

from ..conftest import write_page

PATIENCE = 180.0  # seconds, for what takes one or two, on a quiet machine


@contextmanager
def working(folder: Path, url: str, kind: str) -> Iterator[None]:
    """Run a worker of the page's application; it has to end well, and to have dropped no connection."""
    write_page("celery", folder, url)
    log = folder / "worker.log"
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", kind, "-c", "2", "--loglevel", "INFO"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), *sys.path))}
    with log.open("w") as out:
        worker = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        worker.terminate()
        status = worker.wait(PATIENCE)
    said = log.read_text()
    assert status == 0, said
    assert "dropped without being given back" not in said, said
    assert "Traceback" not in said.partition("Warm shutdown")[2], said


@pytest.fixture
def app(own_server: Server) -> Iterator[Celery]:
    """The application as its callers have it, by a path of their own to the server."""
    url = own_server.url.replace("redis:", "redpool:")
    with Celery("tasks", broker=url, backend=url.replace("/0", "/1") if url.endswith("/0") else f"{url}/1") as made:
        made.conf.result_backend_thread_safe = True
        backend = made.backend  # before threads do it all at once
        yield made
        backend.result_consumer.stop()  # Celery itself leaves its subscriber to the garbage collector


def end_consumers(url: str, fault: Callable[[], None]) -> None:
    """Bring a fault about, and wait until the server knows: what it pops for a lost consumer is lost, by its design."""
    with redis.from_url(url) as asking:
        consumers = {client["id"] for client in asking.client_list() if client["cmd"] == "brpop"}
        fault()
        deadline = time.monotonic() + PATIENCE
        while consumers & {client["id"] for client in asking.client_list()}:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize("kind", ["solo", "prefork"])
def test_no_task_is_lost(kind: str, own_server: Server, app: Celery, tmp_path: Path) -> None:
    """Tasks at once, in groups, later; then after each kind of fault of the worker's network."""
    add = app.signature("tasks.add")

    def ask() -> Any:
        return add.clone((2, 2)).delay().get(PATIENCE)

    with FaultProxy(own_server.host, own_server.port) as proxy, working(tmp_path, proxy.url, kind):
        assert ask() == 4
        assert group(add.clone((n, n)) for n in range(50)).delay().get(PATIENCE) == [2 * n for n in range(50)]
        assert add.apply_async((1, 2), countdown=0.2).get(PATIENCE) == 3
        for fault in (proxy.reset, proxy.hang_up):
            end_consumers(own_server.url, fault)
            asked = [add.clone((n, n)).delay() for n in range(20)]
            assert [each.get(PATIENCE) for each in asked] == [2 * n for n in range(20)]
        proxy.refuse()
        end_consumers(own_server.url, proxy.reset)
        asked = [add.clone((n, n)).delay() for n in range(20)]
        time.sleep(1)  # the worker finds no server
        proxy.heal()
        assert [each.get(PATIENCE) for each in asked] == [2 * n for n in range(20)]
        assert ask() == 4
        assert proxy.open <= 8
        assert len(app.control.ping(timeout=PATIENCE, limit=1)) == 1


def test_threads_share_what_they_publish_by(own_server: Server, app: Celery) -> None:
    """However many channels they have; and their results' backends share a pool, one subscriber beside it."""
    barrier = threading.Barrier(16)

    def publish() -> None:
        with app.connection() as connection, connection.channel() as channel:
            producer = app.amqp.Producer(channel)
            barrier.wait()
            for _ in range(20):
                app.send_task("tasks.add", (1, 1), producer=producer)
            opened.append((channel.pool, channel.pool.stats().open))
            stored.append(app.backend.client.connection_pool)

    opened: list[tuple[Any, int]] = []
    stored: list[Any] = []
    threads = [threading.Thread(target=publish) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    with redis.from_url(own_server.url) as asking:
        assert asking.llen("celery") == 320
    assert set(opened) == {(opened[0][0], 1)}
    assert len(set(stored)) == 1
    assert stored[0].stats().open <= 2


def test_backends_of_threads_have_one_pool(own_server: Server) -> None:
    """Celery makes one in each thread, unless it is told that they may share it."""
    with Celery("some", backend=own_server.url.replace("redis:", "redpool:")) as app:
        found = [app.backend]
        thread = threading.Thread(target=lambda: found.append(app.backend))
        thread.start()
        thread.join(PATIENCE)
        here, there = found
        assert here is not there
        assert here.client.connection_pool is there.client.connection_pool


def held_by(channel: Any) -> Any:
    """Have a channel hold what it consumes by, and return the pool that this is of."""
    channel.client.connection = channel._in_poll = channel.client.connection_pool.get_connection()
    channel.subclient.psubscribe("some")
    assert channel.async_pool.stats().in_use == 2
    return channel.async_pool


def test_a_channel_gives_back_what_it_held(own_server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Also where the server is gone by then, and where another channel of the connection can't be closed."""
    with FaultProxy(own_server.host, own_server.port) as proxy:
        connection = Connection(proxy.url.replace("redis:", "redpool:"))
        alone, *others = (connection.channel() for _ in range(4))
        pools = [held_by(channel) for channel in (alone, *others)]
        proxy.refuse()
        proxy.reset()
        with pytest.raises(redis.ConnectionError), caplog.at_level(logging.WARNING, "redpool"):
            alone.close()
        assert pools[0].stats().in_use == 0
        with caplog.at_level(logging.WARNING, "redpool"):
            connection.close()
            gc.collect()
            assert [(pool.stats().in_use, pool.stats().open) for pool in pools] == [(0, 0)] * 4
    assert not [record for record in caplog.messages if "dropped" in record and f":{proxy.port}/" in record]


def test_the_end_of_a_channel_leaves_what_others_publish_by(own_server: Server) -> None:
    """Their pool is the process's."""
    url = own_server.url.replace("redis:", "redpool:")
    with Connection(url) as one, Connection(url) as other:
        with one.channel() as channel:
            channel._put("some", {})
        kept = other.channel()
        assert kept.pool.stats().open == 1
        kept._put("some", {})
        assert kept.pool.stats().connected == 1


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # by Celery
def test_a_result_is_stored_by_a_server_that_comes_back(own_server: Server) -> None:
    """Celery itself would not read again what it reads first; a caller comes when connects have just failed."""
    with FaultProxy(own_server.host, own_server.port) as proxy:
        app = Celery("some", backend=proxy.url.replace("redis:", "redpool:"))
        assert app.backend.client.ping()
        proxy.refuse()
        proxy.reset()
        healing = threading.Timer(0.3, proxy.heal)
        healing.start()
        app.backend.store_result("id", 42, "SUCCESS")
        healing.join()
        assert app.backend.get_result("id") == 42
        app.close()


def test_a_silent_network_is_given_up(own_server: Server) -> None:
    """Kombu waits without end for a connect's reply, and a worker stays deaf; what a user says comes first."""
    url = own_server.url.replace("redis:", "redpool:")
    for said, expected in (({}, 6), ({"socket_timeout": 9, "polling_interval": 3}, 9), ({"polling_interval": 3}, 8)):
        with Connection(url, transport_options=said) as connection:
            channel = connection.channel()
            for pool in (channel.pool, channel.async_pool):
                assert pool.connection_kwargs["socket_timeout"] == expected
                assert pool.connection_kwargs["socket_connect_timeout"] in (6, 8)
