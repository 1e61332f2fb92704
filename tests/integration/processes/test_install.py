"""`redpool.install()`: wherever redis-py's pools are made, in any module and by any name, ours are."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.client
import redis.sentinel
from redis import BlockingConnectionPool, ConnectionPool  # names that a module has before

import redpool
import redpool.asyncio
from redpool.cli import main


@pytest.fixture(autouse=True)
def _ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("REDPOOL_KIND", "REDPOOL_MAX_CONNECTIONS"):
        monkeypatch.delenv(name, raising=False)
    yield
    redpool.uninstall()


def everywhere(url: str = "redis://localhost:1") -> list[Any]:
    """Return a pool made in each way that redis-py has, but for Sentinel's."""
    return [
        ConnectionPool(),
        ConnectionPool.from_url(url),
        redis.connection.ConnectionPool(redis.Connection),
        BlockingConnectionPool(),
        BlockingConnectionPool.from_url(url),
        redis.Redis().connection_pool,
        redis.from_url(url).connection_pool,
        redis.client.StrictRedis(unix_socket_path="/nowhere").connection_pool,
        redis.asyncio.ConnectionPool(),
        redis.asyncio.BlockingConnectionPool.from_url(url),
        redis.asyncio.Redis().connection_pool,
        redis.asyncio.from_url(url).connection_pool,
    ]


def of_sentinel() -> list[Any]:
    return [
        redis.sentinel.Sentinel([("localhost", 1)]).master_for("some").connection_pool,
        redis.asyncio.sentinel.Sentinel([("localhost", 1)]).master_for("some").connection_pool,
    ]


@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        ("dedicated", (redpool.ConnectionPool, redpool.asyncio.ConnectionPool)),
        ("multiplexed", (redpool.MultiplexedConnectionPool, redpool.asyncio.MultiplexedConnectionPool)),
    ],
)
def test_redis_py_s_classes_make_ours(kind: str, classes: tuple[type, type]) -> None:
    """Each way to make a pool of redis-py's makes one of the kind asked for, until `uninstall()`."""
    redpool.install(kind, max_connections=7)
    made = everywhere()
    assert all(type(pool).__bases__[0] in classes for pool in made)
    assert {pool.max_connections for pool in made + of_sentinel()} == {7}
    shared = redpool.MultiplexedConnectionPool | redpool.asyncio.MultiplexedConnectionPool
    assert all(isinstance(pool, shared) for pool in of_sentinel())
    redpool.uninstall()
    assert not any(isinstance(pool, classes) for pool in everywhere() + of_sentinel())


def test_commands_run_as_before(redis_url: str) -> None:
    """redis-py's own clients work over the pools, for threads and on an event loop."""

    async def ask() -> Any:
        async with redis.asyncio.from_url(redis_url) as client:
            return await client.incr("installed")

    redpool.install("multiplexed")
    with redis.from_url(redis_url) as client:
        assert client.set("installed", 1)
        assert client.pipeline().get("installed").execute() == [b"1"]
        assert client.connection_pool.stats().writes == 2
    assert asyncio.run(ask()) == 2


def test_what_the_maker_says_comes_first() -> None:
    """The options are for those that say nothing; positional arguments have redis-py's order, after two calls, too."""
    redpool.install(max_connections=7, timeout=1.0)
    redpool.install(max_connections=8, timeout=2.0, max_waiting=3)
    cases: list[tuple[Any, tuple[Any, ...]]] = [
        (BlockingConnectionPool(4, 5), (4, 5, 3)),
        (ConnectionPool(redis.Connection, 4), (4, 2.0, 3)),
        (redis.Redis(max_connections=4).connection_pool, (4, 2.0, 3)),
        (redis.from_url("redis://localhost:1/0?timeout=0.5&max_waiting=9").connection_pool, (8, 0.5, 9)),
        (redis.asyncio.BlockingConnectionPool(4, 5), (4, 5, 3)),
    ]
    for pool, said in cases:
        assert (pool.max_connections, pool.timeout, pool.config.max_waiting) == said
    redpool.install()
    assert BlockingConnectionPool().timeout == 20, "redis-py's own default"


def test_limits_are_for_those_that_say_nothing_of_their_size() -> None:
    """A library that asks for seven connections gets a pool of seven."""
    redpool.install(max_connections="auto", limits=(3, 9))
    pool: Any = redis.Redis().connection_pool
    assert pool.config.limits == (3, 9)
    assert redis.Redis(max_connections=7).connection_pool.max_connections == 7


def test_our_own_clients_are_made_as_before() -> None:
    """A client of ours reads redis-py's defaults from a pool of redis-py's, which the options don't concern."""
    redpool.install("multiplexed", shared_connections=3, max_connections=4)
    for client_class in (redpool.Redis, redpool.asyncio.Redis):
        pool = client_class(port=1, max_connections=2).connection_pool
        assert (pool.max_connections, pool.config.shared_connections) == (2, 1)


