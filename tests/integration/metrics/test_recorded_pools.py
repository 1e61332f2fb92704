"""With redis-py's OpenTelemetry recording on, redpool's pools record what redis-py's do."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterable
from typing import Any

import pytest
import redis.asyncio.observability.recorder
import redis.observability.recorder
from redis.observability.config import MetricGroup, OTelConfig
from redis.observability.providers import get_observability_instance

import redpool
from support.faces import Face, Watch, eventually
from support.recorder import Recorded

COUNT, CREATE, WAIT = (f"db.client.connection.{name}" for name in ("count", "create_time", "wait_time"))
TIMEOUTS, CLOSED = "db.client.connection.timeouts", "redis.client.connection.closed"
BASIC, ADVANCED = MetricGroup.CONNECTION_BASIC, MetricGroup.CONNECTION_ADVANCED
BOTH = [BASIC, ADVANCED]
Points = dict[str, list[Any]]

pytestmark = pytest.mark.needs("OpenTelemetry counts of connections")


def seen(recorded: Recorded) -> Points:
    """What is recorded of connections, the pools' identities aside, and what is none."""
    return {
        name: [re.sub(r"_[0-9a-f]{8}'", "_id'", repr(point)) for point in points if point[1]]
        for name, points in recorded.read().items()
        if ".connection." in name
    }


def uses(recorded: Recorded, pool: Any, theirs: list[Points] | None = None) -> list[Points]:
    """What is recorded as two connections are in use, then idle, then one is used again."""
    one, other = pool.get_connection(), pool.get_connection()
    if theirs is not None:  # a thread that has connected hands the connection over first
        eventually(lambda: seen(recorded) == theirs[0])
    found = [seen(recorded)]
    pool.release(one)
    pool.release(other)
    found.append(seen(recorded))
    pool.release(pool.get_connection())
    return [*found, seen(recorded)]


def numbers(recorded: Recorded, name: str, state: str | None = None) -> list[float]:
    """The values, or numbers of values, of a metric; of a state alone."""
    return [
        value
        for attributes, value, *_ in recorded.read().get(name, [None])[1:]
        if attributes.get("db.client.connection.state") == state
    ]


def counts(recorded: Recorded) -> tuple[float, float]:
    """How many connections are idle and in use, of all pools together."""
    idle, used = (sum(numbers(recorded, COUNT, state)) for state in ("idle", "used"))
    return idle, used


def counted_by_redis_py(recorded: Recorded, face: Face, at: dict[str, Any], groups: Iterable[Any]) -> list[Points]:
    """What is recorded of redis-py's pools: only the one that blocks records waits, and only the other one counts.

    On an event loop the one that blocks counts down what it hands out, but doesn't count it up.
    """
    found = []
    for kind in (face.redis.BlockingConnectionPool, face.redis.ConnectionPool):
        recorded.begin(metric_groups=groups)
        client = face.client_from_pool(kind(**at))
        found.append(uses(recorded, client.connection_pool))
        recorded.end()
        client.close()
        del client  # redis-py's pool takes its connections out of the count as it is collected
        gc.collect()
    return [
        blocking | {name: other[name] for name in other if name == COUNT}
        for blocking, other in zip(*found, strict=True)
    ]


@pytest.mark.parametrize("groups", [BOTH, [BASIC], [ADVANCED], [MetricGroup.COMMAND]], ids=str)
def test_the_same_is_recorded(any_face: Face, at: dict[str, Any], recorded: Recorded, groups: Any) -> None:
    """Names, units, attributes, boundaries and counts are redis-py's own."""
    theirs = counted_by_redis_py(recorded, any_face, at, groups)
    recorded.begin(metric_groups=groups)
    assert uses(recorded, any_face.pool(**at), theirs) == theirs


def test_shared_connections_are_in_use(multiplexed_face: Face, at: dict[str, Any], recorded: Recorded) -> None:
    """It is the pool that has it: one caller waits for the connect, and none for a connection from then on."""
    recorded.begin(metric_groups=BOTH)
    client = multiplexed_face.client(multiplexed_face.pool(**at))
    client.get("key")
    client.get("key")
    assert counts(recorded) == (0, 1)
    assert numbers(recorded, CREATE) == [1]
    assert numbers(recorded, WAIT) == [1]


