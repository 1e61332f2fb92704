"""What a node of a cluster answers, and a command that goes straight to it: two nodes that answer as they are told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import redis
import redis.asyncio.cluster
import redis.cluster
from redis.crc import key_slot

import redpool
from redpool.redispy.internals import has
from redpool.testing import Raw, ScriptedServer, Slow
from support.faces import Doing, Face, eventually

SLOTS = 16384
KEY = "foo"  # in the second half
SLOT = key_slot(KEY.encode())
NUMBER = next(each for each in range(100) if key_slot(b"%d" % each) >= SLOTS // 2)
LOST = ConnectionResetError()

# As COMMAND has them: the name, the arity, the flags, the first key, the last one, and the step.
COMMANDS: list[Any] = [
    [b"get", 2, [b"readonly"], 1, 1, 1],
    [b"set", -3, [b"write"], 1, 1, 1],
    [b"incrby", 3, [b"write"], 1, 1, 1],
    [b"del", -2, [b"write"], 1, -1, 1],
    [b"mget", -2, [b"readonly"], 1, -1, 1],
]


@dataclass
class Nodes:
    """The one that has the slot of `KEY`, and the other one."""

    owner: ScriptedServer
    other: ScriptedServer

    def give_slots(self, *, to_other: bool = False, replica: bool = False) -> None:
        """Have both say who has which slots: each a half, or the other one all; the owner's half with a replica."""
        owner, other = ([b"127.0.0.1", each.port, each.url.encode()] for each in (self.owner, self.other))
        half = SLOTS // 2
        second = other if to_other else owner
        table = [[0, half - 1, other], [half, SLOTS - 1, second, *([other] if replica else [])]]
        for each in (self.owner, self.other):
            each.answer("CLUSTER", table)

    def refused(self, kind: str) -> redis.ResponseError:
        """What the owner says of a slot that has moved, or is moving, to the other one."""
        return redis.ResponseError(f"{kind} {SLOT} 127.0.0.1:{self.other.port}")

    def counts(self, name: str) -> tuple[int, int]:
        return self.owner.count(name), self.other.count(name)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with ScriptedServer() as owner, ScriptedServer() as other:
        made = Nodes(owner, other)
        made.give_slots()
        for each in (owner, other):
            each.answer("COMMAND", COMMANDS)
            each.answer("GET", b"here")
            each.answer("INCRBY", 1)
            each.answer("DEL", 1)
            each.answer("MGET", [b"here"])
        yield made


@contextmanager
def client_of(face: Face, nodes: Nodes, retries: int = 3, kind: Any = None, **options: Any) -> Iterator[Any]:
    """A client that knows both nodes, and has used the owner."""
    make = kind or face.redpool.RedisCluster
    client = face._wrap(make(host=nodes.owner.host, port=nodes.owner.port, retry=face.retry(retries), **options))
    try:
        client.set(KEY, "here")
        client.incr(KEY)
        yield client
    finally:
        client.close()


