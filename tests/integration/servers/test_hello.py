"""HELLO: where RESP3 is only the default, a server or a proxy that refuses it is spoken to in RESP2."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis._parsers import _AsyncRESP3Parser, _RESP3Parser
from redis.cache import CacheConfig

import redpool
from redpool import embedded
from redpool.testing import ScriptedServer
from redpool.wire.shapes import as_resp3
from support.faces import Asyncio, Face, Threads

REFUSALS = {
    "before Redis 6": "ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, `sesame`, ",
    "a proxy": "unknown command 'hello'",
    "no RESP3": "NOPROTO unsupported protocol version",
    "an ACL": "NOPERM this user has no permissions to run the 'hello' command",
}
OTHER_ERRORS = {
    "busy": "LOADING Redis is loading the dataset in memory",
    "wrong password": "WRONGPASS invalid username-password pair or user is disabled.",
    "no login": "NOAUTH HELLO must be called with the client already authenticated",
    "anything": "ERR something else: unknown command",
}


@pytest.fixture(scope="module")
def without_hello() -> Iterator[embedded.Server]:
    """A real server that knows no HELLO."""
    with embedded.start(args=("--rename-command", "HELLO", "")) as server:
        yield server


def options(server: Any) -> dict[str, Any]:
    """Return where it is, as keywords."""
    return {"host": server.host, "port": server.port}


def names(server: ScriptedServer) -> set[str]:
    """Return the names of what it was asked."""
    return {each.name for each in server.commands}


# -- the handshake -----------------------------------------------------------------------------------------------------


@pytest.mark.needs("RESP3 by default")
@pytest.mark.parametrize("rejection", REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refused_hello_is_followed_by_resp2(face: Face, scripted: ScriptedServer, rejection: str) -> None:
    """The user logs in, the database is selected, and each command is sent once."""
    scripted.answer("HELLO", redis.ResponseError(rejection))
    scripted.answer("INCRBY", 1)
    client = face.client(face.pool(**options(scripted), db=5, password="sesame"))
    assert client.incr("n") == 1
    sent = [(each.name, each.args) for each in scripted.commands if each.name in ("AUTH", "SELECT", "INCRBY")]
    assert sent == [("AUTH", [b"sesame"]), ("SELECT", [b"5"]), ("INCRBY", [b"n", b"1"])]
    assert scripted.count("HELLO") == 1


@pytest.mark.needs("RESP3 by default")
def test_the_endpoint_is_remembered(face: Face, scripted: ScriptedServer) -> None:
    """A server is asked once; another one that the same pool comes to is asked, too."""
    scripted.answer("HELLO", redis.ResponseError(REFUSALS["a proxy"]))
    pool = face.pool(**options(scripted))
    client = face.client(pool)
    for _ in range(3):
        client.set("key", "value")
        pool.disconnect()
    assert scripted.count("HELLO") == 1
    with ScriptedServer() as other:
        pool.connection_kwargs["port"] = other.port
        assert client.set("key", "value")
        assert other.count("HELLO") == 1


@pytest.mark.needs("RESP3 by default")
@pytest.mark.parametrize("error", OTHER_ERRORS.values(), ids=OTHER_ERRORS.keys())
def test_any_other_error_is_an_error(face: Face, scripted: ScriptedServer, error: str) -> None:
    """Nothing more is sent over the connection."""
    scripted.answer("HELLO", redis.ResponseError(error))
    client = face.client(face.pool(**options(scripted), db=5))
    with pytest.raises(redis.RedisError):
        client.set("key", "value")
    assert names(scripted) == {"HELLO"}


@pytest.mark.parametrize("rejection", REFUSALS.values(), ids=REFUSALS.keys())
def test_resp3_that_was_asked_for_is_insisted_on(face: Face, scripted: ScriptedServer, rejection: str) -> None:
    """The error says what to do, and no password that the server has repeated."""
    scripted.answer("HELLO", redis.ResponseError(rejection))
    client = face.client(face.pool(**options(scripted), protocol=3, password="sesame"))
    with pytest.raises(redis.ResponseError, match=r"doesn't speak RESP3.*protocol=3") as raised:
        client.set("key", "value")
    assert "sesame" not in str(raised.value)
    assert names(scripted) == {"HELLO"}


@pytest.mark.needs("RESP3 by default")
@pytest.mark.parametrize("kind", [Threads, Asyncio])
def test_a_class_that_speaks_resp2_by_itself_goes_on_to(kind: type[Face], scripted: ScriptedServer) -> None:
    """HELLO is never sent."""
    made = kind()
    base: Any = made.redis.Connection

    class Older(base):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**{**options, "protocol": 2, "maint_notifications_config": None})

    client = made.client(made.pool(Older, **options(scripted)))
    assert client.set("key", "value")
    assert "HELLO" not in names(scripted)
    made.close()


@pytest.mark.needs("client-side caching", "RESP3 by default")
@pytest.mark.parametrize("own", [False, True], ids=["pool", "client"])
def test_caching_asks_for_resp3(scripted: ScriptedServer, own: bool) -> None:
    """Without RESP3 there are no invalidations: the error says so."""
    scripted.answer("HELLO", redis.ResponseError(REFUSALS["before Redis 6"]))
    if own:
        client: Any = redpool.Redis(**options(scripted), cache_config=CacheConfig())
    else:
        pool = redpool.ConnectionPool(**options(scripted), cache_config=CacheConfig())
        client = redis.Redis(connection_pool=pool)
    with pytest.raises(redis.ResponseError, match="caching"):
        client.get("key")
    assert names(scripted) == {"HELLO"}
    client.connection_pool.close()


# -- what clients get --------------------------------------------------------------------------------------------------


def filled(server: Any) -> None:
    """Put something of each kind into an empty server."""
    with redis.Redis(**options(server), protocol=2) as client:
        client.flushall()
        client.zadd("z", {"aa": 1, "bb": 2.5, "cc": 3})
        client.hset("h", mapping={"f": "v"})
        client.sadd("s", "a", "b")
        client.xadd("x", {"field": "value"}, id="1-1")
        client.xgroup_create("x", "g", id="0")
        client.xgroup_createconsumer("x", "g", "me")
        client.geoadd("p", (13.36, 38.11, "there"))
        client.mset({"a": "ohmytext", "b": "mynewtext"})


OTHERS = re.compile(r"db\.[1-9]")
"""Databases beside the one that is filled: Valkey remembers those that other tests have used, empty as they are."""

ASKED: list[Callable[[Any], Any]] = [
    lambda client: client.zrange("z", 0, -1, withscores=True),
    lambda client: client.zrange("z", 0, -1),
    lambda client: client.zrevrange("z", 0, -1, withscores=True, score_cast_func=str),
    lambda client: client.zrangebyscore("z", 1, 2.5, withscores=True),
    lambda client: client.zrevrangebyscore("z", 3, 1, withscores=True),
    lambda client: client.zunion(["z"], withscores=True),
    lambda client: client.zinter(["z"], withscores=True),
    lambda client: client.zdiff(["z", "none"], withscores=True),
    lambda client: client.zrandmember("z", 3, withscores=True)[:0],
    lambda client: client.zscore("z", "bb"),
    lambda client: client.zscore("z", "none"),
    lambda client: client.zmscore("z", ["aa", "none"]),
    lambda client: client.zrank("z", "bb"),
    lambda client: client.zadd("z", {"dd": 4}, incr=True),
    lambda client: client.zadd("z", {"ee": 5}),
    lambda client: client.zincrby("z", 1, "ee"),
    lambda client: client.zpopmin("z"),
    lambda client: client.zpopmax("z", 2),
    lambda client: client.zpopmin("none"),
    lambda client: client.bzpopmin("z", 1),
    lambda client: client.zmpop(1, ["z"], max=True),
    lambda client: client.hgetall("h"),
    lambda client: client.hgetall("none"),
    lambda client: client.hrandfield("h", 1, withvalues=True),
    lambda client: client.smembers("s"),
    lambda client: client.xread({"x": 0}),
    lambda client: client.xread({"none": 0}),
    lambda client: client.xreadgroup("g", "me", {"x": ">"}),
    lambda client: client.xinfo_groups("x"),
    lambda client: client.xinfo_stream("x"),
    lambda client: [each["name"] for each in client.xinfo_consumers("x", "g")],
    lambda client: client.geopos("p", "there", "none"),
    lambda client: client.lcs("a", "b", idx=True),
    lambda client: client.config_get("maxclients"),
    lambda client: client.client_trackinginfo(),
    lambda client: client.acl_getuser("default"),
    lambda client: {name for name in client.memory_stats() if not OTHERS.match(name)},
    lambda client: client.module_list(),
    lambda client: client.function_list(),
    lambda client: client.command_getkeys("GET", "a"),
]


def asked(client: Any) -> list[Any]:
    """Return the replies to what RESP2 and RESP3 have in different shapes; some servers don't know them all."""
    replies = []
    for ask in ASKED:
        try:
            replies.append(ask(client))
        except redis.ResponseError as error:
            replies.append(str(error))
    return replies


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"decode_responses": True},
        pytest.param({"legacy_responses": False}, marks=pytest.mark.needs("RESP3 by default")),
    ],
    ids=str,
)
def test_replies_are_those_of_resp3(
    face: Face, redis_server: embedded.Server, without_hello: embedded.Server, more: dict[str, Any]
) -> None:
    """Clients have chosen before how they read replies: RESP2's, which often have another shape, read alike."""
    filled(redis_server)
    with redis.Redis(**options(redis_server), **more) as plain:
        expected = asked(plain)
    filled(without_hello)
    replies = asked(face.client(face.pool(**options(without_hello), **more)))
    for number, (got, wanted) in enumerate(zip(replies, expected, strict=True)):
        assert got == wanted, f"the reply to question {number}"