def test_what_stays_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Pools that were made before stay, and so do derived classes: the log names each once."""

    class Derived(ConnectionPool):
        pass

    before = ConnectionPool(port=6)
    with caplog.at_level(logging.WARNING, "redpool"):
        redpool.install()
        assert type(Derived()) is type(Derived.from_url("redis://localhost:1")) is Derived
    assert type(before) is ConnectionPool
    named, derived = (record.getMessage() for record in caplog.records)
    assert "redis.connection.ConnectionPool(localhost:6/0)" in named
    assert "Derived derives from redis-py's pool" in derived


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"kind": "both"}, "kind must be one of 'dedicated', 'multiplexed', not 'both'"),
        ({"max_connections": 0}, "not 0"),
        ({"max_conections": 3}, "max_conections=3; did you mean 'max_connections'"),
        ({"shared_connections": 2}, "shared_connections=2; kind='multiplexed' has it"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], error: str) -> None:
    """With its value; and nothing is installed."""
    with pytest.raises((TypeError, ValueError), match=error):
        redpool.install(**options)
    assert type(ConnectionPool()) is ConnectionPool


def test_the_environment_says_what_the_call_doesn_t(monkeypatch: pytest.MonkeyPatch) -> None:
    """`REDPOOL_KIND` and a variable for each option; a wrong one is named with its value."""
    monkeypatch.setenv("REDPOOL_KIND", "multiplexed")
    monkeypatch.setenv("REDPOOL_MAX_CONNECTIONS", "6")
    monkeypatch.setenv("REDPOOL_MAX_IDLE_TIME", "none")
    redpool.install()
    pool = redis.Redis().connection_pool
    assert isinstance(pool, redpool.MultiplexedConnectionPool)
    assert (pool.max_connections, pool.config.max_idle_time) == (6, None)
    redpool.install("dedicated", max_connections=5)
    assert ConnectionPool().max_connections == 5
    for name, value in (("REDPOOL_MAX_CONNECTIONS", "many"), ("REDPOOL_TIMEOUT", "-1"), ("REDPOOL_KIND", "")):
        with monkeypatch.context() as wrong:
            wrong.setenv(name, value)
            with pytest.raises(ValueError, match=f"{name}.*{value!r}"):
                redpool.install()


def test_redis_py_s_own_name_for_its_client_may_be_ours(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    """Where a program has put our clients where redis-py keeps its own, they are made as ever."""
    monkeypatch.setattr(redis.client, "Redis", redpool.Redis)
    monkeypatch.setattr(redis, "Redis", redpool.Redis)
    monkeypatch.setattr(redis.asyncio.client, "Redis", redpool.asyncio.Redis)
    with redis.from_url(redis_url) as client:
        assert type(client) is redpool.Redis
        assert client.ping()
    assert redpool.Redis(max_connections=4).connection_pool.max_connections == 4
    assert redpool.asyncio.Redis(max_connections=4).connection_pool.max_connections == 4


# -- redpool run -------------------------------------------------------------------------------------------------------

SHOW = "import redis; pool = redis.Redis().connection_pool; print(type(pool).__name__, pool.max_connections)"


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "redpool", "run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_run_reaches_the_processes_that_a_command_starts() -> None:
    """A child's child has our pools, too; and it has the arguments that it was given."""
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SHOW!r}]); print(sys.argv[1:])"
    said = run(
        "--max-connections", "6", "--kind", "multiplexed", "--", sys.executable, "-c", child, "--kind", "--", "x"
    )
    assert said == "MultiplexedConnectionPool 6\n['--kind', '--', 'x']"


@pytest.mark.parametrize(
    "first", ["import redpool.asyncio", "from importlib.util import find_spec; find_spec('redis')"]
)
def test_run_imports_nothing_earlier_than_the_command_does(first: str) -> None:
    """Our pools follow redis-py, in whichever way that is imported; a command that needs neither has neither."""
    code = f"import sys; assert not sys.modules.keys() & {{'redis', 'redpool'}}; {first}; {SHOW}"
    assert run(sys.executable, "-c", code) == "ConnectionPool 50"


def test_run_hides_no_sitecustomize(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the user has one, it runs, too."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.theirs = __file__")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))
    said = run("--", sys.executable, "-c", f"import sys, sitecustomize as s; print(sys.theirs == s.__file__); {SHOW}")
    assert said == "True\nConnectionPool 50"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--max-connections", "many", "true"), 2, "REDPOOL_MAX_CONNECTIONS must be a number, not 'many'"),
        ((), 2, "which command?"),
        (("--", "no-such-command"), 127, "no-such-command: No such file or directory"),
    ],
)
def test_run_says_what_is_wrong(
    arguments: tuple[str, ...], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the command starts; it needs no rich."""
    try:
        found = main(("run", *arguments))
    except SystemExit as stop:
        found = int(str(stop.code))
    assert (found, said in capsys.readouterr().err) == (status, True)
