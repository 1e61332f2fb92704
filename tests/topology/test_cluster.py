"""A cluster's client: one pool for each node, and redis-py's knowledge of who has which slot."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import redis
import redis.asyncio.connection
from redis.crc import key_slot

import redpool
from redpool import ReplyLate, ReplyLost
from redpool.core import retry_budget
from redpool.fleet import Reader
from redpool.fleet.keys import DEFAULT, Keys
from redpool.testing import FaultProxy
from support.children import in_child
from support.faces import PATIENCE, Doing, Face, eventually, together

from .servers import Cluster


@pytest.fixture
def empty(cluster: Cluster) -> Cluster:
    """No keys in it."""
    for node in cluster.nodes:
        node.flushall()
    return cluster


@contextmanager
def client_of(face: Face, cluster: Cluster, **options: Any) -> Iterator[Any]:
    """A client that has been used before."""
    at = {"host": cluster.servers[0].host, "port": cluster.servers[0].port, **options}
    client = face._wrap(face.redpool.RedisCluster(**at))
    try:
        client.ping(target_nodes=client.ALL_NODES)
        yield client
    finally:
        client.close()


def pools_of(client: Any) -> list[Any]:
    """Those of the nodes."""
    target = getattr(client, "_target", client)
    if target is client:
        return [node.redis_connection.connection_pool for node in client.get_nodes()]
    return [client._wrapped(pool) for pool in target._pools.by_name.values()]


@contextmanager
def proxies(cluster: Cluster) -> Iterator[dict[str, Any]]:
    """One in front of each node: the addresses for a client, and the proxies themselves."""
    with ExitStack() as stack:
        made = {each.port: stack.enter_context(FaultProxy(each.host, each.port)) for each in cluster.servers}
        yield {
            "at": {
                "port": made[cluster.servers[0].port].port,
                "address_remap": lambda address: (address[0], made[address[1]].port),
            },
            "all": list(made.values()),
        }


# -- commands ----------------------------------------------------------------------------------------------------------


def test_commands_go_to_their_nodes_over_shared_connections(face: Face, empty: Cluster) -> None:
    """Whatever many callers do at once: one connection to each node is enough."""
    with client_of(face, empty) as client:
        keys = [f"key:{number}" for number in range(12)]
        doings = together(12, lambda number: [client.incr(keys[number]) for _ in range(10)][-1])
        assert [doing.result() for doing in doings] == [10] * 12
        assert client.mget_nonatomic(keys) == [b"10"] * 12
        assert {empty.owner(key_slot(key.encode())) for key in keys} == {0, 1, 2}
        pools = pools_of(client)
        assert len(pools) == 3
        assert all(pool.stats().open == 1 for pool in pools)
        assert all(pool.stats().commands >= 10 for pool in pools)


def test_each_node_knows_whose_the_connections_are(face: Face, empty: Cluster) -> None:
    """By the name of the node's pool."""
    with client_of(face, empty, service="shop"):
        for node, server in zip(empty.nodes, empty.servers, strict=True):
            names = [each["name"] for each in node.client_list()]
            assert any(name.startswith(f"shop/{server.host}:{server.port}/0@") for name in names)


@pytest.mark.needs("subscribers of a cluster on event loops")
def test_what_cannot_share_has_its_own_connection(face: Face, empty: Cluster) -> None:
    """It goes back to the node's pool: a blocking command, a transaction under WATCH, a subscription."""
    with client_of(face, empty) as client:
        client.rpush("jobs", "job")
        assert client.blpop(["jobs"], timeout=1) == (b"jobs", b"job")
        assert client.dump("nothing") is None
        with client.pubsub() as pubsub:
            pubsub.subscribe("news")
            assert pubsub.get_message(timeout=10)["type"] == "subscribe"
            client.publish("news", "one")
            assert eventually(lambda: (pubsub.get_message(timeout=1) or {}).get("data") == b"one")
        assert eventually(lambda: all(pool.stats().in_use == 1 for pool in pools_of(client)))


