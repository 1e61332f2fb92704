"""What can't share gets a dedicated connection, releases it, and holds up no caller meanwhile: note 61."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
import redis

from support.faces import PATIENCE, Doing, Face, Watch, eventually


@pytest.mark.parametrize("how", ["BLPOP", "XREAD", "pipeline"])
def test_what_waits_holds_no_caller_up(client: Any, pool: Any, watch: Watch, how: str) -> None:
    """While it waits, others are answered over the shared connection; afterwards its own is idle."""
    client.xadd("stream", {"a": 1}, id="1-1")
    calls = {
        "BLPOP": lambda: client.blpop("jobs", 0),
        "XREAD": lambda: client.xread({"stream": "$"}, block=0),
        "pipeline": lambda: client.pipeline(transaction=False).blpop("jobs", 0).execute(),
    }
    waiting = Doing(calls[how])
    assert eventually(lambda: int(watch.client.info("clients")["blocked_clients"]) == 1)
    for number in range(20):
        assert client.echo(str(number)) == str(number).encode()
    assert not waiting.done
    client.rpush("jobs", "job")
    client.xadd("stream", {"b": 2}, id="2-1")
    expected = {
        "BLPOP": (b"jobs", b"job"),
        "pipeline": [(b"jobs", b"job")],
        "XREAD": [[b"stream", [(b"2-1", {b"b": b"2"})]]],
    }
    found = waiting.result()
    if isinstance(found, dict):  # as RESP3 has it
        found = [[key, value[0]] for key, value in found.items()]
    assert found in (expected[how], [list(each) for each in expected[how]], list(expected[how]))
    assert eventually(lambda: pool.stats().in_use == 1)


def test_a_wait_for_replicas(client: Any, pool: Any) -> None:
    """WAIT concerns the writes over its own connection, and may take its time."""
    client.set("key", "value")
    began = time.monotonic()
    assert client.wait(1, 100) == 0
    assert time.monotonic() - began > 0.05
    assert pool.stats().connected == 2


@pytest.mark.parametrize("command", ["MODULE.COMMAND", "NOSUCHCOMMAND"])
def test_a_command_that_no_caller_knows(client: Any, pool: Any, command: str) -> None:
    """It might be anything, so that it has its own connection."""
    client.get("key")
    with pytest.raises(redis.ResponseError, match="unknown command"):
        client.execute_command(command, "a")
    assert pool.stats().connected == 2
    assert pool.stats().in_use == 1


def test_a_command_that_the_user_vouches_for(face: Face, at: dict[str, Any]) -> None:
    """With `shareable_commands` it goes with the others."""
    pool = face.pool(**at, shareable_commands=("MODULE.COMMAND",))
    with pytest.raises(redis.ResponseError, match="unknown command"):
        face.client(pool).execute_command("MODULE.COMMAND", "a")
    assert pool.stats().connected == 1
    with pytest.raises(ValueError, match="BLPOP"):
        face.pool(**at, shareable_commands=("BLPOP",))


@pytest.mark.parametrize("name", ["SCRIPT KILL", "script kill", "Client  Unpause", "FAILOVER", "SCRIPT", "client"])
def test_nothing_makes_a_rescue_share(face: Face, name: str) -> None:
    """`shareable_commands` takes no command that must not be queued, however it is spelled or covered by a name."""
    with pytest.raises(ValueError, match="shareable_commands="):
        face.pool(shareable_commands=(name,))


@pytest.mark.parametrize("command", ["SELECT 1", "CLIENT SETNAME stranger", "CLIENT TRACKING on", "WATCH key"])
def test_a_changed_session_reaches_no_other_caller(client: Any, command: str) -> None:
    """A change of it on a client of many connections changes no other caller's."""
    client.set("key", "in zero")
    client.execute_command(*command.split())
    for _ in range(3):
        assert client.get("key") == b"in zero"
        assert client.client_getname() not in ("stranger", b"stranger")
        assert client.pipeline().get("key").execute() == [b"in zero"]


