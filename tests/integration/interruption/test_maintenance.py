"""The maintenance thread is there where anything is open, and goes on whatever is raised in its thread."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any

import pytest
import redis
from redis.credentials import CredentialProvider

import redpool
from redpool import threads as own_threads
from redpool.embedded import Server
from redpool.sync import maintenance
from support.faces import eventually

KINDS = [redpool.ConnectionPool, redpool.MultiplexedConnectionPool]


class Vault(CredentialProvider):
    """Whether it is away is for the test to say."""

    away = False

    def __init__(self) -> None:
        self.failed_in: list[str] = []
        """the threads that it has failed in"""

    def get_credentials(self) -> tuple[str]:
        """Return none, or raise what is no error of a connection."""
        if self.away:
            self.failed_in.append(threading.current_thread().name)
            raise ValueError("the vault is away")
        return ()  # type: ignore[return-value]  # with which redis-py asks for nothing


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_a_connect_raises_in_the_maintenance_thread_is_a_failed_connect(
    own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread is to be had, so that it connects itself: it goes on, and has connected by and by."""

    def no_thread(*args: Any) -> None:
        raise own_threads.NoThread("can't start new thread")

    vault = Vault()
    with redpool.ConnectionPool.from_url(
        own_server.url, min_idle=1, max_lifetime=0.1, lifetime_jitter=0.0, credential_provider=vault
    ) as pool:
        pool.warm_up()
        core = pool._engine.core
        monkeypatch.setattr(own_threads, "start", no_thread)
        vault.away = True
        assert eventually(lambda: sum(name.endswith("maintenance thread") for name in vault.failed_in) > 1)
        vault.away = False
        before = core.stats(time.monotonic()).connected
        assert eventually(lambda: core.stats(time.monotonic()).connected > before)
        assert core.stats(time.monotonic()).connect_failures > 1


def test_the_maintenance_goes_on_after_a_fault(
    own_server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is raised is logged, and the next look comes as ever."""
    monkeypatch.setattr(maintenance, "_AFTER_A_FAULT", 0.001, raising=False)
    with redpool.ConnectionPool.from_url(own_server.url) as pool:
        pool.warm_up(1)
        engine, looks = pool._engine, list[int]()
        assert eventually(lambda: engine._maintenance is not None)
        run_maintenance = engine.run_maintenance

        def look() -> float | None:
            looks.append(len(looks))
            if len(looks) == 1:
                raise ZeroDivisionError
            return run_maintenance()

        monkeypatch.setattr(engine, "run_maintenance", look)
        engine.wake_maintenance()
        assert eventually(lambda: len(looks) > 1)
        assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_is_due_the_maintenance_comes_all_the_same(own_server: Server, kind: Any) -> None:
    """Whatever times the user sets: what its client has left open is closed, once that is collected."""
    none: Any = dict.fromkeys(("timeout", "socket_timeout", "max_idle_time", "ping_after_idle", "max_lifetime"))
    pool = kind.from_url(own_server.url, **none)
    client = redis.Redis(connection_pool=pool)
    client.auto_close_connection_pool = True
    assert client.ping() is True
    assert eventually(lambda: pool._engine._maintenance is not None, 5.0)
    del client
    gc.collect()
    assert eventually(lambda: pool._engine.core.is_empty, 5.0)
    pool.shutdown()