@pytest.mark.needs("cluster pipelines by strategies")
def test_watch(empty: Cluster) -> None:
    """With threads; redis-py's asyncio twin says WATCH over a loop that is gone when EXEC is said."""
    with redpool.RedisCluster(host=empty.servers[0].host, port=empty.servers[0].port) as client:
        client.set("a", 1)

        def add(pipe: Any) -> None:
            seen = int(pipe.get("a"))
            pipe.multi()
            pipe.set("a", seen + 1)

        assert client.transaction(add, "a") == [b"OK"]
        assert client.get("a") == b"2"
        assert all(pool.stats().in_use <= 1 for pool in pools_of(client))


def test_options_of_the_pools_stand_beside_redis_pys(face: Face, empty: Cluster) -> None:
    """In each way of making a client."""
    port = empty.servers[0].port
    ways: list[dict[str, Any]] = [{"host": "127.0.0.1", "port": port}]
    ways.append({"startup_nodes": [redis.cluster.ClusterNode("127.0.0.1", port)]})
    makers: list[Any] = [lambda options, way=way: face.redpool.RedisCluster(**way, **options) for way in ways]
    makers.append(lambda options: face.redpool.RedisCluster.from_url(f"redis://127.0.0.1:{port}", **options))
    for make in makers:
        client = face._wrap(make({"max_connections": 3, "max_in_flight": 7, "decode_responses": True}))
        client.set("a", "b")
        assert client.get("a") == "b"
        for pool in pools_of(client):
            assert (pool.config.max_connections, pool.config.max_in_flight) == (3, 7)
        client.close()
        client = face._wrap(make({"max_connections": "auto", "limits": (1, 3)}))
        client.ping(target_nodes=client.ALL_NODES)
        assert all(pool.config.limits == (1, 3) for pool in pools_of(client))
        client.close()


def test_another_pool_may_be_given(empty: Cluster) -> None:
    """As in redis-py, with a URL."""
    url = f"redis://127.0.0.1:{empty.servers[0].port}"
    with redpool.RedisCluster.from_url(url, connection_pool_class=redpool.ConnectionPool) as client:
        client.set("a", "b")
        assert {type(pool) for pool in pools_of(client)} == {redpool.ConnectionPool}
        for pool in pools_of(client):
            pool.close()