def test_a_transaction_by_hand_reaches_no_other_caller(client: Any) -> None:
    """MULTI without its EXEC ends with its connection."""
    client.execute_command("MULTI")
    assert client.set("key", "value") is True
    assert client.get("key") == b"value"


def test_messages(client: Any, pool: Any) -> None:
    """A subscriber has a connection for as long as it listens, and others publish over the shared one."""
    subscriber = client.pubsub()
    subscriber.subscribe("news")
    assert subscriber.get_message(timeout=PATIENCE)["type"] == "subscribe"
    assert client.publish("news", "it works") == 1
    message = subscriber.get_message(timeout=PATIENCE)
    assert (message["channel"], message["data"]) == (b"news", b"it works")
    subscriber.close()
    assert eventually(lambda: pool.stats().in_use == 1)
    assert eventually(lambda: client.publish("news", "no caller") == 0)


def test_a_monitor(threads: Face, at: dict[str, Any]) -> None:
    """It sees what goes over the shared connection, and ends with its own."""
    client = threads.client(threads.pool(**at))
    with client.monitor() as monitor:
        client.get("seen")
        for raised in monitor.listen():
            if raised["command"] == "GET seen":
                break
    assert client.get("seen") is None


def test_locks(client: Any, pool: Any) -> None:
    """redis-py's locks, which use scripts."""
    lock, other = client.lock("lock", timeout=30), client.lock("lock", timeout=30)
    assert lock.acquire() is True
    assert other.acquire(blocking=False) is False
    assert lock.extend(5) is True
    lock.release()
    assert other.acquire(blocking=False) is True
    other.release()
    with pytest.raises(redis.exceptions.LockError):
        other.release()
    assert pool.stats().in_use == 1


def test_a_client_of_one_connection(face: Face, at: dict[str, Any]) -> None:
    """`single_connection_client` has one for itself, whose session stays."""
    pool = face.pool(**at, max_connections=4)
    client = face.client(pool, single_connection_client=True)
    client.execute_command("SELECT", 1)
    client.set("key", "in one")
    assert client.get("key") == b"in one"
    assert client.client_info()["db"] == 1
    assert face.client(pool).get("key") is None
    with contextlib.suppress(redis.ConnectionError):
        client.close()


def test_a_connection_by_hand(client: Any, pool: Any) -> None:
    """A caller that takes one from the pool may do with it what it likes."""
    with pool.connection() as connection:
        connection.send_command("SET", "key", "value")
        assert connection.read_response() in (b"OK", "OK")
        connection.send_command("SELECT", 1)
        assert connection.read_response() in (b"OK", "OK")
        connection.send_command("GET", "key")
        assert connection.read_response() is None
    assert client.get("key") == b"value"


def test_several_commands_sent_before_their_replies_are_read(pool: Any, client: Any) -> None:
    """Each reply is that of its own command, in order."""
    with pool.connection() as connection:
        for number in range(5):
            connection.send_command("ECHO", str(number))
        assert [connection.read_response() for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
    assert client.echo("x") == b"x"


def test_one_place_for_all_in_turn(face: Face, at: dict[str, Any]) -> None:
    """With a single connection, what waits and what shares take turns: no caller waits for itself."""
    pool = face.pool(**at, max_connections=1)
    client = face.client(pool)
    for number in range(5):
        assert client.set("key", number) is True
        assert client.blpop("nothing", 0.01) is None
        with client.pipeline() as pipe:
            pipe.watch("key")
            pipe.multi()
            assert pipe.get("key").execute() == [str(number).encode()]
    assert client.get("key") == b"4"
    assert pool.stats().open == 1


def test_one_place_while_a_caller_waits(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """Callers that share wait for the one that blocks, and are answered when it is done."""
    pool = face.pool(**at, max_connections=1, timeout=PATIENCE)
    client = face.client(pool)
    client.get("key")
    waiting = Doing(lambda: client.blpop("nothing", 0.5))
    assert eventually(lambda: int(watch.client.info("clients")["blocked_clients"]) == 1)
    others = [Doing(lambda: client.echo("x")) for _ in range(3)]
    assert waiting.result() is None
    assert [other.result() for other in others] == [b"x"] * 3