@pytest.mark.parametrize("transaction", [False, True], ids=["pipeline", "transaction"])
def test_pipelines_too(face: Face, without_hello: embedded.Server, transaction: bool) -> None:
    """Each reply belongs to its command, also those within EXEC's."""
    filled(without_hello)
    client = face.client(face.pool(**options(without_hello)))
    pipeline = client.pipeline(transaction=transaction)
    for _ in range(2):
        pipeline.get("a")
        pipeline.zrange("z", 0, 0, withscores=True)
        pipeline.hgetall("h")
    assert pipeline.execute() == [b"ohmytext", [(b"aa", 1.0)], {b"f": b"v"}] * 2


def test_a_watched_transaction_too(face: Face, without_hello: embedded.Server) -> None:
    """It has a connection of its own."""
    filled(without_hello)
    pipeline = face.client(face.pool(**options(without_hello))).pipeline()
    pipeline.watch("z")
    assert pipeline.zscore("z", "bb") == 2.5
    pipeline.multi()
    pipeline.hgetall("h")
    assert pipeline.execute() == [{b"f": b"v"}]


def test_subscribers_too(face: Face, without_hello: embedded.Server) -> None:
    """In RESP2 what they hear comes as replies do."""
    client = face.client(face.pool(**options(without_hello)))
    pubsub = client.pubsub()
    pubsub.subscribe("news")
    assert pubsub.get_message(timeout=5.0)["type"] == "subscribe"
    client.publish("news", "hello")
    assert pubsub.get_message(timeout=5.0)["data"] == b"hello"
    pubsub.close()


