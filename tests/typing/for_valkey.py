"""What type checkers know of `redpool.valkey`. Nothing here runs: `test_typing.py` has checkers read it."""

from __future__ import annotations

from typing import Any, assert_type

import valkey
import valkey.asyncio
from valkey.asyncio.retry import Retry as AsyncRetry
from valkey.backoff import NoBackoff
from valkey.retry import Retry

import redpool.valkey
import redpool.valkey.asyncio


class MyConnection(valkey.Connection):
    """A user's connection, with an option of its own."""

    def __init__(self, zone: str = "", **kwargs: Any) -> None:
        theirs: Any = super()  # it has no types
        theirs.__init__(**kwargs)
        self.zone = zone


def pools() -> None:
    """Either pool goes wherever valkey-py takes one, and takes valkey-py's options."""
    pool = redpool.valkey.ConnectionPool(host="localhost", max_connections=3, retry=Retry(NoBackoff(), 1))
    shared = redpool.valkey.MultiplexedConnectionPool(valkey.SSLConnection, 3, ssl_ca_certs="ca", max_in_flight=10)
    for each in (pool, shared):
        assert_type(valkey.Valkey(connection_pool=each), valkey.Valkey)
    assert_type(shared.stats(), redpool.valkey.MultiplexedPoolStats)
    assert_type(
        redpool.valkey.ConnectionPool.from_url("valkey://localhost", max_connections=3), redpool.valkey.ConnectionPool
    )
    redpool.valkey.BlockingConnectionPool(10, 5.0, host="localhost", min_idle=2)
    redpool.valkey.ConnectionPool(MyConnection, zone="a", timeout=None)
    with shared as same, redpool.valkey.deadline(1.0):
        assert_type(same, redpool.valkey.MultiplexedConnectionPool)


def clients(error: redpool.valkey.ReplyLate) -> None:
    """Redpool's are valkey-py's; so are the errors."""
    own = redpool.valkey.Valkey("localhost", 6379, shared_connections=2, ssl=True)
    taken: list[valkey.Valkey] = [own]
    assert_type(redpool.valkey.from_url("valkey://localhost", min_idle=2), redpool.valkey.Valkey)
    assert_type(redpool.valkey.Sentinel([("localhost", 26379)]).master_for("mymaster"), redpool.valkey.Valkey)
    caught: tuple[valkey.ConnectionError, valkey.TimeoutError] = error, error
    assert_type((len(taken), len(caught), error.command, error.sent), tuple[int, int, str, bool])


async def tasks() -> None:
    """The same on event loops."""
    async with redpool.valkey.asyncio.MultiplexedConnectionPool(retry=AsyncRetry(NoBackoff(), 1)) as pool:
        assert_type(pool.stats(), redpool.valkey.MultiplexedPoolStats)
        assert_type(valkey.asyncio.Valkey(connection_pool=pool), valkey.asyncio.Valkey)
    assert_type(redpool.valkey.asyncio.from_url("valkeys://localhost"), redpool.valkey.asyncio.Valkey)


def mistakes() -> None:
    """They are found."""
    redpool.valkey.ConnectionPool(hots="localhost")  # type: ignore[call-overload]  # misspelt
    redpool.valkey.ConnectionPool(redis_connect_func=print)  # type: ignore[call-overload]  # redis-py's
    redpool.valkey.ConnectionPool(retry=AsyncRetry(NoBackoff(), 1))  # type: ignore[call-overload]  # for event loops
    redpool.valkey.Valkey(shared_conections=2)  # type: ignore[call-arg]  # misspelt
    redpool.valkey.Redis()  # type: ignore[attr-defined]  # it is `Valkey`