def test_what_is_closed_is_recorded(any_face: Face, at: dict[str, Any], recorded: Recorded) -> None:
    """As redis-py says it of what it closes in order; redpool counts it no more then."""
    client = any_face.client_from_pool(any_face.redis.ConnectionPool(**at))
    pool = any_face.pool(**at)
    closed = []
    for each in (client.connection_pool, pool):
        recorded.begin(metric_groups=BOTH)
        uses(recorded, each)
        each.disconnect()
        assert eventually(lambda: CLOSED in seen(recorded))
        closed.append(seen(recorded)[CLOSED])
    assert closed[0] == closed[1]
    assert counts(recorded) == (0, 0)
    client.close()


def test_a_shared_connection_that_is_lost_is_recorded(
    multiplexed_face: Face, at: dict[str, Any], recorded: Recorded, watch: Watch
) -> None:
    """With the error, once."""
    recorded.begin(metric_groups=BOTH)
    client = multiplexed_face.client(multiplexed_face.pool(**at, client_name="lost"))
    client.get("key")
    watch.kill(*watch.ids("lost"))
    client.get("key")
    assert eventually(lambda: CLOSED in recorded.read())
    ((attributes, count),) = recorded.read()[CLOSED][1:]
    assert (attributes["redis.client.connection.close.reason"], attributes["error.type"]) == (
        "error",
        "ConnectionError",
    )
    assert count == 1


def test_a_caller_that_waits_in_vain_is_recorded(face: Face, at: dict[str, Any], recorded: Recorded) -> None:
    """In the counter that redis-py has for it."""
    recorded.begin(metric_groups=BOTH)
    pool = face.pool(**at, max_connections=1, timeout=0)
    connection = pool.get_connection()
    with pytest.raises(redpool.PoolTimeout):
        pool.get_connection()
    assert numbers(recorded, TIMEOUTS) == [1]
    assert numbers(recorded, WAIT) == [1]
    pool.release(connection)


def test_pools_that_are_there_are_counted(face: Face, at: dict[str, Any], recorded: Recorded) -> None:
    """Once the recorder is found to be on: here by another pool, which connects."""
    pool, other = face.pool(**at), face.pool(**at)
    face.open_connections(pool, 3)
    recorded.begin(metric_groups=BOTH)
    face.open_connections(other, 1)
    assert counts(recorded) == (4, 0)
    pool.release(pool.get_connection())
    assert sorted(numbers(recorded, WAIT)) in ([1, 1], [2])


def test_a_pool_that_is_gone_is_counted_no_more(at: dict[str, Any], recorded: Recorded) -> None:
    """Though it said nothing at its end."""
    recorded.begin(metric_groups=BOTH)
    pool = redpool.ConnectionPool(**at)
    pool.release(pool.get_connection())
    assert counts(recorded) == (1, 0)
    del pool
    gc.collect()
    assert eventually(lambda: counts(recorded) == (0, 0))


def test_no_connection_is_counted_twice(face: Face, at: dict[str, Any], recorded: Recorded) -> None:
    """Where redis-py makes another collector for the same provider."""
    recorded.begin(metric_groups=BOTH)
    pool = face.pool(**at)
    face.open_connections(pool, 2)
    assert counts(recorded) == (2, 0)
    redis.observability.recorder.reset_collector()
    redis.asyncio.observability.recorder.reset_collector()
    get_observability_instance().init(OTelConfig(metric_groups=BOTH))
    face.open_connections(pool, 3)
    assert counts(recorded) == (3, 0)
    assert sum(numbers(recorded, CREATE)) == 3


def test_a_checkout_pays_nothing_once_the_recorder_is_off(face: Face, at: dict[str, Any], recorded: Recorded) -> None:
    """The first one finds that it is off; and on again, it is found to be on where a connection is opened."""
    pool = face.pool(**at)
    for opened in (1, 2):
        recorded.begin(metric_groups=BOTH)
        face.open_connections(pool, opened)
        assert pool._watched
        assert numbers(recorded, WAIT) == [1]
        recorded.end()
        face.open_connections(pool, 1)
        assert not pool._watched
