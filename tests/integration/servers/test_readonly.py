"""A failover behind a name or a proxy: connections that lead to a replica by now are replaced, and writes go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from redpool import embedded
from redpool.core import policy
from redpool.testing import FaultProxy, ScriptedServer
from support.faces import Face
from support.mute import stock

READ_ONLY = redis.ResponseError("READONLY You can't write against a read only replica.")


class Failover:
    """Two servers behind one address. The first is the master until it fails over."""

    def __init__(self, before: ScriptedServer, after: ScriptedServer, address: FaultProxy) -> None:
        self.before, self.after, self.address = before, after, address
        stock(after)
        after.answer("EXEC", [b"OK"])

    @property
    def at(self) -> dict[str, Any]:
        """The address, as keywords."""
        return {"host": self.address.host, "port": self.address.port}

    def happen(self) -> None:
        """Make the first one a replica, which keeps its connections; the address leads to the second one now."""
        for name in ("SET", "INCRBY", "EVAL", "BLPOP", "EXEC"):
            self.before.answer(name, READ_ONLY)
        self.address._server = (self.after.host, self.after.port)


@pytest.fixture
def failover() -> Iterator[Failover]:
    """It has not happened yet."""
    with ExitStack() as stack:
        before, after = stack.enter_context(ScriptedServer()), stack.enter_context(ScriptedServer())
        yield Failover(before, after, stack.enter_context(FaultProxy(before.host, before.port)))


def names(server: ScriptedServer) -> list[str]:
    """Return the names of the commands that it was sent, the handshakes' aside."""
    return [each.name for each in server.commands if each.name not in ("HELLO", "CLIENT", "SELECT", "INFO")]


def connections(server: ScriptedServer) -> set[int]:
    """Return the connections over which it was sent a SET."""
    return {each.connection for each in server.commands if each.name == "SET"}


def test_writes_go_on_after_a_failover(face: Face, failover: Failover) -> None:
    """The first write that is refused is sent again; others go to the new master at once."""
    client = face.client(face.pool(**failover.at, max_connections=8))
    face.open_connections(client.connection_pool, 3)
    client.set("key", "before")
    failover.happen()
    assert all(client.set("key", number) for number in range(25))
    assert names(failover.before).count("SET") <= 3  # the first one, and one that was refused
    assert names(failover.after) == ["SET"] * 25


def test_each_caller_s_connection_is_replaced(face: Face, failover: Failover) -> None:
    """Callers that had connections from before send again, too, whichever noticed first."""
    pool = face.pool(**failover.at, max_connections=8)
    client = face.client(pool)
    keepers = [face.client(pool, single_connection_client=True) for _ in range(3)]
    assert all(each.ping() for each in (client, *keepers))
    failover.happen()
    assert [each.incr("n") for each in (client, *keepers, *keepers, client)] == [1, 2, 3, 4, 5, 6, 7, 8]
    for each in keepers:
        each.close()


