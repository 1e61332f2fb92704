"""`redpool.valkey` is redpool's own code once more; neither edition sees the other."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
import traceback
from typing import Any

import pytest
import redis
import redis.asyncio
import valkey
import valkey.asyncio
from valkey.asyncio.retry import Retry as AsyncRetry
from valkey.backoff import NoBackoff
from valkey.retry import Retry

import redpool
import redpool.asyncio
import redpool.valkey
import redpool.valkey.asyncio
from redpool.valkey.edition import SECOND, THEIRS, TWICE

FAMILIES = [
    (redpool, redis, "redis."),
    (redpool.asyncio, redis.asyncio, "redis."),
    (redpool.valkey, valkey, "valkey."),
    (redpool.valkey.asyncio, valkey.asyncio, "valkey."),
]


@pytest.mark.parametrize(("home", "library", "within"), FAMILIES, ids=lambda each: getattr(each, "__name__", ""))
def test_each_is_of_one_family(home: Any, library: Any, within: str) -> None:
    """Pools, connections, clients and errors: nothing of the other library is among what they are derived from."""
    client = home.Redis if hasattr(home, "Redis") else home.Valkey
    pool = home.MultiplexedConnectionPool()
    of_others = {"redis.", "valkey."} - {within}
    for each in (type(pool), type(pool.make_connection()), client, *(getattr(home, name) for name in ERRORS)):
        modules = {f"{base.__module__}." for base in each.__mro__}
        assert any(module.startswith(within) for module in modules), each
        assert not any(module.startswith(other) for module in modules for other in of_others), each
    assert isinstance(pool, library.ConnectionPool)


ERRORS = ("DeadlineExceeded", "PoolClosed", "PoolFull", "PoolTimeout", "ReplyLate", "ReplyLost")


def test_what_is_there_once() -> None:
    """The names that have nothing to do with redis-py are the same; no module runs twice without need."""
    for name in ("Instrument", "MultiplexedPoolStats", "PoolDump", "PoolStats", "deadline"):
        assert getattr(redpool.valkey, name) is getattr(redpool, name)
    own = {name.removeprefix(SECOND) for name in sys.modules if name.startswith(SECOND)}
    there = {name for name in own if (f"redpool.{name}" in sys.modules and f"{SECOND}{name}" not in WRITTEN)}
    assert {"errors", "redispy.internals", "sync.pool", "asyncio.pool"} <= there
    assert {name for name in there if not any(f"{name}.".startswith(f"{each}.") for each in TWICE)} == {"core"}


WRITTEN = {"redpool.valkey.asyncio"}
"""What this edition has besides."""


def test_the_names_are_redpools() -> None:
    """With valkey-py's names for its clients."""
    for home, twin in ((redpool, redpool.valkey), (redpool.asyncio, redpool.valkey.asyncio)):
        expected = {name.replace("Redis", "Valkey") for name in home.__all__}
        assert set(twin.__all__) == expected
        assert twin.__all__ == sorted(twin.__all__)


def test_code_is_found() -> None:
    """A traceback shows the lines, and editors find the source."""
    pool = redpool.valkey.ConnectionPool()
    assert inspect.getsource(type(pool)) == inspect.getsource(redpool.ConnectionPool)
    with pytest.raises(TypeError) as caught:
        redpool.valkey.ConnectionPool(hots="localhost")  # type: ignore[call-overload]  # misspelt
    shown = "".join(traceback.format_exception(caught.value))
    assert "options.check_names(" in shown


def test_imports_of_others_are_untouched() -> None:
    """`import redis` means redis-py everywhere else, and there is no module of it among the second edition's."""
    assert "redis" in sys.modules
    assert sys.modules["redis"] is redis
    assert sys.modules[THEIRS].exceptions.RedisError is valkey.ValkeyError
    assert "Redis" not in vars(valkey.client)


def test_errors_can_be_pickled() -> None:
    """For the sake of worker processes, which have imported nothing yet."""
    text = pickle.dumps(redpool.valkey.PoolTimeout("it took too long"))
    program = f"import pickle; print(type(pickle.loads({text!r})).__module__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == redpool.valkey.PoolTimeout.__module__


def test_valkey_py_is_needed() -> None:
    """Where it isn't installed, an error says how to get it; redpool itself does without."""
    program = "import sys; sys.modules['valkey'] = None\nimport redpool\nimport redpool.valkey"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("ImportError: redpool.valkey needs valkey-py: pip install 'redpool[valkey]'\n")
    assert '<string>", line 3' in done.stderr


def test_redpool_imports_none_of_it() -> None:
    """Who uses redis-py alone pays nothing for valkey-py."""
    program = "import redpool, redpool.asyncio, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not [name for name in done.stdout.split() if "valkey" in name]


def test_what_valkey_py_has_not() -> None:
    """A feature that only redis-py has is refused at construction."""
    with pytest.raises(valkey.ValkeyError, match="cache_enabled: client-side caching needs redis-py"):
        redpool.valkey.Valkey(protocol=3, cache_enabled=True)  # type: ignore[call-arg]  # not an option
    with pytest.raises(valkey.ValkeyError, match="cache_config: client-side caching needs redis-py"):
        redpool.valkey.ConnectionPool(protocol=3, cache_config=object())  # type: ignore[call-overload]  # as above


def test_what_is_of_the_wrong_kind() -> None:
    """The error names what to use."""
    retries: Any = AsyncRetry(NoBackoff(), 1), Retry(NoBackoff(), 1)
    with pytest.raises(TypeError, match=r"retry must be a valkey\.retry\.Retry, not valkey\.asyncio\.retry\.Retry"):
        redpool.valkey.ConnectionPool(retry=retries[0])
    with pytest.raises(TypeError, match=r"retry must be a valkey\.asyncio\.retry\.Retry"):
        redpool.valkey.asyncio.ConnectionPool(retry=retries[1])
    pools: Any = redpool.valkey.ConnectionPool(), redpool.valkey.asyncio.ConnectionPool()
    with pytest.raises(TypeError, match=r"use a pool of redpool\.valkey\.asyncio, or a client of valkey$"):
        valkey.asyncio.Valkey(connection_pool=pools[0])
    with pytest.raises(TypeError, match=r"use a pool of redpool\.valkey, or a client of valkey\.asyncio$"):
        valkey.Valkey(connection_pool=pools[1])
