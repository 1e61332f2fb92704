"""Threads that write and read for all, at the moments when the connection breaks or is released. White-box."""

from __future__ import annotations

import errno
import select
from collections.abc import Iterator
from typing import Any

import pytest
import redis

import redpool
from redpool.errors import interrupted
from redpool.sync.connections import Reentered
from redpool.testing import Raw, ScriptedServer
from redpool.wire.pipeline import Request, State
from support.faces import Doing, eventually
from support.mute import Mute


def multiplexed_by(client: Any) -> Any:
    """Return the one connection that it shares."""
    (connection,) = client.connection_pool._engine.multiplexed.in_use()
    return connection


def get(key: str) -> Request:
    """Return a request for what is under the key."""
    return Request(("GET", key), f"*2\r\n$3\r\nGET\r\n${len(key)}\r\n{key}\r\n".encode())


@pytest.fixture
def client(mute: Mute, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client that tries once, whose multiplexed connections only the test looks after."""
    made: Any = redpool.Redis(**mute.at, socket_timeout=30.0, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))
    monkeypatch.setattr(made.connection_pool._engine.multiplexed, "tick", lambda *_: 60.0)
    made.set("key", "value")
    yield made
    made.connection_pool.shutdown(timeout=0, force=True)


def test_a_connection_that_was_detached_is_not_written_to(client: Any, scripted: ScriptedServer) -> None:
    """A thread that has chosen it before writes nothing over it, and goes elsewhere with its request."""
    connection = multiplexed_by(client)
    client.connection_pool.drain()
    assert eventually(lambda: scripted.clients == 0)
    assert connection.state is State.DETACHED
    request = get("key")
    assert connection.call(request, None)
    assert not request.done
    assert not request.sent
    assert connection.end()  # it stays over, however often one asks


def test_what_maintenance_is_reading_unasked_is_no_callers_reply(
    client: Any, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written after something unasked was taken from the socket, and before it is understood."""
    connection = multiplexed_by(client)
    receive = connection._stream.receive_within
    calls = []

    def taken_and_not_understood(seconds: float) -> int:
        size: int = receive(seconds)
        monkeypatch.setattr(connection._stream, "receive_within", receive)
        calls.append(Doing(lambda: client.get("key")))
        assert eventually(lambda: connection.pipeline.pending or any(each.waker for each in connection.pipeline.queued))
        return size

    monkeypatch.setattr(connection._stream, "receive_within", taken_and_not_understood)
    scripted.push(Raw(b"+another's\r\n"))
    assert eventually(lambda: connection._readable(0))
    connection.look_after(1e9)
    assert calls[0].result() == b"value"
    assert connection.state is State.LOST


def test_a_caller_takes_no_room_from_itself(mute: Mute) -> None:
    """Where maintenance has the writer's role just then, one that fits is written as soon as it leaves the role."""
    pool = redpool.MultiplexedConnectionPool(**mute.at, socket_timeout=30.0, max_in_flight=1, timeout=0)
    client = redpool.Redis(connection_pool=pool)
    client.set("key", "value")
    connection = multiplexed_by(client)
    assert eventually(connection.writer.try_enter)
    try:
        call = Doing(lambda: client.get("key"))
        assert eventually(connection.reader.taken)
    finally:
        connection.writer.leave()
        connection.look_after(0.0)
    try:
        assert call.result() == b"value"
    finally:
        pool.shutdown(timeout=0, force=True)


@pytest.mark.parametrize("role", ["writer", "reader"])
def test_a_role_that_was_left_in_the_midst_of_its_work(client: Any, role: str) -> None:
    """Half a message may have been left behind: the next thread that enters it gives the connection up."""
    connection = multiplexed_by(client)
    getattr(connection, role).dirty = True
    request = get("key")
    assert connection.call(request, None)
    assert connection.state is State.LOST
    assert request.sent is (role == "reader")
    assert "interrupted" in str(connection.error)
    assert client.get("key") == b"value"


@pytest.mark.parametrize("role", ["writer", "reader"])
def test_a_role_whose_owner_is_gone(client: Any, role: str) -> None:
    """A thread that was interrupted before it could leave a role is found out: its owner doesn't come by any more."""
    connection = multiplexed_by(client)
    connection.look_after(1e9)  # a clock turned by hand: maintenance's own looks don't count from here on
    Doing(lambda: getattr(connection, role).try_enter()).result()
    looks = 0
    while connection.state is not State.LOST:
        looks += 1
        connection.look_after(1e9 + 2 * looks)
        assert looks <= 6
    assert looks >= 3
    assert client.get("key") == b"value"


@pytest.mark.parametrize("role", ["writer", "reader"])
def test_a_role_whose_owner_is_gone_is_found_before_callers_run_out_of_patience(
    mute: Mute, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """One thread was interrupted, and interrupted again as it left: others go on over another connection."""
    with redpool.MultiplexedConnectionPool(**mute.at, socket_timeout=5.0) as pool:
        monkeypatch.setattr(pool._engine.multiplexed, "tick", lambda *_: 60.0)
        made = redpool.Redis(connection_pool=pool)
        made.set("key", "value")
        connection = multiplexed_by(made)
        connection.look_after(1e9)
        Doing(lambda: getattr(connection, role).try_enter()).result()
        for looks in range(1, 5):  # one a second; it may have been entered just after the first of them
            connection.look_after(1e9 + looks)
        assert connection.state is State.LOST


def test_a_role_whose_owner_comes_by(client: Any, mute: Mute, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits long for a reply is not taken to be gone."""
    monkeypatch.setattr("redpool.sync.connection._LONGEST_LOOK", 0.05)
    client.connection_pool.drain()
    client.set("key", "value")
    connection = multiplexed_by(client)
    mute.server.answer("GET", "never")
    waiting = Doing(lambda: client.get("key"))
    assert eventually(lambda: connection.reader.taken())
    for looks in range(1, 20):
        beat = connection.reader.beat
        connection.look_after(1e9 + 2 * looks)
        assert eventually(lambda: connection.reader.beat > beat)  # noqa: B023  it is called at once
    assert connection.state is not State.LOST
    mute.restore("GET")
    mute.proxy.reset()
    waiting.ended()


def test_a_lost_connection_is_closed_by_the_last_thread_that_was_in_a_role(client: Any) -> None:
    """A descriptor is never closed while a thread may be using it: it might be another connection's by then."""
    connection = multiplexed_by(client)
    assert eventually(connection.writer.try_enter)
    connection.lose(interrupted("at work on"))
    sock = connection._stream.sock
    assert sock.fileno() >= 0
    connection.writer.leave()
    assert connection.end()
    assert sock.fileno() == -1


def test_a_reader_that_writes_for_others_goes_on_reading(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may be waiting for its replies to be read, and one of them may be its own."""
    connection = multiplexed_by(client)
    asked: list[int] = []

    def wait(events: int, seconds: float) -> int:
        asked.append(events)
        return 0

    monkeypatch.setattr(connection._stream, "wait", wait)
    monkeypatch.setattr(connection, "_send", lambda data, flags: len(data))
    assert eventually(connection.reader.try_enter)
    assert eventually(connection.writer.try_enter)
    beat, connection._unsent = connection.reader.beat, memoryview(b"x")
    request = get("key")
    request.flowed_at = request.limit = float("inf")
    request.sent = True
    assert connection._push_on(request)
    connection.writer.leave()
    connection.reader.leave()
    assert asked[0] & select.POLLIN
    assert connection.reader.beat > beat


def test_a_lone_caller_looks_at_what_is_in_flight_as_the_writer(
    client: Any, mute: Mute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one may have written after its first look: no more than `max_in_flight` commands await a reply."""
    connection = multiplexed_by(client)
    pipeline, role_class = connection.pipeline, type(connection.writer)
    enter: Any = role_class.enter
    pipeline._max_in_flight = 1
    mute.server.answer("GET", Raw(b""))
    calls = []

    def enter_after_another(role: Any, blocking: bool) -> bool:
        if role is connection.writer:
            monkeypatch.setattr(role_class, "enter", enter)
            calls.append(Doing(lambda: client.get("another")))
            assert eventually(connection.reader.taken)
        return bool(enter(role, blocking))

    monkeypatch.setattr(role_class, "enter", enter_after_another)
    calls.append(Doing(lambda: client.get("key")))
    assert eventually(lambda: len(pipeline.pending) + len(pipeline.queued) == 2)
    assert pipeline.in_flight == 1
    mute.restore("GET")
    mute.proxy.reset()
    for call in calls:
        call.ended()


@pytest.mark.parametrize("where", ["_send", "_receive"])
def test_a_handler_that_raises_what_a_socket_might(client: Any, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Its exception ends the call, and the connection: how much was sent, or received, is not known."""
    connection = multiplexed_by(client)
    use = getattr(connection, where)

    def use_and_handle_a_signal(*args: Any) -> int:
        use(*args)
        raise BlockingIOError(errno.EAGAIN, "a pipe of the handler's is full")

    monkeypatch.setattr(connection, where, use_and_handle_a_signal)
    with pytest.raises(BlockingIOError, match="a pipe of the handler's"):
        client.get("key")
    assert connection.state is State.LOST
    assert client.echo("next") == b"next"


def test_no_one_touches_the_socket_of_a_detached_connection(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is another borrower's by then, whatever maintenance had seen before."""
    connection = multiplexed_by(client)
    client.connection_pool.drain()
    assert connection.state is State.DETACHED
    hurried: list[bool] = []
    monkeypatch.setattr(connection._stream, "hurry", lambda: hurried.append(True))
    monkeypatch.setattr(type(connection.reader), "taken", lambda role: True)
    for now in (1e9, 2e9):
        connection._look_for_owner(connection.reader, 7, now)
    assert not hurried


def test_a_connection_is_released_once(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where a signal handler retires it in the midst of its being retired."""
    connection, multiplexed = multiplexed_by(client), client.connection_pool._engine.multiplexed
    released: list[Any] = []
    monkeypatch.setattr(multiplexed.home, "release", released.append)
    connection.retire()
    multiplexed._ending += [connection, connection]
    multiplexed._shared, multiplexed.only = (), None
    for _ in range(3):
        multiplexed.see_to(connection)
    assert released == [connection.connection]
    assert not multiplexed._ending


def ask_from_within(client: Any) -> None:
    """Ask as a signal handler does, which has interrupted its thread."""
    assert client.get("key") == b"value"
    virtual = client.connection_pool._virtual(client.connection_pool._engine.multiplexed)
    virtual.send_command("ECHO", "a")
    virtual.send_command("ECHO", "b")
    assert [virtual.read_response(), virtual.read_response()] == [b"a", b"b"]
    client.connection_pool.release(virtual)


def test_a_handler_that_interrupts_the_reader(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its calls go over a connection of their own, those that are sent before any reply is read, too."""
    connection = multiplexed_by(client)
    receive, asked = connection._receive, list[bool]()

    def interrupted(buffer: Any) -> int:
        if not asked:
            asked.append(True)
            ask_from_within(client)
        return int(receive(buffer))

    monkeypatch.setattr(connection, "_receive", interrupted)
    assert client.get("key") == b"value"
    assert asked
    assert connection.state is State.OPEN


@pytest.mark.parametrize("where", ["_send", "_receive"])
def test_a_handler_that_interrupts_the_only_connection(mute: Mute, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Its calls have one beside the pool: the only slot is free once its own thread goes on."""
    client: Any = redpool.Redis(**mute.at, max_connections=1, timeout=1.0)
    client.set("key", "value")
    connection = multiplexed_by(client)
    use = getattr(connection, where)

    def use_after_a_signal(*args: Any) -> int:
        monkeypatch.setattr(connection, where, use)
        ask_from_within(client)
        return int(use(*args))

    monkeypatch.setattr(connection, where, use_after_a_signal)
    assert client.get("key") == b"value"
    assert connection.state is State.OPEN
    assert client.connection_pool.stats().connected == 1
    client.close()


@pytest.mark.parametrize("client_class", [redis.Redis, redpool.Redis])
def test_a_second_try_that_would_wait_for_its_own_thread(
    client: Any, monkeypatch: pytest.MonkeyPatch, client_class: Any
) -> None:
    """A handler's write that a replica has refused goes over a connection of its own then."""
    pool = client.connection_pool
    answers: list[Any] = [redis.ReadOnlyError("it is a replica")]

    def execute(*_: Any) -> Any:
        if not answers:
            raise Reentered
        return answers.pop()

    monkeypatch.setattr(pool._engine.multiplexed, "execute", execute)
    assert client_class(connection_pool=pool).set("key", "value") is True


@pytest.mark.parametrize("client_class", [redis.Redis, redpool.Redis])
def test_a_connection_that_comes_just_before_a_call(
    client: Any, mute: Mute, monkeypatch: pytest.MonkeyPatch, client_class: Any
) -> None:
    """A write that a replica refuses over it is sent again like any other, over a new one."""
    pool = client.connection_pool
    multiplexed, before = pool._engine.multiplexed, mute.server.count("SET")
    ask = multiplexed.ask

    def connect_and_ask(*args: Any) -> Any:
        multiplexed.execute(get("key"), None)
        return ask(*args)

    multiplexed.retire_all()
    monkeypatch.setattr(multiplexed, "ask", connect_and_ask)
    mute.server.answer("SET", redis.ResponseError("READONLY You can't write against a read only replica."), "ok")
    assert client_class(connection_pool=pool).set("key", "value")
    assert mute.server.count("SET") == before + 2


def test_a_handler_that_interrupts_a_change_of_the_set(client: Any) -> None:
    """Its calls go over a connection of their own."""
    multiplexed = client.connection_pool._engine.multiplexed
    multiplexed.retire_all()
    with multiplexed._changing:
        ask_from_within(client)
    assert client.get("key") == b"value"


@pytest.mark.parametrize("role", ["writer", "reader"])
def test_a_role_that_a_call_could_not_leave(client: Any, role: str) -> None:
    """The thread was interrupted, and again as the call ended: its next call gives the connection up, at once."""
    connection = multiplexed_by(client)
    assert eventually(getattr(connection, role).try_enter)
    assert client.get("key") == b"value"
    assert connection.state is State.LOST
    assert not connection.is_mine()
    assert multiplexed_by(client) is not connection


def test_a_handler_of_notifications_that_raises(scripted: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    """It harms no caller: what it raises is logged."""
    client: Any = redpool.Redis(host=scripted.host, port=scripted.port, protocol=3)
    client.ping()

    def handler(message: Any) -> None:
        raise ValueError("no idea")

    multiplexed_by(client)._parser.handle_push_response = handler
    scripted.push(["news"])
    for _ in range(3):
        assert client.get("key") == b"key"
    assert "a push message was not handled" in caplog.text
    assert client.connection_pool.stats().connected == 1
    client.close()