def test_a_pool_for_a_replica_is_not_rebuilt_at_each_write(
    face: Face, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write is refused; its connections are replaced once in a while."""
    scripted.answer("SET", READ_ONLY)
    pool = face.pool(host=scripted.host, port=scripted.port)
    client = face.client(pool)
    client.ping()
    for _ in range(5):
        with pytest.raises(redis.ReadOnlyError):
            client.set("key", "value")
    numbers = connections(scripted)
    assert len(numbers) == 2
    assert names(scripted).count("SET") == 6  # the first one twice
    monkeypatch.setattr(policy, "REPLACED_AGAIN_AFTER", 0.0)
    with pytest.raises(redis.ReadOnlyError):
        client.set("key", "value")
    assert connections(scripted) > numbers


def test_a_write_is_sent_again_once(face: Face, scripted: ScriptedServer) -> None:
    """Then its caller gets the error."""
    scripted.answer("SET", READ_ONLY)
    client = face.client(face.pool(host=scripted.host, port=scripted.port))
    with pytest.raises(redis.ReadOnlyError):
        client.set("key", "value")
    assert names(scripted).count("SET") == 2


@pytest.mark.parametrize("transaction", [False, True], ids=["pipeline", "transaction"])
def test_a_pipeline_is_not_sent_again(face: Face, failover: Failover, transaction: bool) -> None:
    """Some of it may have run; but what comes next goes to the new master."""
    client = face.client(face.pool(**failover.at))
    client.ping()
    failover.happen()
    pipeline = client.pipeline(transaction=transaction)
    pipeline.get("key")
    pipeline.set("key", "value")
    with pytest.raises(redis.ReadOnlyError):
        pipeline.execute()
    assert names(failover.after) == []
    pipeline.set("key", "value")
    assert pipeline.execute() == [True]
    assert "SET" in names(failover.after)


def test_errors_among_the_results_count(face: Face, failover: Failover) -> None:
    """A caller that doesn't want them raised is no exception."""
    client = face.client(face.pool(**failover.at))
    client.ping()
    failover.happen()
    pipeline = client.pipeline(transaction=False)
    pipeline.set("key", "value")
    assert [type(each) for each in pipeline.execute(raise_on_error=False)] == [redis.ReadOnlyError]
    assert client.set("key", "value")
    assert names(failover.after) == ["SET"]
    assert names(failover.before).count("SET") == 1


def test_a_watch_is_not_carried_over(face: Face, failover: Failover) -> None:
    """A write of its own beneath a WATCH is refused: the watch would be lost."""
    client = face.client(face.pool(**failover.at))
    pipeline = client.pipeline()
    pipeline.watch("key")
    failover.happen()
    with pytest.raises(redis.ReadOnlyError):
        pipeline.set("key", "value")
    assert names(failover.after) == []
    pipeline.reset()
    assert client.set("key", "value")
    assert names(failover.after) == ["SET"]


def test_a_script_is_not_sent_again(face: Face, failover: Failover) -> None:
    """It may have done something before its first write."""
    client = face.client(face.pool(**failover.at))
    client.ping()
    failover.happen()
    with pytest.raises(redis.ReadOnlyError):
        client.eval("return redis.call('SET', 'key', 'value')", 0)
    assert names(failover.before).count("EVAL") == 1
    assert client.set("key", "value")
    assert names(failover.after) == ["SET"]


def test_what_has_a_connection_of_its_own_is_sent_again(face: Face, failover: Failover) -> None:
    """As what shares one."""
    client = face.client(face.pool(**failover.at))
    client.ping()
    client.blpop("list", timeout=0.01)
    failover.happen()
    failover.after.answer("BLPOP", [b"list", b"item"])
    assert client.blpop("list", timeout=1) == (b"list", b"item")


def test_with_real_servers(face: Face) -> None:
    """The master becomes a replica, as an operator has it, and keeps its connections."""
    with embedded.start() as before, embedded.start() as after, FaultProxy(before.host, before.port) as address:
        client = face.client(face.pool(host=address.host, port=address.port))
        client.set("key", "before")
        with redis.Redis(host=before.host, port=before.port) as operator:
            operator.replicaof(after.host, after.port)
        address._server = (after.host, after.port)
        with pytest.raises(redis.ReadOnlyError):
            client.pipeline(transaction=True).set("key", "not sent again").execute()
        assert all(client.set("key", number) for number in range(25))
        with redis.Redis(host=after.host, port=after.port) as observer:
            assert observer.get("key") == b"24"


def test_a_lone_write_with_real_servers(face: Face) -> None:
    """It is sent again, over a connection that leads to the new master."""
    with embedded.start() as before, embedded.start() as after, FaultProxy(before.host, before.port) as address:
        client = face.client(face.pool(host=address.host, port=address.port))
        client.set("key", "before")
        with redis.Redis(host=before.host, port=before.port) as operator:
            operator.replicaof(after.host, after.port)
        address._server = (after.host, after.port)
        assert client.incr("n") == 1