def test_a_patch_onto_redis_pys_connections_is_seen(
    face: Face, empty: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another stands in the place of a connection's method, it runs: nothing goes over a shared connection."""
    owner = (redis.asyncio.connection if face.asynchronous else redis.connection).AbstractConnection
    before, calls = owner.send_packed_command, 0

    def tracking(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return before(*args, **kwargs)

    monkeypatch.setattr(owner, "send_packed_command", tracking)
    with client_of(face, empty) as client:
        calls = 0
        client.set("a", 1)
        client.pipeline().set("a", 2).set("b", 3).execute()
        assert calls >= 3
        assert client.get("a") == b"2"
        assert sum(pool.stats().commands for pool in pools_of(client)) == 0


@pytest.mark.needs("subscribers of a cluster on event loops")
def test_a_client_that_was_closed_serves_when_it_is_asked(face: Face, empty: Cluster) -> None:
    """Nothing waits: what is idle is closed at once, and subscribers end."""
    with client_of(face, empty) as client:
        subscribed = threading.Event()

        def listen() -> None:
            pubsub = client.pubsub()
            pubsub.subscribe("news")
            try:
                for _ in pubsub.listen():
                    subscribed.set()
            finally:
                pubsub.close()

        client.set("a", "b")
        pools = pools_of(client)
        listening = Doing(listen)
        assert subscribed.wait(PATIENCE)
        client.close()
        assert isinstance(listening.ended(), redis.ConnectionError)
        assert eventually(lambda: [pool.stats().idle for pool in pools] == [0] * len(pools))
        if face.asynchronous:
            assert client.get("a") == b"b"
        else:  # redis-py's own cluster client for threads has forgotten its nodes by then
            assert [face.client(pool).ping() for pool in pools] == [True] * len(pools)


def test_a_client_that_is_dropped_is_collected(threads: Face, empty: Cluster) -> None:
    """Its connections, which the pools' threads see, don't keep it: what was open is closed with it."""
    client = threads.redpool.RedisCluster(host="127.0.0.1", port=empty.servers[0].port)
    client.set("a", "b")
    gone = weakref.ref(client)
    del client
    assert eventually(lambda: gc.collect() is not None and gone() is None)


# -- slots that move ---------------------------------------------------------------------------------------------------


def test_a_slot_that_moves_is_followed(face: Face, empty: Cluster) -> None:
    """ASK while it is under way, MOVED afterwards: no caller notices, and no pipeline."""
    with client_of(face, empty) as client:
        slot = key_slot(b"{a}")
        client.set("{a}old", "old")
        source, target = empty.begin_to_move(slot)
        assert together(4, lambda number: client.set(f"{{a}}{number}", "new"))[3].result() is True
        assert client.get("{a}old") == b"old"
        assert client.get("{a}1") == b"new"
        pipe = client.pipeline()
        pipe.get("{a}old")
        pipe.incr("{a}n")
        pipe.set("other", 1)
        assert pipe.execute() == [b"old", 1, True]
        assert empty.nodes[source].execute_command("CLUSTER COUNTKEYSINSLOT", slot) == 1
        assert empty.nodes[target].execute_command("CLUSTER COUNTKEYSINSLOT", slot) == 5
        empty.finish_to_move(slot, target)
        assert client.get("{a}old") == b"old"
        assert pipe_of(client, ("incr", "{a}n"), ("get", "{a}old")).execute() == [2, b"old"]
        assert all(pool.stats().open <= 6 for pool in pools_of(client))


def pipe_of(client: Any, *commands: tuple[Any, ...], transaction: bool | None = None) -> Any:
    """A pipeline with these in it."""
    pipe = client.pipeline(transaction)
    for name, *args in commands:
        getattr(pipe, name)(*args)
    return pipe


# -- pipelines ---------------------------------------------------------------------------------------------------------


def test_a_pipeline_over_all_nodes(face: Face, empty: Cluster) -> None:
    """Replies come in the order of the commands; an error names its position, or is among the replies."""
    with client_of(face, empty) as client:
        commands = [("incr", f"key:{number % 9}") for number in range(27)]
        assert pipe_of(client, *commands).execute() == [1] * 9 + [2] * 9 + [3] * 9
        wrong = pipe_of(client, ("set", "a", 1), ("hset", "a", "b", "c"), ("get", "a"))
        with pytest.raises(redis.ResponseError, match=r"Command # 2 \(HSET a b c\)"):
            wrong.execute()
        wrong = pipe_of(client, ("set", "a", 1), ("hset", "a", "b", "c"), ("get", "a"))
        first, second, third = wrong.execute(raise_on_error=False)
        assert (first, type(second), third) == (True, redis.ResponseError, b"1")


def test_nodes_work_on_a_pipeline_at_the_same_time(face: Face, empty: Cluster) -> None:
    """Each has its commands before the first one has answered."""
    with proxies(empty) as nodes, client_of(face, empty, **nodes["at"]) as client:
        keys = [f"key:{number}" for number in range(9)]
        for proxy in nodes["all"]:
            proxy.delay(60.0)
        doing = Doing(pipe_of(client, *[("incr", key) for key in keys]).execute)
        owners = [empty.nodes[empty.owner(key_slot(key.encode()))] for key in keys]
        assert eventually(lambda: [owner.get(key) for owner, key in zip(owners, keys, strict=True)] == ["1"] * 9)
        for proxy in nodes["all"]:
            proxy.heal()
        assert doing.result() == [1] * 9


@pytest.mark.parametrize(
    "transaction",
    [
        pytest.param(None, id="plain"),
        pytest.param(True, id="multi", marks=pytest.mark.needs("cluster pipelines by strategies")),
    ],
)
def test_what_may_have_run_is_not_sent_again(face: Face, empty: Cluster, transaction: bool | None) -> None:
    """Where a reply is lost: `ReplyLost`, and it has run once. redis-py would send it again."""
    with proxies(empty) as nodes, client_of(face, empty, **nodes["at"]) as client:
        doing = lost(nodes, empty, pipe_of(client, ("incr", "n"), transaction=transaction).execute, "n")
        assert isinstance(doing.ended(), ReplyLost)
        assert client.get("n") == b"1"


@pytest.mark.parametrize(
    "transaction",
    [
        pytest.param(None, id="plain"),
        pytest.param(True, id="multi", marks=pytest.mark.needs("transactions of a cluster that are tried again")),
    ],
)
def test_what_makes_no_difference_is_sent_again(face: Face, empty: Cluster, transaction: bool | None) -> None:
    """As redis-py would."""
    with proxies(empty) as nodes, client_of(face, empty, **nodes["at"]) as client:
        doing = lost(nodes, empty, pipe_of(client, ("set", "n", 1), transaction=transaction).execute, "n")
        assert doing.result() in ([True], [b"OK"])  # transactions of threads have no callbacks in redis-py


def test_a_command_alone_keeps_the_rule(face: Face, empty: Cluster) -> None:
    """INCR once, SET again."""
    with proxies(empty) as nodes, client_of(face, empty, **nodes["at"]) as client:
        assert isinstance(lost(nodes, empty, lambda: client.incr("n"), "n").ended(), ReplyLost)
        client.ping(target_nodes=client.ALL_NODES)
        assert lost(nodes, empty, lambda: client.set("m", 1), "m").result() is True


def lost(nodes: dict[str, Any], cluster: Cluster, do: Callable[[], Any], key: str) -> Doing:
    """Something that changes a key, and whose connection is gone before the reply has come."""
    for proxy in nodes["all"]:
        proxy.half_open()
    doing = Doing(do)
    node = cluster.nodes[cluster.owner(key_slot(key.encode()))]
    assert eventually(lambda: node.get(key) is not None)
    for proxy in nodes["all"]:
        proxy.heal()
    for proxy in nodes["all"]:
        proxy.hang_up()
    return doing


def test_a_fleet_reports_to_a_cluster(cluster: Cluster) -> None:
    """Whichever node is asked, the reports are where their slot is; a node's side is seen beside them."""
    owner = cluster.owner(key_slot(Keys.of(DEFAULT).index.encode()))
    at = cluster.servers[owner]
    for server in cluster.servers:
        reader = Reader(server.url)
        with redpool.publish(service="checkout", url=server.url, period=60.0):
            assert eventually(lambda reader=reader: reader.read().processes)  # type: ignore[misc]  # bound at once
            view = reader.read()
            assert view.error is None
            assert view.server is not None
            assert view.server.url == f"redis://{at.host}:{at.port}/0"
        assert reader.read().processes == ()
        reader.close()
    other = cluster.servers[owner - 1]
    reader = Reader(cluster.servers[owner].url, server=other.url)
    seen = reader.read().server
    assert seen is not None
    assert seen.url == f"redis://{other.host}:{other.port}/0"
    reader.close()


def test_late_commands_share_the_budget_of_their_nodes_pool(
    face: Face, empty: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the cluster's client that would send them again."""
    monkeypatch.setattr(retry_budget, "FIRST", 0.0)
    with client_of(face, empty, socket_timeout=0.3) as client:
        port = client.get_node_from_key("a").port
        server = next(each for each in empty.servers if each.port == port)
        assert client.get("a") is None
        pools = list(pools_of(client))  # before 7.2 redis-py makes the nodes' anew after an error
        server.pause()
        try:
            with pytest.raises(ReplyLate):
                client.get("a")
        finally:
            server.resume()
        assert client.get("a") is None
        assert eventually(lambda: not any(pool.stats().connecting for pool in pools_of(client)))
        assert sum(pool.stats().retries_refused for pool in pools) == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"shed": "magic"}, "shed must be one of 'codel', not 'magic'"),
        ({"max_connections": 2, "reserved": {"web": 2}}, "leaves none of max_connections=2"),
    ],
)
def test_a_wrong_option_says_nothing_of_the_nodes(face: Face, wrong: dict[str, Any], says: str) -> None:
    """It is refused by its name and value before any is asked."""
    with pytest.raises(ValueError, match=says):
        face.redpool.RedisCluster(host="localhost", port=1, **wrong)


def test_a_child_waits_for_no_lock_of_its_parents(threads: Face, cluster: Cluster) -> None:
    """Which another thread of the parent has as it forks: redis-py takes one for each command of a pipeline."""
    held, end = threading.Event(), threading.Event()

    def hold() -> None:
        with client.nodes_manager._lock:
            held.set()
            end.wait(PATIENCE)

    def child() -> None:
        with client.pipeline() as pipeline:
            assert pipeline.get("child").execute() == [None]
        assert client.get("child") is None
        assert client.dbsize(target_nodes=client.ALL_NODES) is not None

    with client_of(threads, cluster) as client:
        holding = Doing(hold)
        assert held.wait(PATIENCE)
        try:
            in_child(child)
        finally:
            end.set()
            holding.result()
