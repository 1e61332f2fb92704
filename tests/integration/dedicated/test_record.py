"""What a real pool remembers of what it was asked for."""

from __future__ import annotations

import threading

import redpool


def test_a_pool_records_its_checkouts_and_who_nests(redis_url: str) -> None:
    """Every checkout is one arrival, and a thread that takes two connections is seen."""
    with redpool.ConnectionPool.from_url(redis_url, max_connections=4) as pool:
        for _ in range(5):
            with pool.connection():
                pass
        with pool.connection(), pool.connection():
            record = pool.record()
        assert sum(arrivals.callers for arrivals in record.arrivals) == 7
        assert sum(count for _, count in record.holds) == 5
        assert len(record.held) == 2
        assert (record.callers, record.nesting, record.deepest) == (1, 1, 2)
        assert len(record.connects) == 2


def test_two_threads_are_two_callers(redis_url: str) -> None:
    """Two threads with one connection each don't nest."""
    with redpool.ConnectionPool.from_url(redis_url, max_connections=4) as pool:
        taken, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            with pool.connection():
                taken.set()
                go_on.wait(30)

        thread = threading.Thread(target=hold)
        thread.start()
        taken.wait(30)
        with pool.connection():
            record = pool.record()
        go_on.set()
        thread.join()
        assert (record.callers, record.nesting, record.deepest) == (2, 0, 1)


def test_a_shared_pool_s_commands_are_counted(redis_url: str) -> None:
    """They are no arrivals; the connection that they share is none that is held."""
    with redpool.MultiplexedConnectionPool.from_url(redis_url) as pool:
        client = redpool.Redis(connection_pool=pool)
        for _ in range(5):
            client.ping()
        record = pool.record()
        assert record.commands >= 5
        assert (record.kept, record.held, record.arrivals[1:]) == (1, (), ())
