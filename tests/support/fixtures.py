"""The fixtures of all tests: servers, the shells with each kind of pool and client, and what interruptions need."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from redpool import embedded
from redpool.testing import FaultProxy, ScriptedServer

from .faces import (
    MULTIPLEXED,
    OF_TASKS,
    OF_THREADS,
    Asyncio,
    Face,
    Listener,
    OwnAsyncio,
    OwnThreads,
    Threads,
    Watch,
)
from .interrupting import start_undisturbed
from .mute import Mute, stock


@pytest.fixture(scope="session")
def redis_server() -> Iterator[embedded.Server]:
    """One server for the whole run; tests must leave it running and its configuration alone."""
    with embedded.start() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: embedded.Server) -> str:
    """URL of the shared server, which is empty when the test begins."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def own_server() -> Iterator[embedded.Server]:
    """A server of the test's own, to kill, pause, restart or configure."""
    with embedded.start() as server:
        yield server


@pytest.fixture(params=[Threads, Asyncio], ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """Each shell in turn. Whatever the test made is closed after it, and nothing may be left behind."""
    made: Face = request.param()
    yield made
    made.close()


@pytest.fixture
def threads() -> Iterator[Face]:
    """The shell for threads alone."""
    made = Threads()
    yield made
    made.close()


@pytest.fixture(scope="session")
def unix_server() -> Iterator[embedded.Server]:
    """A server on a Unix socket for the whole run."""
    with embedded.start(unix=True) as server:
        yield server


@pytest.fixture
def at(redis_server: embedded.Server, redis_url: str) -> dict[str, Any]:
    """Where the shared server is, as a connection's keywords."""
    return {"host": redis_server.host, "port": redis_server.port}


@pytest.fixture
def watch(redis_url: str) -> Iterator[Watch]:
    """The shared server's own view."""
    made = Watch(redis_url)
    yield made
    made.close()


@pytest.fixture
def refusing() -> Iterator[Listener]:
    """A port at which every connection is refused."""
    made = Listener(answering=False)
    yield made
    made.close()


@pytest.fixture
def silent() -> Iterator[Listener]:
    """A port that accepts connections and never answers."""
    made = Listener(answering=True)
    yield made
    made.close()


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    """A server that answers as the test says, and holds no data."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def proxy(scripted: ScriptedServer) -> Iterator[FaultProxy]:
    """A proxy before it, with the answers of a stocked server."""
    stock(scripted)
    with FaultProxy(scripted.host, scripted.port) as proxy:
        yield proxy


@pytest.fixture
def mute(scripted: ScriptedServer, proxy: FaultProxy) -> Mute:
    """The same, as a server of which nothing is withheld yet."""
    return Mute(scripted, proxy)


@pytest.fixture(params=[*OF_THREADS.values(), *OF_TASKS.values()], ids=[*OF_THREADS, *OF_TASKS])
def any_face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """Each kind of pool in each shell, under redis-py's client; and redpool's client."""
    made: Face = request.param()
    yield made
    made.close()


@pytest.fixture(params=OF_THREADS.values(), ids=list(OF_THREADS))
def threads_face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """The same for threads alone."""
    made: Face = request.param()
    yield made
    made.close()


@pytest.fixture(params=MULTIPLEXED, ids=lambda face: face.name)
def multiplexed_face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """The multiplexed pool of each shell, under each client."""
    made: Face = request.param()
    yield made
    made.close()


@pytest.fixture(params=[OwnThreads, OwnAsyncio], ids=lambda face: face.name)
def shell(request: pytest.FixtureRequest) -> Iterator[Face]:
    """Each shell's multiplexed pool under redpool's client, where the client makes no difference."""
    made: Face = request.param()
    yield made
    made.close()


@pytest.fixture
def multiplexed_threads() -> Iterator[OwnThreads]:
    """The same for threads alone."""
    made = OwnThreads()
    yield made
    made.close()


@pytest.fixture
def interrupted_anywhere(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """An exception may come where only the test is to blame, and nothing old is left to be collected."""
    # It can't be raised out of a finalizer.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    # It would leave the lock of the logging module locked.
    caplog.set_level(logging.CRITICAL, logger="redpool")
    gc.collect()


@pytest.fixture
def started_undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread is interrupted from another while it starts a third."""
    monkeypatch.setattr(threading.Thread, "start", start_undisturbed)


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def mute_at(request: pytest.FixtureRequest, mute: Mute) -> dict[str, Any]:
    """Where the mute server is, as a pool's keywords, with each protocol."""
    return {**mute.at, "protocol": request.param}


@pytest.fixture
def protocol(request: pytest.FixtureRequest) -> int:
    """The newer one, where both are not asked for."""
    return getattr(request, "param", 3)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The recorder, which each test begins."""
    from opentelemetry import metrics

    from .recorder import Recorded

    made = Recorded()
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: made.provider)
    # A pool of redis-py's records as it is collected, maybe in the midst of the SDK, where it would wait for itself.
    gc.collect()
    gc.disable()
    yield made
    made.end()
    gc.enable()
