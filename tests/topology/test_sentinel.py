"""Clients of a master and of its replicas, wherever they are."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import redis
from redis.exceptions import ExecAbortError, ReadOnlyError

import redpool
from redpool import ReplyLost
from redpool.fleet import Reader
from redpool.fleet.keys import DEFAULT, Keys
from redpool.redispy import sentinel, sharing
from redpool.wire.pipeline import Request
from support.faces import Face, eventually, say

from .servers import SERVICE, STARTS_WITHIN, Guarded, Pair


class Manager:
    """What a pool asks of a Sentinel."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair

    def discover_master(self, service: str) -> tuple[str, int]:
        return self.pair.address(0)

    def discover_slaves(self, service: str) -> list[tuple[str, int]]:
        return [self.pair.address(1)]


class AsyncManager(Manager):
    """The same for event loops."""

    async def discover_master(self, service: str) -> tuple[str, int]:  # type: ignore[override]
        return super().discover_master(service)

    async def discover_slaves(self, service: str) -> list[tuple[str, int]]:  # type: ignore[override]
        return super().discover_slaves(service)


def pool_of(face: Face, pair: Pair, **options: Any) -> Any:
    """A pool that follows the pair."""
    pair.master.flushall()
    pool_class = face.redpool.Sentinel.master_for.__defaults__[1]
    manager = (AsyncManager if face.asynchronous else Manager)(pair)
    return face._keep(pool_class(SERVICE, manager, **options))


def client_of(face: Face, pool: Any, ours: bool = True) -> Any:
    """A client of ours, or of redis-py's."""
    module = face.redpool if ours else face.redis
    return face._wrap(module.Redis(connection_pool=getattr(pool, "_target", pool)))


@pytest.fixture(params=[True, False], ids=["our client", "redis-py's client"])
def ours(request: pytest.FixtureRequest) -> bool:
    """Which client is over the pool."""
    return bool(request.param)


# -- with a Sentinel ---------------------------------------------------------------------------------------------------


@pytest.mark.needs("closing a Sentinel")
def test_a_failover_is_followed(face: Face, guarded: Guarded) -> None:
    """With a retry policy no caller notices, over a shared or a dedicated connection."""
    retry = face.retry(40, 0.05)
    sentinel = face._wrap(face.redpool.Sentinel(guarded.sentinels, retry=retry, max_connections=5, service="shop"))
    client = sentinel.master_for(SERVICE, timeout=STARTS_WITHIN)
    pool = face._keep(getattr(client.connection_pool, "_target", client.connection_pool))
    client.set("n", 1)
    assert client.blpop("nothing", timeout=0.01) is None
    before = guarded.master
    assert pool.master_address == ("127.0.0.1", before)
    assert guarded.fail_over() != before
    assert client.incr("n") == 2
    assert client.blpop("nothing", timeout=0.01) is None
    assert pool.master_address == ("127.0.0.1", guarded.master)
    assert client.role()[0] == b"master"
    assert pool.stats().max_connections == 5
    assert client.client_getname().startswith(f"shop/{SERVICE}/0@")
    sentinel.close()


@pytest.mark.needs("closing a Sentinel")
def test_a_pool_outlives_its_client(face: Face, guarded: Guarded) -> None:
    """Kombu and Celery keep `master_for(...).connection_pool`, and drop the client."""
    with face._wrap(face.redpool.Sentinel(guarded.sentinels)) as sentinel:
        pool = face._keep(sentinel.master_for(SERVICE).connection_pool._target if face.asynchronous else
                          sentinel.master_for(SERVICE).connection_pool)  # fmt: skip
        gc.collect()
        for _ in range(2):
            client = face.client_from_pool(pool)
            assert client.set("key", "value") is True
            assert client.role()[0] == b"master"
            del client
            gc.collect()
        with pool.connection() as connection:
            assert say(connection, "ECHO", "mine") == b"mine"


@pytest.mark.needs("closing a Sentinel")
def test_replicas_are_read(face: Face, guarded: Guarded) -> None:
    """`slave_for`, and `replica_for`, which is the same: what is written to a replica is refused."""
    with face._wrap(face.redpool.Sentinel(guarded.sentinels)) as sentinel:
        for client in (sentinel.slave_for(SERVICE), sentinel.replica_for(SERVICE)):
            pool = face._keep(getattr(client.connection_pool, "_target", client.connection_pool))
            assert eventually(lambda client=client: client.role()[0] == b"slave")  # type: ignore[misc]
            with pytest.raises(ReadOnlyError):
                client.set("n", 1)
            assert pool.stats().commands >= 2
            assert "mymaster replicas" in repr(pool)


@pytest.mark.needs("closing a Sentinel")
def test_the_sentinels_themselves(face: Face, guarded: Guarded) -> None:
    """Their commands, and an unknown service, are as in redis-py; a closed client may be used again."""
    sentinel = face._wrap(face.redpool.Sentinel(guarded.sentinels))
    assert sentinel.discover_master(SERVICE) == ("127.0.0.1", guarded.master)
    sentinel.close()
    assert sentinel.discover_master(SERVICE) == ("127.0.0.1", guarded.master)
    assert sentinel.sentinel_master(SERVICE, return_responses=True)[0]["name"] == SERVICE
    client = sentinel.master_for("no caller")
    face._keep(getattr(client.connection_pool, "_target", client.connection_pool))
    with pytest.raises(redis.ConnectionError, match="No master found for 'no caller'"):
        client.ping()
    sentinel.close()