@pytest.mark.parametrize("kind", [Threads, Asyncio])
def test_with_the_parser_in_python(kind: type[Face], without_hello: embedded.Server) -> None:
    """RESP2 has one of its own."""
    filled(without_hello)
    made = kind()
    parser = _AsyncRESP3Parser if made.asynchronous else _RESP3Parser
    client = made.client(made.pool(**options(without_hello), parser_class=parser))
    assert client.hgetall("h") == {b"f": b"v"}
    assert client.zpopmin("z") == [(b"aa", 1.0)]
    made.close()


def test_as_resp3_leaves_alone_what_it_does_not_know() -> None:
    """What a proxy has made up, what isn't in the table, and a reply of another transaction."""
    assert as_resp3([("HGETALL", "h")], 0, b"QUEUED") == b"QUEUED"
    assert as_resp3([("HGETALL", "h")], 0, [b"odd"]) == [b"odd"]
    assert as_resp3([("ZSCORE", "z", "m")], 0, b"QUEUED") == b"QUEUED"
    assert as_resp3([("MODULE.X",)], 0, [b"a", b"b"]) == [b"a", b"b"]
    assert as_resp3([("EXEC",)], 0, [[b"f", b"v"]]) == [[b"f", b"v"]]
    assert as_resp3([("HGETALL", "h"), ("EXEC",)], 1, [[b"f", b"v"]]) == [[b"f", b"v"]]
