"""`redpool.Budget`: the script on a real server, and pools of both shells that share a number of connections."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
import redis

import redpool
import redpool.budget as shares_of_budget
from redpool import embedded
from redpool.budget import _RemoteTable
from redpool.core.shares import TABLE_SCRIPT, Answer, Outcome, Table, Word
from redpool.testing import ScriptedServer
from support.budgets import Fleet, jain
from support.faces import PATIENCE, Doing, Face, Listener, eventually

KEY = "redpool:budget:{checkout}"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def hear(client: redis.Redis) -> Callable[[Word, int, int], Answer]:
    """The script on the server, with the time that it is told."""
    script = client.register_script(TABLE_SCRIPT)

    def hear(word: Word, connections: int, now: int) -> Answer:
        said = (word.process, word.number, word.held, word.wanted, int(word.known), int(word.leaves), connections)
        return Answer(*script(keys=[KEY], args=[now, *said]))

    return hear


def kept(client: redis.Redis, key: str = KEY) -> Table:
    """What the server keeps."""
    table = Table()
    for name, value in client.hgetall(key).items():
        kind, _, process = (name if isinstance(name, str) else name.decode()).partition(":")
        if kind == "e":
            number, granted, wanted, expires, leaves, share = map(int, value.split())
            table.entries[process] = type_of_entries(number, granted, wanted, expires, bool(leaves), share)
        elif kind == "u":
            table.unseen[process] = int(value)
        else:
            setattr(table, {"c": "clock", "h": "heard_at", "y": "young_until"}[kind], int(value))
    return table


def type_of_entries(*values: Any) -> Any:
    table = Table()
    table.hear(Word("p", 1, 0, 1, known=False), 1, 0)
    return type(table.entries["p"])(*values)


@pytest.mark.parametrize("seed", range(3))
def test_the_script_does_what_the_core_does(
    client: redis.Redis, hear: Callable[[Word, int, int], Answer], seed: int
) -> None:
    """Words of all kinds, late ones and long pauses among them: the same answers, and the same table."""
    random, table, now = Random(seed), Table(), 1_700_000_000_000
    numbers: dict[str, int] = {}
    for _ in range(150):
        now += random.choice([0, 10, 100, 100, 900, 2500, 6900, 8000]) - random.choice([0, 0, 0, 5])
        process = random.choice("abcdefgh"[: random.choice([3, 8])])
        numbers[process] = number = max(1, numbers.get(process, 0) + random.choice([1, 1, 1, 1, 0, -1]))
        word = Word(process, number, random.choice([0, 1, 2, 5, 9]), random.choice([0, 1, 4, 50]),
                    known=random.random() < 0.8, leaves=random.random() < 0.05)  # fmt: skip
        connections = random.choice([40, 41, 20, 12, 9])
        assert hear(word, connections, now) == table.hear(word, connections, now)
    assert kept(client) == table


def test_many_processes_on_a_real_server(hear: Callable[[Word, int, int], Answer]) -> None:
    """They lose the server, and some are cut off: the sum is never above the budget, and the hungry share evenly."""
    fleet = Fleet(hear, 300, seed=3)
    for place in range(60):
        fleet.join([1, 3, 20, 50][place % 4])
    fleet.run(20)
    for process in fleet.processes[::10]:
        process.is_cut_off = True
    fleet.die(fleet.processes[7])
    fleet.run(20)
    fleet.is_away = True
    fleet.run(60)
    fleet.is_away = False
    for process in fleet.processes:
        process.is_cut_off = False
    fleet.run(20)
    assert fleet.most <= 300
    assert jain(fleet.hungry()) >= 0.95


def test_two_pools_share_what_the_process_has(face: Face, at: dict[str, Any], redis_url: str) -> None:
    """Alone it begins with two. What one pool gives back, the other gets; what was said stands in the dump."""
    budget = redpool.Budget(redis_url, "checkout", connections=2)
    first = face.pool(**at, budget=budget, timeout=PATIENCE)
    second = face.pool(**at, budget=budget, timeout=PATIENCE)
    assert budget.share == 0
    one = first.get_connection()
    assert budget.share == 2
    other = Doing(second.get_connection).result()
    assert first.stats().open + second.stats().open <= 2
    third = Doing(second.get_connection)
    assert eventually(lambda: second.stats().waiting == 1)
    first.release(one)
    second.release(other)
    second.release(third.result())
    assert "the budget 'checkout' allows this process 2 of 2 connections, in place of 0" in str(first.dump())
    assert repr(budget) == "<redpool.Budget 'checkout': 2 of 2 connections>"
    budget.close()
    assert eventually(lambda: first.stats().open + second.stats().open == 0)
    assert eventually(lambda: budget.share == 0)


def test_without_a_share_a_pool_says_so(at: dict[str, Any], redis_url: str, client: redis.Redis) -> None:
    """Since when, and when the server was last heard, which knows each process by the name of its connection."""
    budgets = [redpool.Budget(redis_url, "two", connections=2) for _ in range(2)]
    full, empty = (redpool.ConnectionPool(**at, budget=budget, timeout=PATIENCE) for budget in budgets)
    connections = [full.get_connection() for _ in range(2)]
    waiting = Doing(empty.get_connection)
    assert eventually(lambda: len(budgets[1].decisions()) == 1)
    (share,) = [line for line in str(empty.dump()).splitlines() if line.startswith("  share")]
    assert re.fullmatch(r"  share for 0\.\d+ s, 0 of 2 connections of the budget 'two', 0 in this process; "
                        r"last answer: 0\.\d+ s ago", share)  # fmt: skip
    assert "allows this process 0 of 2 connections" in str(empty.dump())
    own = [each for each in client.client_list() if "/budget:two@" in each["name"]]
    assert [each["name"].endswith(f":{os.getpid()}") for each in own] == [True, True]
    assert all("redpool" in each.get("lib-name", "redpool") for each in own)  # a server of before Redis 7.2 has none
    for connection in connections:
        full.release(connection)
    budgets[0].close()
    empty.release(waiting.result())
    budgets[1].close()


def test_what_a_closed_loop_had_open_is_closed(at: dict[str, Any], redis_url: str, client: redis.Redis) -> None:
    """Else other pools would open as many again."""
    budget = redpool.Budget(redis_url, "loops", connections=2)
    pool = redpool.asyncio.ConnectionPool(**at, budget=budget, client_name="of-a-loop", timeout=PATIENCE)

    async def use() -> None:
        for connection in [await pool.get_connection() for _ in range(2)]:
            await pool.release(connection)

    asyncio.run(use())
    others = redpool.ConnectionPool(**at, budget=budget, timeout=PATIENCE)
    connections = [others.get_connection() for _ in range(2)]
    assert eventually(lambda: "of-a-loop" not in [each["name"] for each in client.client_list()])
    for connection in connections:
        others.release(connection)
    budget.close()


def test_a_multiplexed_pool_keeps_to_its_share(multiplexed_face: Face, at: dict[str, Any], redis_url: str) -> None:
    """Its shared connection counts, and is given back, too."""
    budget = redpool.Budget(redis_url, "checkout", connections=1)
    pool = multiplexed_face.pool(**at, budget=budget, timeout=PATIENCE)
    assert Doing(pool.healthy).result()
    assert pool.max_connections == 1
    budget.close()
    assert eventually(lambda: pool.stats().open == 0)


def test_a_pool_that_sizes_itself_grows_to_its_share_only(face: Face, at: dict[str, Any], redis_url: str) -> None:
    """The share is its upper limit."""
    budget = redpool.Budget(redis_url, "checkout", connections=100)
    pool = face.pool(**at, budget=budget, max_connections="auto", limits=(1, 50), timeout=PATIENCE)
    connections = [Doing(pool.get_connection).result() for _ in range(2)]
    waiting = Doing(pool.get_connection)
    assert eventually(lambda: pool.stats().waiting == 1)
    assert pool.max_connections == 2
    for connection in connections:
        pool.release(connection)
    pool.release(waiting.result())
    budget.close()


def test_each_keeps_its_share_while_the_server_is_away(
    own_server: embedded.Server, at: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """One that has none yet begins with two. A pool is not the slower for it."""
    budget = redpool.Budget(own_server.url, "checkout", connections=20)
    pool = redpool.ConnectionPool(**at, budget=budget, timeout=PATIENCE)
    pool.release(pool.get_connection())
    own_server.kill()
    agent = budget._agent
    agent.share._next_at = 0.0
    agent._wake()
    assert eventually(lambda: "no answer, so the share stays" in caplog.text)
    assert budget.share == 2
    pool.release(pool.get_connection())
    late = redpool.Budget(own_server.url, "checkout", connections=20)
    other = redpool.ConnectionPool(**at, budget=late, timeout=PATIENCE)
    other.release(other.get_connection())
    assert late.share == 2
    for each in (budget, late):
        each.close()
    pool.shutdown()
    other.shutdown()


def test_a_server_is_away_or_this_process_is_cut_off(
    silent: Listener, refusing: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine answers in the first case, if only to refuse; one that is full serves others."""
    for listener in (silent, refusing):
        table = _RemoteTable("checkout", {"host": "127.0.0.1", "port": listener.port})
        assert table.outcome(redis.ConnectionError("lost")) is Outcome.AWAY
        assert table.outcome(redis.ConnectionError("max number of clients reached")) is Outcome.CUT_OFF

    def unreachable(*_: Any) -> Any:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", unreachable)
    assert table.outcome(redis.ConnectionError("lost")) is Outcome.CUT_OFF
    assert table.outcome(redis.ResponseError("OOM")) is Outcome.AWAY
    assert (
        _RemoteTable("checkout", {"path": "/nowhere", "connection_class": redis.UnixDomainSocketConnection}).outcome(
            redis.ConnectionError("lost")
        )
        is Outcome.AWAY
    )