# -- demoted -----------------------------------------------------------------------------------------------------------


@pytest.mark.needs("retries by default")
def test_what_a_demoted_master_refuses_goes_to_the_next_one(face: Face, pair: Pair, ours: bool) -> None:
    """Under the retry policy: it has not run, so that even INCR may go again."""
    pool = pool_of(face, pair, retry=face.retry(1))
    client = client_of(face, pool, ours)
    assert client.incr("n") == 1
    assert pool.stats().commands == 1
    pair.change_places()
    pair.master.set("n", 10)
    assert client.incr("n") == 11
    assert pool.stats().connected == 2
    assert pool.stats().commands == 3


def test_without_a_policy_it_is_raised_as_redis_py_tells_it(face: Face, pair: Pair, ours: bool) -> None:
    """Once, as an error of the connection; the next call is over another one."""
    client = client_of(face, pool_of(face, pair), ours)
    client.incr("n")
    pair.change_places()
    with pytest.raises(redis.ConnectionError, match="The previous master is now a slave") as caught:
        client.incr("n")
    assert not isinstance(caught.value, ReplyLost)
    client.incr("n")
    assert client.role()[0] == b"master"


@pytest.mark.needs("retries by default")
def test_so_it_is_over_a_connection_of_ones_own(face: Face, pair: Pair, ours: bool) -> None:
    """BLPOP on a demoted master takes the job from the next one."""
    client = client_of(face, pool_of(face, pair, retry=face.retry(1)), ours)
    assert client.blpop("jobs", timeout=0.01) is None
    pair.change_places()
    pair.master.rpush("jobs", "job")
    assert client.blpop("jobs", timeout=1) == (b"jobs", b"job")


@pytest.mark.needs("retries by default")
@pytest.mark.parametrize("transaction", [True, False], ids=["multi", "plain"])
def test_so_it_is_with_pipelines(face: Face, pair: Pair, ours: bool, transaction: bool) -> None:
    """What has run of it has changed nothing, so that it goes to the next one as a whole."""
    client = client_of(face, pool_of(face, pair, retry=face.retry(1)), ours)
    client.incr("n")
    pair.change_places()
    pair.master.set("n", 10)
    pipe = client.pipeline(transaction=transaction)
    pipe.incr("n")
    pipe.incr("n")
    assert pipe.execute() == [11, 12]


def test_a_pipeline_that_has_changed_something_does_not_start_over() -> None:
    """Its caller gets the replies as they are; what was refused has not run."""
    no = ReadOnlyError("READONLY")
    incr, get = ("INCR", "n"), ("GET", "n")
    for commands, replies, rule, may in (
        (incr, no, "none", True),
        ([incr, incr], [no, no], "none", True),
        ([get, incr], [b"1", no], "safe", True),
        ([get, incr], [b"1", no], "none", False),
        ([incr, incr], [1, no], "safe", False),
        ([incr, incr], [1, no], "all", True),
        ([("MULTI",), incr, ("EXEC",)], [b"OK", no, ExecAbortError("EXECABORT")], "safe", True),
    ):
        assert sharing.refused(replies)
        assert sentinel.may_start_over(Request(commands, b"", 0), replies, rule) is may
    assert not sharing.refused([b"1", redis.ResponseError("no")])


def test_the_refused_of_one_master_do_not_disturb_the_next(threads: Face, pair: Pair) -> None:
    """Of many that are rejected at once, the first one has the connections replaced; those to the next one stay."""
    pool = pool_of(threads, pair, retry=threads.retry(3))
    client = client_of(threads, pool)
    client.incr("n")
    pair.change_places()
    client.incr("n")
    generation = pool._engine.core.generation
    for sent_at, drained in ((generation - 1, 0), (generation, 1)):
        with pytest.raises(sentinel.Demoted):
            pool._engine.multiplexed._seen(ReadOnlyError(), Request(("INCR", "n"), b""), sent_at)
        assert pool._engine.core.generation == generation + drained


def test_a_pool_finds_the_next_master_when_it_connects(face: Face, pair: Pair) -> None:
    """Then all that goes to the last one is replaced, idle ones too."""
    pool = pool_of(face, pair)
    client = client_of(face, pool)
    client.incr("n")
    assert client.blpop("jobs", timeout=0.01) is None  # one of its own, idle now
    pair.change_places()
    assert pool.get_master_address() == pair.address(0)
    client.incr("n")
    pair.master.rpush("jobs", "job")
    assert client.blpop("jobs", timeout=1) == (b"jobs", b"job")


def test_a_fleet_reports_to_a_master_that_sentinel_knows(guarded: Guarded) -> None:
    """By default a process reports to the master, once it is known, and never to a Sentinel."""
    sentinel = redpool.Sentinel(guarded.sentinels)
    client: Any = sentinel.master_for(SERVICE)
    reader = Reader(f"redis://127.0.0.1:{guarded.master}")
    with redpool.publish([client, sentinel.sentinels[0]], service="checkout", period=0.05):
        client.ping()
        assert eventually(lambda: reader.read().processes)
        pools = {pool.name: pool.address for pool in reader.read().processes[0].pools}
        assert pools[f"{SERVICE}/0"] == f"127.0.0.1:{guarded.master}"
    reader.close()
    client.connection_pool.close()
    with redis.Redis(port=guarded.master) as master:
        master.delete(Keys.of(DEFAULT).history)
