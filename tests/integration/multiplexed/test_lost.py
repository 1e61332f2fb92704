"""The shared connection breaks: callers get errors for what was sent, the rest moves, the pool reconnects: note 65."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from redpool import ReplyLost, embedded
from support.faces import Doing, Face, eventually
from support.mute import Mute, check_lost


@pytest.mark.parametrize("how", ["reset", "hang-up"])
def test_what_must_not_run_twice(shell: Face, mute: Mute, how: str) -> None:
    """INCR is sent once, and each of its callers gets an error; the next call finds another connection."""
    pool = shell.pool(**mute.at, socket_timeout=30.0, retry=shell.retry(3))
    client = shell.client(pool)
    client.set("key", "value")
    mute.withhold("INCRBY", times=3)
    others = [Doing(lambda: client.incr("n")) for _ in range(2)]
    assert eventually(lambda: mute.heard == 2)
    doing = Doing(lambda: client.incr("n"))
    assert eventually(lambda: mute.heard == 3)
    mute.proxy.reset() if how == "reset" else mute.server.hang_up()
    for each in (doing, *others):
        check_lost(each.ended(), "INCRBY", how)
    assert client.incr("n") == 1
    assert client.get("key") == b"value"
    stats = pool.stats()
    assert (stats.in_flight, stats.in_use, stats.connected, stats.open) == (0, 1, 2, 1)


def test_what_may_run_twice(shell: Face, mute: Mute) -> None:
    """The policy asks again, as often as it allows."""
    client = shell.client(shell.pool(**mute.at, socket_timeout=30.0, retry=shell.retry(2)))
    client.set("key", "value")
    mute.withhold("GET", times=2)
    assert mute.lose("hang-up", lambda: client.get("key"), times=2).result() == b"value"
    mute.withhold("GET", times=3)
    assert type(mute.lose("hang-up", lambda: client.get("key"), times=3).ended()) is redis.ConnectionError


@pytest.mark.parametrize("transaction", [False, True])
def test_pipelines(shell: Face, mute: Mute, transaction: bool) -> None:
    """A pipeline that writes gets an error for its first such command; one that only reads is sent again."""
    client = shell.client(shell.pool(**mute.at, socket_timeout=30.0, retry=shell.retry(3)))
    mute.withhold("INCRBY")
    error = mute.lose("reset", lambda: client.pipeline(transaction=transaction).get("key").incr("n").execute()).ended()
    assert type(error) is ReplyLost
    assert error.command == "INCRBY"
    mute.withhold("GET")
    mute.server.answer("EXEC", [b"value"])
    reads = mute.lose("reset", lambda: client.pipeline(transaction=transaction).get("key").execute())
    assert reads.result() == [b"value"]


@pytest.mark.parametrize("rule", ["all", "none"])
def test_the_pools_own_rule(shell: Face, mute: Mute, rule: str) -> None:
    """`retry_sent` counts as on any pool."""
    client = shell.client(shell.pool(**mute.at, socket_timeout=30.0, retry=shell.retry(1), retry_sent=rule))
    mute.withhold("INCRBY")
    doing = mute.lose("hang-up", lambda: client.incr("n"))
    if rule == "all":
        assert doing.result() == 1
    else:
        check_lost(doing.ended(), "INCRBY")
        mute.withhold("GET")
        check_lost(mute.lose("hang-up", lambda: client.get("key")).ended(), "GET")


def test_what_was_not_sent_is_moved(shell: Face, mute: Mute) -> None:
    """A caller that waited for room has lost nothing: its command goes over the next connection, without a retry."""
    pool = shell.pool(**mute.at, socket_timeout=30.0, timeout=30.0, max_in_flight=1, retry=shell.retry(0))
    client = shell.client(pool)
    client.set("key", "value")
    mute.withhold("GET")
    flying = Doing(lambda: client.get("key"))
    assert eventually(lambda: mute.heard == 1)
    waiting = [Doing(lambda: client.incr("n")) for _ in range(4)]
    assert eventually(lambda: pool.stats().waiting == 4)
    mute.proxy.reset()
    assert type(flying.ended()) is redis.ConnectionError
    assert sorted(each.result() for each in waiting) == [1, 2, 3, 4]


def test_a_server_that_is_killed_and_comes_back(shell: Face, own_server: embedded.Server) -> None:
    """Under load: each caller gets its reply or an error, nothing hangs, and the pool finds the server again."""
    options = {"host": own_server.host, "port": own_server.port, "socket_timeout": 10.0}
    pool = shell.pool(**options, retry=shell.retry(40, base=0.05))
    client = shell.client(pool)
    stop, errors, done = [False], list[BaseException](), [0]

    def work(number: int) -> None:
        turn = 0
        while not stop[0]:
            turn += 1
            token = f"{number}-{turn}"
            try:
                assert client.echo(token) == token.encode()
                client.incr("n")
                done[0] += 1
            except redis.ConnectionError as error:
                errors.append(error)

    workers = [Doing(lambda number=number: work(number)) for number in range(4)]  # type: ignore[misc]
    assert eventually(lambda: done[0] > 50)
    own_server.kill()
    own_server.restart()
    before = done[0]
    assert eventually(lambda: done[0] > before + 50)
    stop[0] = True
    for worker in workers:
        worker.result()
    assert all(isinstance(error, ReplyLost) for error in errors)
    assert len(errors) <= 8
    # What stood at the head when the server was killed may have had the bulk connection after that.
    assert eventually(lambda: (pool.stats().in_flight, pool.stats().in_use) in ((0, 1), (0, 2)))


@pytest.mark.usefixtures("attentive")
def test_a_black_hole(shell: Face, mute: Mute) -> None:
    """A path that swallows everything is found out by what doesn't come back, and left for a new one."""
    pool = shell.pool(**mute.at, socket_timeout=0.5, retry=shell.retry(0))
    client = shell.client(pool)
    client.set("key", "value")
    mute.proxy.black_hole()
    for _ in range(2):
        with pytest.raises(redis.TimeoutError):
            client.get("key")
    assert eventually(lambda: pool.stats().open == 0)
    mute.proxy.heal()
    assert client.get("key") == b"value"
    assert (pool.stats().in_flight, pool.stats().connected) == (0, 2)