def test_the_node_that_has_the_key_is_followed(scripted: ScriptedServer) -> None:
    """In a cluster any node may be named."""
    with ScriptedServer() as other:
        other.answer("SCRIPT", b"digest")
        other.answer("EVALSHA", [7, 2, 1, 0, 2])
        scripted.answer("SCRIPT", b"digest")
        scripted.answer("EVALSHA", redis.ResponseError(f"MOVED 1 {other.host}:{other.port}"))
        table = _RemoteTable("checkout", {"host": scripted.host, "port": scripted.port})
        assert table.hear(Word("p", 1, 0, 2, known=False), 9) == Answer(7, 2, 1, 0, 2)
        assert table.hear(Word("p", 2, 7, 2, known=True), 9).share == 7
        assert scripted.count("EVALSHA") == 1
        table.close()


def test_a_node_that_is_gone_is_not_asked_for_ever(scripted: ScriptedServer) -> None:
    """The node that was named says which one has the key now."""
    said = [Word("p", number, 0, 2, known=number > 1) for number in range(1, 6)]
    scripted.answer("SCRIPT", b"digest")
    table = _RemoteTable("checkout", {"host": scripted.host, "port": scripted.port})
    for number, answer in ((0, 5), (2, 7)):
        with ScriptedServer() as other:
            other.answer("SCRIPT", b"digest")
            other.answer("EVALSHA", [answer, 2, 1, 0, 2])
            scripted.answer("EVALSHA", redis.ResponseError(f"MOVED 1 {other.host}:{other.port}"))
            assert table.hear(said[number], 9).share == answer
        with pytest.raises(redis.ConnectionError):
            table.hear(said[number + 1], 9)
        assert table.outcome(redis.ConnectionError("lost")) is Outcome.AWAY
    table.close()


