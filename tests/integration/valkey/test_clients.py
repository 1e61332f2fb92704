"""Under an unmodified `valkey.Valkey`, and under redpool's, everything works that works over valkey-py's own pools.

The same code serves redis-py, whose tests are many; `make matrix` runs those of the contract over valkey-py. What is
here is what could be lost on the way to valkey-py.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import valkey
import valkey.asyncio
from valkey.exceptions import MaxConnectionsError, NoScriptError

import redpool
import redpool.asyncio
import redpool.valkey
import redpool.valkey.asyncio
from redpool.testing import Raw, ScriptedServer
from support.faces import Doing, Face, Listener, together

both_protocols = pytest.mark.parametrize("protocol", [2, 3], ids=["resp2", "resp3"])


@both_protocols
def test_commands(any_face: Face, at: dict[str, Any], protocol: int) -> None:
    """Replies of every kind are as valkey-py has them: a set is a list."""
    client = any_face.client(any_face.pool(**at, protocol=protocol))
    plain = any_face.theirs(**at, protocol=protocol)
    assert client.set("foo", "bar") is True
    assert client.get("foo") == b"bar"
    assert client.get("nothing") is None
    assert client.incrbyfloat("half", 0.5) == 0.5
    client.hset("hash", mapping={"a": 1, "b": 2.5, "c": b"raw"})
    assert client.hgetall("hash") == {b"a": b"1", b"b": b"2.5", b"c": b"raw"}
    client.zadd("scores", {"one": 1.0})
    client.sadd("set", "x")
    client.rpush("list", *map(str, range(100)))
    for ask in (
        lambda each: each.smembers("set"),
        lambda each: each.zrange("scores", 0, -1, withscores=True),
        lambda each: each.lrange("list", 0, -1),
        lambda each: each.config_get("maxmemory*"),
        lambda each: each.object("encoding", "foo"),
    ):
        assert ask(client) == ask(plain)
    theirs, ours = (each.client_info().get("lib-name", "") for each in (plain, client))
    assert ours.partition("(")[0] == theirs
    plain.close()


@both_protocols
def test_decoded_replies(any_face: Face, at: dict[str, Any], protocol: int) -> None:
    """Text comes back as text."""
    client = any_face.client(any_face.pool(**at, protocol=protocol, decode_responses=True))
    client.set("key", "ü")
    assert client.get("key") == "ü"
    assert client.mget("key", "nothing") == ["ü", None]


def test_pipelines_and_transactions(any_face: Face, at: dict[str, Any]) -> None:
    """Replies come in order; one that was refused is raised, or is among them."""
    client = any_face.client(any_face.pool(**at))
    pipe = client.pipeline(transaction=False)
    for number in range(50):
        pipe.set(f"key {number}", number)
    pipe.get("key 7")
    assert pipe.execute()[-1] == b"7"
    transaction = client.pipeline()
    transaction.incr("n")
    transaction.lpush("n", 1)
    transaction.incr("n")
    first, refused, last = transaction.execute(raise_on_error=False)
    assert (first, last) == (1, 2)
    assert type(refused) is valkey.ResponseError
    transaction.lpush("n", 1)
    with pytest.raises(valkey.ResponseError, match="WRONGTYPE"):
        transaction.execute()


def test_watch(any_face: Face, at: dict[str, Any]) -> None:
    """What was changed meanwhile is not overwritten."""
    client = any_face.client(any_face.pool(**at))
    client.set("key", "before")
    with client.pipeline() as pipe:
        pipe.watch("key")
        client.set("key", "meanwhile")
        pipe.multi()
        pipe.set("key", "after")
        with pytest.raises(valkey.WatchError):
            pipe.execute()
    assert client.get("key") == b"meanwhile"


@both_protocols
def test_subscribers(any_face: Face, at: dict[str, Any], protocol: int) -> None:
    """They have a connection of their own, which comes back."""
    pool = any_face.pool(**at, protocol=protocol)
    client = any_face.client(pool)
    subscriber = client.pubsub()
    subscriber.subscribe("news")
    assert subscriber.get_message(timeout=10)["type"] == "subscribe"
    assert client.publish("news", "hello") == 1
    assert subscriber.get_message(timeout=10)["data"] == b"hello"
    assert subscriber.get_message(timeout=0.01) is None
    subscriber.close()
    assert pool.stats().in_use <= 1  # a multiplexed connection stays


def test_locks_and_scripts(any_face: Face, at: dict[str, Any]) -> None:
    """A lock is had once; a script that the server has forgotten is sent again."""
    client = any_face.client(any_face.pool(**at))
    first, second = (client.lock("lock", timeout=30, blocking=False) for _ in range(2))
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()
    double = client.register_script("return ARGV[1] * 2")
    assert double(args=[21]) == 42
    client.script_flush()
    assert double(args=[21]) == 42
    with pytest.raises(NoScriptError):
        client.evalsha("0" * 40, 0)


def test_blocking_commands(any_face: Face, at: dict[str, Any]) -> None:
    """They hold up no other caller."""
    client = any_face.client(any_face.pool(**at))
    waiting = Doing(lambda: client.blpop("queue", 10))
    assert client.set("key", "value") is True
    client.rpush("queue", "item")
    assert waiting.result() in [(b"queue", b"item"), [b"queue", b"item"]]


@both_protocols
def test_callers_share(multiplexed_face: Face, at: dict[str, Any], protocol: int) -> None:
    """One connection serves them all, and each gets its own reply."""
    pool = multiplexed_face.pool(**at, protocol=protocol)
    client = multiplexed_face.client(pool)
    client.ping()

    def work(number: int) -> bool:
        return all(client.echo(f"{number} {turn}") == f"{number} {turn}".encode() for turn in range(20))

    assert all(doing.result() for doing in together(8, work))
    stats = pool.stats()
    assert stats.commands >= 160
    assert stats.connected == 1


def test_what_is_pushed_is_no_reply(any_face: Face, scripted: ScriptedServer) -> None:
    """A server may push before any reply; libvalkey's parser would take that for the reply."""
    push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nkey\r\n"
    scripted.answer("ECHO", lambda args: Raw(push + b"$%d\r\n%b\r\n" % (len(args[0]), args[0])))
    at = {"host": scripted.host, "port": scripted.port, "protocol": 3}
    client = any_face.client(any_face.pool(**at))
    for turn in range(10):
        assert client.echo(str(turn)) == str(turn).encode()