def test_no_caller_is_there_to_connect(shell: Face, own_server: embedded.Server) -> None:
    """All callers that wait for the connection get the connect's error, each an error of its own."""
    pool = shell.pool(host=own_server.host, port=own_server.port, retry=shell.retry(0))
    client = shell.client(pool)
    own_server.kill()
    doings = [Doing(lambda: client.get("key")) for _ in range(5)]
    errors = [doing.ended() for doing in doings]
    assert all(type(error) is redis.ConnectionError for error in errors), errors
    assert len({id(error) for error in errors}) == 5
    own_server.restart()

    def is_served() -> bool:
        try:
            return client.get("key") is None
        except redis.ConnectionError:  # within the pause after a failure callers get that one
            return False

    assert eventually(is_served)


def test_the_server_ends_idle_connections(shell: Face, at: dict[str, Any], watch: Any) -> None:
    """The next caller doesn't notice."""
    client = shell.own(**at, client_name="ended", retry=shell.retry(1))
    for _ in range(3):
        client.set("key", "value")
        watch.kill(*watch.ids("ended"))
        assert eventually(lambda: not watch.ids("ended"))
        assert client.get("key") == b"value"


def test_its_slot_is_the_next_callers(
    shell: Face, at: dict[str, Any], watch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was lost while no call was under way holds no slot, though maintenance has not seen it yet."""
    monkeypatch.setattr("redpool.asyncio.connections._LOOK_EVERY", 60.0)
    client = shell.own(**at, client_name="ended", max_connections=1, timeout=3.0, retry=shell.retry(1))
    for _ in range(3):
        client.set("key", "value")
        watch.kill(*watch.ids("ended"))
        assert eventually(lambda: not watch.ids("ended"))
        assert client.get("key") == b"value"
