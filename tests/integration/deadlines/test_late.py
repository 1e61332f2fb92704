"""Replies that don't come in time: their callers go, and the connection stays for the others: note 64."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import redis

import redpool
from redpool import DeadlineExceeded, deadline, embedded
from redpool.core import retry_budget
from redpool.testing import ScriptedServer
from support.faces import PATIENCE as TESTS_PATIENCE
from support.faces import Doing, Face, eventually
from support.mute import PATIENCE, Mute, check_lost

LATE = 0.8
"""Seconds after which a reply is late, where the one after it must not be, be the machine ever so busy."""


def test_a_server_that_pauses(shell: Face, own_server: embedded.Server) -> None:
    """A caller that may ask again gets a `TimeoutError`, any other a `ReplyLate`. The connection goes on.

    The replies that come after all are no caller's.
    """
    pool = shell.pool(host=own_server.host, port=own_server.port, socket_timeout=0.5, retry=shell.retry(0))
    client = shell.client(pool)
    client.set("key", "value")
    own_server.pause()
    try:
        reads = [Doing(lambda: client.get("key")) for _ in range(4)]
        writes = [Doing(lambda: client.incr("n")) for _ in range(4)]
        for doing in reads:
            assert type(doing.ended()) is redis.TimeoutError
        for doing in writes:
            check_lost(doing.ended(), "INCRBY", "late")
    finally:
        own_server.resume()
    assert eventually(lambda: pool.stats().in_flight == 0)
    assert client.get("n") == b"4"
    assert client.get("key") == b"value"
    assert pool.stats().cancelled == 8
    assert pool.stats().connected <= 2


@pytest.mark.parametrize("late", ["GET", "INCRBY"])
def test_one_late_reply_harms_no_other_caller(shell: Face, mute: Mute, late: str) -> None:
    """A GET is asked again by the policy, an INCR isn't; the others' replies are theirs, over the same connection."""
    pool = shell.pool(**mute.at, socket_timeout=LATE, retry=shell.retry(3))
    client = shell.client(pool)
    client.set("key", "value")
    mute.proxy.delay(3 * TESTS_PATIENCE)
    doing = Doing(lambda: client.get("key") if late == "GET" else client.incr("n"))
    assert eventually(lambda: pool.stats().cancelled == 1)
    mute.proxy.heal()  # which lets pass what it has held back: the late reply comes before all others
    if late == "GET":
        assert doing.result() == b"value"
    else:
        check_lost(doing.ended(), "INCRBY", "late")
    for number in range(10):
        assert client.echo(str(number)) == str(number).encode()
    assert eventually(lambda: pool.stats().in_flight == 0)
    assert pool.stats().connected <= 2  # a look in the midst of the silence has another one take its place


@pytest.mark.parametrize("sent", [False, True])
def test_a_deadline(shell: Face, mute: Mute, sent: bool) -> None:
    """It ends the call, and says whether the command may have run."""
    pool = shell.pool(**mute.at, socket_timeout=30.0, max_in_flight=1, timeout=30.0)
    client = shell.client(pool)
    client.set("key", "value")
    mute.server.answer("GET", "never")
    flying = Doing(lambda: client.get("key")) if not sent else None
    assert eventually(lambda: pool.stats().in_flight == (not sent))

    def within() -> Any:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded) as caught:
            _within(shell, client, 0.2)
        assert time.monotonic() - began >= 0.19
        return caught.value

    error = Doing(within).result()
    assert error.sent is sent
    mute.restore("GET")
    mute.proxy.reset()
    if flying is not None:
        flying.ended()


def _within(shell: Face, client: Any, seconds: float) -> None:
    """A GET within a deadline, of the thread or of the task."""
    if not shell.asynchronous:
        with deadline(seconds):
            client.get("key")
        return

    async def ask() -> None:
        with deadline(seconds):
            await client._target.get("key")

    client._await(ask)


def test_a_deadline_before_a_connection(shell: Face, silent: Any) -> None:
    """Where nothing answers the connect, the caller gets its error in time, and nothing was sent."""
    client = shell.client(shell.pool(host="127.0.0.1", port=silent.port, timeout=30.0, socket_timeout=1.0))
    with pytest.raises(DeadlineExceeded) as caught:
        _within(shell, client, 0.2)
    assert caught.value.sent is False


def test_a_half_written_pipeline_and_a_deadline(multiplexed_threads: Face, own_server: embedded.Server) -> None:
    """Its writer goes in time, with more queued behind it; the next caller writes on where it stopped."""
    pool = multiplexed_threads.pool(host=own_server.host, port=own_server.port, socket_timeout=30.0, timeout=30.0)
    client = multiplexed_threads.client(pool)
    client.set("n", 0)
    client.set("large", b"x" * 500_000)  # which has a connection of its kind opened
    own_server.pause()
    try:
        flying = Doing(lambda: _large(client))
        assert eventually(lambda: pool.stats().in_flight >= 20)
        others = [Doing(lambda: client.setrange("n", 0, b"1" * 200_000)) for _ in range(4)]
        assert type(flying.ended()) is DeadlineExceeded
        assert not any(other.done for other in others)
    finally:
        own_server.resume()
    assert [other.result() for other in others] == [200_000] * 4
    assert client.strlen("large") == 500_000


def _large(client: Any) -> None:
    pipe = client.pipeline(transaction=False)
    for _ in range(20):
        pipe.set("large", b"x" * 500_000)
    with deadline(0.5):
        pipe.execute()


def test_a_writer_does_not_hold_up_its_readers(shell: Face, own_server: embedded.Server) -> None:
    """Megabytes in both directions at once: the server, too, waits for the client to read."""
    client = shell.client(shell.pool(host=own_server.host, port=own_server.port))
    value = bytes(range(256)) * 4_000

    def work(number: int) -> None:
        for _ in range(3):
            pipe = client.pipeline(transaction=False)
            for _ in range(5):
                pipe.set(f"key{number}", value).get(f"key{number}")
            assert pipe.execute()[1::2] == [value] * 5

    for doing in [Doing(lambda number=number: work(number)) for number in range(3)]:  # type: ignore[misc]
        doing.result()


def test_reading_goes_on_while_the_server_takes_nothing(multiplexed_threads: Face, scripted: ScriptedServer) -> None:
    """The caller that is parked has its own time, whatever the writer does."""
    client = multiplexed_threads.client(
        multiplexed_threads.pool(host=scripted.host, port=scripted.port, socket_timeout=PATIENCE, retry=None)
    )
    client.ping()
    scripted.pause()
    began = time.monotonic()
    doings = [Doing(lambda: client.get("key")) for _ in range(5)]
    for doing in doings:
        assert isinstance(doing.ended(), redis.TimeoutError)
    assert time.monotonic() - began < 10
    scripted.resume()
    assert client.get("key") == b"key"
    assert threading.active_count() < 50


def test_answers_over_a_shared_connection_count_once_for_all_commands(
    threads: Face, at: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late commands that share take from the same budget as late ones that have a connection of their own."""
    monkeypatch.setattr(retry_budget, "FIRST", 1.0)
    with redpool.MultiplexedConnectionPool(**at, retry=threads.retry(1)) as pool:
        client = redpool.Redis(connection_pool=pool)
        shared, own = pool._engine.multiplexed._may_send_again, pool._engine.may_send_again
        assert own()
        for _ in range(15):
            client.get("key")
        assert own()
        assert not any([shared(), own(), shared(), own()])


def test_late_replies_earn_no_retries(shell: Face, mute: Mute, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come after all, over a connection that stays or is lost; what is answered from then on counts in full."""
    monkeypatch.setattr(retry_budget, "FIRST", 0.0)
    pool = shell.pool(**mute.at, socket_timeout=LATE, retry=shell.retry(1))
    client = shell.client(pool)
    client.ping()
    mute.proxy.delay(3 * TESTS_PATIENCE)
    late = [Doing(lambda: client.get("key")) for _ in range(30)]
    for doing in late:
        assert isinstance(doing.ended(), redpool.ReplyLate)
    mute.proxy.heal()
    assert eventually(lambda: pool.stats().in_flight == 0)
    may_send_again = (pool.multiplexed_here() if shell.asynchronous else pool._engine.multiplexed)._may_send_again
    assert not may_send_again()
    for _ in range(10):
        client.ping()
    assert may_send_again()
    assert not may_send_again()