def test_a_child_has_a_share_of_its_own(at: dict[str, Any], redis_url: str, client: redis.Redis) -> None:
    """Under another name; its parent's thread and connection are its parent's."""
    budget, key = redpool.Budget(redis_url, "forked", connections=20), "redpool:budget:{forked}"
    pool = redpool.ConnectionPool(**at, budget=budget, timeout=PATIENCE)
    pool.release(pool.get_connection())
    pid = os.fork()
    if not pid:
        before = budget.share
        pool.release(pool.get_connection())
        os._exit(not (before == 0 and budget.share == 2))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert len(kept(client, key).entries) == 2
    pool.shutdown()
    assert eventually(lambda: sum(entry.leaves for entry in kept(client, key).entries.values()) == 1)
    assert eventually(lambda: "redpool budget forked" not in [each.name for each in threading.enumerate()])


def test_a_child_of_multiprocessing_gives_its_share_back(
    at: dict[str, Any], redis_url: str, client: redis.Redis
) -> None:
    """It ends without `atexit`."""
    budget, key = redpool.Budget(redis_url, "worked", connections=20), "redpool:budget:{worked}"
    pool = redpool.ConnectionPool(**at, budget=budget, timeout=PATIENCE)

    def work() -> None:
        pool.release(pool.get_connection())

    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(PATIENCE)
    assert child.exitcode == 0
    assert [entry.leaves for entry in kept(client, key).entries.values()] == [True]