@contextmanager
def past_redis_py(face: Face, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever asks redis-py for a command's node fails."""

    def asked(*args: Any, **options: Any) -> Any:
        raise AssertionError("redis-py was asked")

    module = redis.asyncio.cluster if face.asynchronous else redis.cluster
    with monkeypatch.context() as patched:
        patched.setattr(module.RedisCluster, "_determine_nodes", asked)
        yield


# -- what goes straight to its node ------------------------------------------------------------------------------------


def test_a_command_with_one_key_goes_straight_to_its_node(
    face: Face, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the key is, in braces or not; and its reply is what redis-py would make of it."""
    with client_of(face, nodes) as client, past_redis_py(face, monkeypatch):
        assert client.get(KEY) == b"here"
        assert client.get(KEY.encode()) == b"here"
        assert client.get(f"{{{KEY}}}1") == b"here"
        assert client.get(f"{{{KEY}}}2".encode()) == b"here"
        assert client.get(NUMBER) == b"here"
        assert client.set(KEY, "b") is True
        assert client.delete(KEY) == 1
        assert client.mget([KEY]) == [b"here"]
        assert nodes.counts("GET") == (5, 0)


def test_other_commands_go_redis_pys_way(face: Face, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for a node by name, one with several keys or none, one written in small letters."""
    with client_of(face, nodes) as client, past_redis_py(face, monkeypatch):
        assert client.execute_command("GET", KEY, target_nodes=client.get_nodes()[0]) == b"here"
        for words in (["DEL", KEY, KEY], ["get", KEY], ["PING"]):
            with pytest.raises(AssertionError, match="redis-py was asked"):
                client.execute_command(*words)


def test_a_callback_of_the_users_is_called(face: Face, nodes: Nodes) -> None:
    """As in redis-py: for threads behind the node's own, for tasks in its place."""
    with client_of(face, nodes) as client:
        client.set_response_callback("SET", lambda reply, **options: ("made", reply, options))
        assert client.set(KEY, "b") == ("made", b"OK" if face.asynchronous else True, {})
        assert client.execute_command("SET", KEY, "b", mark=1)[2] == {"mark": 1}


@pytest.mark.needs("load balancing strategies")
def test_replicas_read_where_the_user_wants_it(face: Face, nodes: Nodes) -> None:
    """In turn with their master, which writes."""
    nodes.give_slots(replica=True)
    with client_of(face, nodes, load_balancing_strategy=redis.cluster.LoadBalancingStrategy.ROUND_ROBIN) as client:
        for _ in range(4):
            client.get(KEY)
        assert nodes.counts("GET") == (2, 2)
        before = nodes.counts("INCRBY")
        assert [client.incr(KEY) for _ in range(2)] == [1, 1]
        assert nodes.counts("INCRBY") == (before[0] + 2, before[1])


def test_a_method_that_others_replace_is_called(face: Face, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the client, of its class, of redis-py's."""
    theirs = (redis.asyncio.cluster if face.asynchronous else redis.cluster).RedisCluster
    calls = []

    def noting(execute: Any) -> Any:
        def note(*args: Any, **options: Any) -> Any:
            calls.append(args)
            return execute(*args, **options)

        return note

    kind = type("Users", (face.redpool.RedisCluster,), {"_execute_command": noting(theirs._execute_command)})
    with client_of(face, nodes, kind=kind) as client:
        calls.clear()
        assert client.get(KEY) == b"here"
        assert len(calls) == 1
    with client_of(face, nodes) as client:
        target = getattr(client, "_target", client)
        monkeypatch.setattr(target, "_execute_command", noting(target._execute_command))
        assert client.get(KEY) == b"here"
        assert len(calls) == 2
        monkeypatch.undo()
        assert client.get(KEY) == b"here"
        assert len(calls) == 2
        monkeypatch.setattr(theirs, "execute_command", noting(theirs.execute_command))
        assert client.get(KEY) == b"here"
        assert len(calls) == 3


# -- what a node refuses -----------------------------------------------------------------------------------------------


def test_a_slot_that_has_moved_is_asked_for_once(face: Face, nodes: Nodes) -> None:
    """MOVED: the command goes on to the new owner, as do the next ones."""
    with client_of(face, nodes) as client:
        nodes.owner.answer("GET", nodes.refused("MOVED"))
        nodes.other.answer("GET", b"there")
        assert client.get(KEY) == b"there"
        assert nodes.counts("GET") == (1, 1)
        assert client.get(KEY) == b"there"
        assert nodes.counts("GET") == (1, 2)


def test_the_table_is_read_anew_after_some_moves(threads: Face, nodes: Nodes) -> None:
    """As often as `reinitialize_steps` says. redis-py's asyncio twin asks the old owner until it gives up."""
    with client_of(threads, nodes, reinitialize_steps=1) as client:
        before = sum(nodes.counts("CLUSTER"))
        nodes.owner.answer("GET", nodes.refused("MOVED"))
        nodes.give_slots(to_other=True)
        assert client.get(KEY) == b"here"
        assert client.get(KEY) == b"here"
        assert nodes.counts("GET") == (1, 2)
        assert sum(nodes.counts("CLUSTER")) > before


def test_a_key_that_is_moving_is_asked_for_at_its_new_node(face: Face, nodes: Nodes) -> None:
    """ASK: the command goes on behind ASKING, over the same connection; the next one begins at the owner again."""
    with client_of(face, nodes) as client:
        nodes.owner.answer("INCRBY", nodes.refused("ASK"), 7)
        before = nodes.counts("INCRBY")
        assert client.incr(KEY) == 1
        assert nodes.counts("INCRBY") == (before[0] + 1, before[1] + 1)
        seen = nodes.other.commands
        [asking] = [each for each in seen if each.name == "ASKING"]
        following = [each for each in seen if each.connection == asking.connection]
        assert following[following.index(asking) + 1].name == "INCRBY"
        assert client.incr(KEY) == 7


def test_keys_that_are_apart_for_now_are_asked_for_again(face: Face, nodes: Nodes) -> None:
    """TRYAGAIN, from the same node."""
    with client_of(face, nodes) as client:
        nodes.owner.answer("GET", redis.ResponseError("TRYAGAIN later"), b"now")
        assert client.get(KEY) == b"now"
        assert nodes.counts("GET") == (2, 0)


def test_a_cluster_that_is_down_is_looked_at_anew(face: Face, nodes: Nodes) -> None:
    """CLUSTERDOWN: the table is read, and the command goes where it says."""
    with client_of(face, nodes) as client:
        nodes.owner.answer("INCRBY", redis.ResponseError("CLUSTERDOWN Hash slot not served"))
        nodes.give_slots(to_other=True)
        before = nodes.counts("INCRBY")
        assert client.incr(KEY) == 1
        assert nodes.counts("INCRBY") == (before[0] + 1, before[1] + 1)


def test_any_other_error_is_the_callers(face: Face, nodes: Nodes) -> None:
    """It is asked once, and nothing else is; the error tells of the node, where redis-py's does."""
    with client_of(face, nodes) as client:
        nodes.owner.answer("GET", redis.ResponseError("WRONGTYPE of value"))
        before = sum(nodes.counts("CLUSTER"))
        with pytest.raises(redis.ResponseError, match="WRONGTYPE") as caught:
            client.get(KEY)
        assert nodes.counts("GET") == (1, 0)
        assert sum(nodes.counts("CLUSTER")) == before
        if has("OpenTelemetry recording on event loops"):
            assert caught.value.connection.port == nodes.owner.port  # type: ignore[attr-defined]


# -- a node that is lost -----------------------------------------------------------------------------------------------


def test_what_reads_goes_to_the_new_master(face: Face, nodes: Nodes) -> None:
    """The connection breaks: the table is read anew, and the command sent again."""
    with client_of(face, nodes) as client:
        nodes.owner.answer("GET", LOST)
        nodes.give_slots(to_other=True)
        assert client.get(KEY) == b"here"
        assert nodes.counts("GET") == (1, 1)


def test_what_may_have_run_is_its_callers(face: Face, nodes: Nodes) -> None:
    """It is sent once; the next command goes by the new table."""
    with client_of(face, nodes) as client:
        nodes.owner.answer("INCRBY", LOST)
        nodes.give_slots(to_other=True)
        before = nodes.counts("INCRBY")
        with pytest.raises(redpool.ReplyLost):
            client.incr(KEY)
        assert nodes.counts("INCRBY") == (before[0] + 1, before[1])
        assert client.incr(KEY) == 1
        assert nodes.counts("INCRBY") == (before[0] + 1, before[1] + 1)


def test_a_reply_may_be_lost_with_all_nodes(face: Face, nodes: Nodes) -> None:
    """Where no node tells who has which slots, the caller gets to know that its command may have run all the same."""
    with client_of(face, nodes) as client:
        for each in (nodes.owner, nodes.other):
            each.answer("CLUSTER", LOST)
        nodes.owner.answer("INCRBY", LOST)
        with pytest.raises(redpool.ReplyLost):
            client.incr(KEY)


@pytest.mark.needs("retries by default")  # before, a client's policy isn't its cluster's
@pytest.mark.parametrize("retries", [0, 2])
def test_it_is_tried_as_often_as_the_policy_says(face: Face, nodes: Nodes, retries: int) -> None:
    """The first try, which goes straight to the node, counts."""
    if (
        face.asynchronous
        and has("policies of a cluster's commands")
        and not has("clusters that keep a node that failed")
    ):
        pytest.skip("redis-py 7.1 goes to any node then")
    with client_of(face, nodes, retries) as client:
        nodes.owner.answer("GET", LOST)
        before = sum(nodes.counts("CLUSTER"))
        with pytest.raises(redis.ConnectionError):
            client.get(KEY)
        assert nodes.counts("GET") == (retries + 1, 0)
        nodes.owner.answer("GET", b"again")
        assert client.get(KEY) == b"again"
        assert sum(nodes.counts("CLUSTER")) == before + retries + 1


@pytest.mark.needs("clusters that keep a node that failed")
def test_callers_that_fail_together_have_the_table_read_once(face: Face, nodes: Nodes) -> None:
    """Not each of them for itself. What may have run is not sent again, whichever of them fails first."""
    with client_of(face, nodes) as client:
        for name in ("GET", "INCRBY"):
            nodes.owner.answer(name, Raw(b""))
        tables, sent = sum(nodes.counts("CLUSTER")), sum(nodes.counts("INCRBY"))
        reading = [Doing(lambda: client.get(KEY)) for _ in range(6)]
        writing = [Doing(lambda: client.incr(KEY)) for _ in range(6)]
        assert eventually(lambda: (nodes.owner.count("GET"), nodes.owner.count("INCRBY")) == (6, sent + 6))
        nodes.give_slots(to_other=True)
        nodes.owner.hang_up()
        assert [each.result() for each in reading] == [b"here"] * 6
        assert [type(each.ended()) for each in writing] == [redpool.ReplyLost] * 6
        assert sum(nodes.counts("INCRBY")) == sent + 6
        assert sum(nodes.counts("CLUSTER")) - tables <= 3


def test_a_deadline_ends_the_call(face: Face, nodes: Nodes) -> None:
    """And nothing else: it says nothing of the node, so that the table isn't read anew."""
    with client_of(face, nodes) as client:
        nodes.owner.answer("INCRBY", Slow(0.3))
        before, asked = sum(nodes.counts("CLUSTER")), nodes.owner.count("INCRBY")
        with pytest.raises(redpool.DeadlineExceeded) as caught, redpool.deadline(0.1):
            client.incr(KEY)
        assert caught.value.sent
        assert client.get(KEY) == b"here"
        assert nodes.owner.count("INCRBY") == asked + 1
        assert sum(nodes.counts("CLUSTER")) == before