def test_deadlines(any_face: Face, at: dict[str, Any]) -> None:
    """`redpool.deadline` is the one for both libraries."""
    client = any_face.client(any_face.pool(**at))
    assert client.blpop("queue", 0.01) is None  # over the connection that the next one finds idle
    assert redpool.valkey.deadline is redpool.valkey.asyncio.deadline is redpool.deadline
    # A task inherits the deadline of the thread that starts it.
    with redpool.deadline(0.25), pytest.raises(valkey.TimeoutError) as caught:
        client.blpop("queue", 10)
    assert type(caught.value) is redpool.valkey.DeadlineExceeded
    assert caught.value.sent
    assert client.ping()


def test_a_full_pool(face: Face, at: dict[str, Any]) -> None:
    """The error is of valkey-py's family, and says what is up."""
    pool = face.pool(**at, max_connections=1, timeout=0.05)
    client = face.client(pool)
    taken = pool.get_connection()
    with pytest.raises(valkey.ConnectionError, match="1 of 1") as caught:
        client.get("key")
    assert type(caught.value) is redpool.valkey.PoolTimeout
    assert isinstance(caught.value, MaxConnectionsError)
    assert not isinstance(caught.value, redpool.PoolTimeout)
    pool.release(taken)


def test_no_server(any_face: Face, refusing: Listener) -> None:
    """A connect's error is valkey-py's own."""
    client = any_face.client(any_face.pool(port=refusing.port, timeout=1.0))
    with pytest.raises(valkey.ConnectionError, match=r"refused|Error .* connecting"):
        client.get("key")


def test_a_lost_reply(any_face: Face, scripted: ScriptedServer) -> None:
    """What may have run is not sent again; what may run twice is."""
    scripted.answer("INCRBY", ConnectionResetError())
    scripted.answer("GET", ConnectionResetError(), b"value")
    retry = {"retry": any_face.retry(1), "retry_on_error": [valkey.ConnectionError]}
    client = any_face.client(any_face.pool(host=scripted.host, port=scripted.port, **retry))
    with pytest.raises(valkey.ConnectionError, match="INCRBY may have run") as caught:
        client.incr("n")
    assert type(caught.value) is redpool.valkey.ReplyLost
    assert scripted.count("INCRBY") == 1
    assert client.get("key") == b"value"


def test_a_late_reply(any_face: Face, scripted: ScriptedServer) -> None:
    """It is a timeout of valkey-py's, and of ours."""
    scripted.answer("INCRBY", "never")
    pool = any_face.pool(host=scripted.host, port=scripted.port, socket_timeout=0.1, retry=any_face.retry(0))
    with pytest.raises(valkey.TimeoutError) as caught:
        any_face.client(pool).incr("n")
    assert type(caught.value) is redpool.valkey.ReplyLate


def test_a_pool_that_was_shut_down(face: Face, at: dict[str, Any]) -> None:
    """It lends no more."""
    pool = face.pool(**at)
    pool.shutdown()
    with pytest.raises(valkey.ConnectionError, match="shut down") as caught:
        face.client(pool).get("key")
    assert type(caught.value) is redpool.valkey.PoolClosed


def test_a_client_of_its_own(at: dict[str, Any]) -> None:
    """`redpool.valkey.Valkey` makes its pool, and takes that pool's options."""
    with redpool.valkey.Valkey(**at, shared_connections=2, max_connections=5) as client:
        assert isinstance(client, valkey.Valkey)
        assert isinstance(client.connection_pool, redpool.valkey.MultiplexedConnectionPool)
        assert client.connection_pool.max_connections == 5
        assert client.set("key", "value") is True
        assert repr(client).startswith("<redpool.valkey.Valkey(")


def test_a_connection_of_ones_own(face: Face, at: dict[str, Any]) -> None:
    """A user's class of connections works as with valkey-py's pools."""
    base = face.redis.Connection

    class Noting(base):  # type: ignore[misc, valid-type]  # of either shell
        def __init__(self, zone: str, **options: Any) -> None:
            super().__init__(**options)
            self.zone = zone

    pool = face.pool(Noting, zone="a", **at)
    assert face.client(pool).ping()
    connection = pool.get_connection()
    assert connection.zone == "a"
    pool.release(connection)


def test_without_libvalkey(at: dict[str, Any]) -> None:
    """Hiredis does what libvalkey would, RESP3 and subscribers included."""
    program = f"""
import sys
sys.modules["libvalkey"] = None
import valkey, redpool.valkey
for protocol in (2, 3):
    with redpool.valkey.MultiplexedConnectionPool(**{at!r}, protocol=protocol) as pool:
        client = valkey.Valkey(connection_pool=pool)
        client.set("key", "value")
        assert client.get("key") == b"value"
        assert pool.stats().commands == 2
        subscriber = client.pubsub()
        subscriber.subscribe("news")
        assert subscriber.get_message(timeout=10)["type"] == "subscribe"
        client.publish("news", "hello")
        assert subscriber.get_message(timeout=10)["data"] == b"hello"
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