def test_threads_of_a_child_have_one_share(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    """Though two need one at once, and neither has begun in the child yet."""
    budget = redpool.Budget(redis_url, "forked", connections=20)
    monkeypatch.setattr(budget._agent, "_pid", 0)
    new_share = shares_of_budget._new_share
    met: list[Any] = []

    def another_thread_comes_first() -> Any:
        if not met:
            met.append(None)
            met.append(budget._here())
        return new_share()

    monkeypatch.setattr(shares_of_budget, "_new_share", another_thread_comes_first)
    assert budget._here() is met[1] is budget._here()


@pytest.mark.parametrize("options", [{"timeout": 0}, {"max_waiting": 0}])
def test_a_pool_whose_callers_never_wait_has_its_share_before_they_come(
    at: dict[str, Any], redis_url: str, options: dict[str, Any]
) -> None:
    """The first one would be turned away."""
    with redpool.Budget(redis_url, "hasty", connections=20) as budget:
        pool = redpool.ConnectionPool(**at, budget=budget, **options)
        assert eventually(lambda: pool.max_connections > 0)
        pool.release(pool.get_connection())


def test_a_child_that_ends_at_once_has_said_goodbye_before(
    at: dict[str, Any], redis_url: str, client: redis.Redis
) -> None:
    """`close()` waits for it, as long as it is told to."""
    budget, key = redpool.Budget(redis_url, "ended", connections=4), "redpool:budget:{ended}"
    pool = redpool.ConnectionPool(**at, budget=budget, timeout=PATIENCE)
    pid = os.fork()
    if not pid:
        pool.release(pool.get_connection())
        pool.close()
        budget.close(timeout=PATIENCE)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert [entry.leaves for entry in kept(client, key).entries.values()] == [True]
    with pytest.raises(ValueError, match="timeout must be a number of seconds, not -1"):
        budget.close(timeout=-1)


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"url": 5}, TypeError, "url must be a string such as 'redis://localhost:6379', not int"),
        ({"name": ""}, ValueError, "name='': a budget has a name, without braces"),
        ({"name": b"x"}, TypeError, "name must be a string, not b'x'"),
        ({"connections": 0}, ValueError, "connections must be at least 1, not 0"),
        ({"url": "localhost"}, ValueError, "url must begin with redis://, .* not 'localhost'"),
        ({"socket_connect_timeout": 0}, ValueError, "socket_connect_timeout must be above 0 seconds, not 0"),
        ({"socket_timeout": 30}, ValueError, "socket_timeout=30, socket_connect_timeout=1.0: .* at most 4 seconds"),
        ({"socket_timeout": None}, ValueError, "socket_timeout=None, .* at most 4 seconds"),
        ({"socket_timeout": "x"}, TypeError, "socket_timeout='x' is not a number of seconds"),
        ({"url": "redis://me:sec?ret@localhost"}, ValueError, "^the URL's host and port can't be read"),
        ({"sockettimeout": 9}, TypeError, "sockettimeout"),
        ({"connections": "9"}, TypeError, "connections must be a whole number, not '9'"),
    ],
)
def test_wrong_options_are_named(wrong: dict[str, Any], error: type[Exception], says: str) -> None:
    """With the value; a pool says what it takes."""
    options: Any = {"url": "redis://localhost:1", "name": "checkout", "connections": 9} | wrong
    with pytest.raises(error, match=says):
        redpool.Budget(options.pop("url"), options.pop("name"), **options)
    with pytest.raises(TypeError, match=r"budget must be a redpool\.Budget, not 200"):
        redpool.ConnectionPool(budget=200)  # type: ignore[call-overload]  # it is wrong
