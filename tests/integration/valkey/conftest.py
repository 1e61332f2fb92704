"""Each kind of pool of `redpool.valkey` in each shell, under valkey-py's clients; and redpool's client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import valkey
import valkey.asyncio
from valkey.asyncio.retry import Retry as AsyncRetry
from valkey.backoff import ConstantBackoff
from valkey.retry import Retry

import redpool.valkey as home
import redpool.valkey.asyncio as home_asyncio
from support.faces import Asyncio, Face, Threads, _unwrapped


class _Valkeys(Face):
    """What both shells have of valkey-py, which calls its client `Redis`, too."""

    def client(self, pool: Any, **options: Any) -> Any:
        kind = self.redpool.Valkey if self.own_client else self.redis.Valkey
        return self._wrap(kind(connection_pool=_unwrapped(pool), **options))

    def retry(self, retries: int, base: float = 0.0) -> Any:
        return self.retry_class(ConstantBackoff(base), retries)


class ThreadsOfValkey(_Valkeys, Threads):
    """valkey-py's client over the pool for threads."""

    redpool: ClassVar[Any] = home
    redis: ClassVar[Any] = valkey
    pool_class: ClassVar[Any] = home.ConnectionPool
    retry_class: ClassVar[Any] = Retry


class TasksOfValkey(_Valkeys, Asyncio):
    """valkey-py's client over the pool for event loops."""

    redpool: ClassVar[Any] = home_asyncio
    redis: ClassVar[Any] = valkey.asyncio
    pool_class: ClassVar[Any] = home_asyncio.ConnectionPool
    retry_class: ClassVar[Any] = AsyncRetry


class MultiplexedThreadsOfValkey(ThreadsOfValkey):
    """valkey-py's client over the multiplexed pool for threads."""

    pool_class = home.MultiplexedConnectionPool


class MultiplexedTasksOfValkey(TasksOfValkey):
    """valkey-py's client over the multiplexed pool for event loops."""

    pool_class = home_asyncio.MultiplexedConnectionPool


class OwnThreadsOfValkey(MultiplexedThreadsOfValkey):
    """redpool.valkey.Valkey."""

    own_client = True


class OwnTasksOfValkey(MultiplexedTasksOfValkey):
    """redpool.valkey.asyncio.Valkey."""

    own_client = True


DEDICATED: dict[str, type[Face]] = {"threads": ThreadsOfValkey, "asyncio": TasksOfValkey}
MULTIPLEXED: dict[str, type[Face]] = {
    "threads, multiplexed": MultiplexedThreadsOfValkey,
    "threads, client": OwnThreadsOfValkey,
    "asyncio, multiplexed": MultiplexedTasksOfValkey,
    "asyncio, client": OwnTasksOfValkey,
}


def _closed_after(request: pytest.FixtureRequest) -> Iterator[Face]:
    made: Face = request.param()
    yield made
    made.close()


@pytest.fixture(params=DEDICATED.values(), ids=list(DEDICATED))
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """Each shell in turn, where the kind of pool makes no difference."""
    yield from _closed_after(request)


@pytest.fixture(params=[*DEDICATED.values(), *MULTIPLEXED.values()], ids=[*DEDICATED, *MULTIPLEXED])
def any_face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """Each kind of pool in each shell, under each client."""
    yield from _closed_after(request)


@pytest.fixture(params=MULTIPLEXED.values(), ids=list(MULTIPLEXED))
def multiplexed_face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """The multiplexed pool of each shell, under each client."""
    yield from _closed_after(request)
